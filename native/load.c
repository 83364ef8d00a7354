/* A stored profile that is like one before: Alike.add() of registration/alike.py. */
#include "quick.h"

/* What is found out about a profile before anything is changed. */
typedef struct {
    PyObject *room, *agent, *now;                                /* the caller's */
    PyObject *profile, *server, *stored;                         /* these and all that follow are ours */
    PyObject *number, *aor, *token, *instance;
    PyObject *user, *username, *password, *realm;
    PyObject *form, *plan, *known;
    PyObject *lease, *key, *local, *public; /* NULL: there is none */
    double end, offset;
} Stored;

static void forget_stored(Stored *it)
{
    PyObject *ours[] = {it->profile,  it->server,   it->stored, it->number, it->aor,   it->token,
                        it->instance, it->user,     it->username, it->password, it->realm, it->form,
                        it->plan,     it->known,    it->lease,  it->key,    it->local, it->public};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        Py_XDECREF(ours[i]);
}

static bool is_set(PyObject *text) { return PyUnicode_CheckExact(text) && PyUnicode_GET_LENGTH(text) > 0; }

static bool is_zero(PyObject *value) { return PyLong_CheckExact(value) && integer_of(value) == 0; }

/* Whether this is what follows the scheme in most addresses-of-record. */
static bool is_plain(const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char letter = data[i];
        if (!((letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
              (letter >= 'A' && letter <= 'Z') || letter == '_' || letter == '.' || letter == '+' || letter == '-'))
            return false;
    }
    return length > 0;
}

/* read(object) == expected */
static Outcome fits(PyObject *read, PyObject *object, PyObject *expected)
{
    PyObject *found = PyObject_CallOneArg(read, object);
    int same = found == NULL ? -1 : PyObject_RichCompareBool(found, expected, Py_EQ);
    Py_XDECREF(found);
    return same < 0 ? FAILED : same ? DONE : NOTHING;
}

/* The form of those that have this registrar and domain; its user is taken from the address-of-record. */
static Outcome find_form(Stored *it, PyObject *forms)
{
    PyObject *server = it->server;
    if (!is_ascii(it->aor) || !PyUnicode_CheckExact(GET(server, ServerParameters, uri)))
        return NOTHING;
    const char *data = (const char *)PyUnicode_1BYTE_DATA(it->aor);
    size_t length = (size_t)PyUnicode_GET_LENGTH(it->aor);
    const char *at = memchr(data, '@', length);
    if (at == NULL)
        return NOTHING;
    PyObject *domain = PyUnicode_FromStringAndSize(at + 1, (Py_ssize_t)(length - (size_t)(at - data) - 1));
    PyObject *key = domain == NULL ? NULL : PyTuple_Pack(2, GET(server, ServerParameters, uri), domain);
    it->form = key == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(forms, key));
    Py_XDECREF(domain);
    Py_XDECREF(key);
    if (it->form == NULL)
        return PyErr_Occurred() ? FAILED : NOTHING;
    if (!IS_A(it->form, StoredForm))
        return NOTHING;
    PyObject *scheme = GET(it->form, StoredForm, scheme);
    if (GET(it->form, StoredForm, agent) != it->agent || !is_ascii(scheme))
        return NOTHING;
    size_t before = (size_t)PyUnicode_GET_LENGTH(scheme);
    if ((size_t)(at - data) <= before || memcmp(data, PyUnicode_1BYTE_DATA(scheme), before) != 0 ||
        !is_plain(data + before, (size_t)(at - data) - before))
        return NOTHING;
    it->user = PyUnicode_FromStringAndSize(data + before, at - data - (Py_ssize_t)before);
    if (it->user == NULL)
        return FAILED;
    PyObject *username = GET(server, ServerParameters, username), *identity = GET(it->profile, Profile, private_identity);
    it->username = Py_NewRef(is_set(username) ? username : is_set(identity) ? identity : it->user);
    if (it->username != it->user && same_text(it->username, it->user))
        put_in(&it->user, Py_NewRef(it->username)); /* one object for both */
    return DONE;
}

/* Whether nothing but what is its own differs from others of the form. */
static Outcome is_like(Stored *it, PyObject *forms, PyObject *record)
{
    PyObject *room = it->room, *profile = it->profile = Py_NewRef(GET(record, ProfileRecord, profile));
    PyObject *flows = GET(record, ProfileRecord, flows), *held = GET(record, ProfileRecord, held);
    if (!is_sound_profile(profile) || !PyUnicode_CheckExact(held) || PyUnicode_GET_LENGTH(held) ||
        !PyTuple_CheckExact(flows) || PyTuple_GET_SIZE(flows) != 1 || GET(room, Registrations, stopping) != Py_False)
        return NOTHING;
    PyObject *server = it->server = Py_NewRef(GET(profile, Profile, registrar));
    it->stored = Py_NewRef(PyTuple_GET_ITEM(flows, 0));
    if (!is_sound_server(server) || !is_sound_row(it->stored))
        return NOTHING;
    it->number = Py_NewRef(GET(profile, Profile, id));
    it->aor = Py_NewRef(GET(profile, Profile, aor));
    it->instance = Py_NewRef(GET(profile, Profile, instance_id));
    it->password = Py_NewRef(GET(server, ServerParameters, password));
    it->realm = Py_NewRef(GET(server, ServerParameters, realm));
    it->token = Py_NewRef(GET(it->stored, FlowRecord, contact_token));
    if (it->password == Py_None || !is_set(it->instance))
        return NOTHING;
    Outcome found = find_form(it, forms);
    if (found != DONE)
        return found;
    int there = PyDict_Contains(GET(room, Registrations, by_profile), it->number);
    if (!there)
        there = PyDict_Contains(GET(room, Registrations, flows), it->number);
    if (there)
        return there < 0 ? FAILED : NOTHING;
    found = fits(py_settings_of, profile, GET(it->form, StoredForm, settings));
    return found != DONE ? found : fits(py_server_of, server, GET(it->form, StoredForm, server));
}

static Outcome make_plan(Stored *it)
{
    PyObject *like = GET(it->form, StoredForm, plan), *own[] = {it->username, it->password, it->realm};
    if (!is_sound_plan(like))
        return NOTHING;
    PyObject *credentials = PyObject_Vectorcall((PyObject *)Credentials_at.type, own, 3, NULL);
    if (credentials == NULL)
        return FAILED;
    PyObject *values[] = {it->aor,      it->token,
                          credentials,  it->instance,
                          GET(like, KeptPlan, hops), GET(like, KeptPlan, common)};
    it->plan = PyObject_Vectorcall((PyObject *)KeptPlan_at.type, values, 6, NULL);
    Py_DECREF(credentials);
    return it->plan == NULL ? FAILED : DONE;
}

/* Whether the row's checksum is this one, which is ours; NULL is an exception. */
static Outcome same_number(PyObject *kept, PyObject *checksum)
{
    int same = checksum == NULL ? -1 : PyObject_RichCompareBool(kept, checksum, Py_EQ);
    Py_XDECREF(checksum);
    return same < 0 ? FAILED : same ? DONE : NOTHING;
}

/* restart.lease_end(): the end of the lease, and what its times are to be lessened by. */
static bool lives(Stored *it)
{
    PyObject *stored = it->stored, *room = it->room;
    if (GET(stored, FlowRecord, leaving) != Py_False)
        return false;
    double now = number_of(it->now), wall = number_of(GET(room, Registrations, wall_offset));
    double ends = number_of(GET(stored, FlowRecord, lease_ends));
    it->offset = wall;
    if (same_text(GET(stored, FlowRecord, boot_id), GET(room, Registrations, boot_id)))
        it->offset = number_of(GET(stored, FlowRecord, wall_offset));
    else if (now + wall < ends - number_of(GET(stored, FlowRecord, expires_granted)) - CLOCK_TOLERANCE)
        return false;
    it->end = ends - it->offset;
    return it->end > now;
}

/* Whether the contact is the one that shows this place. */
static bool shows(PyObject *contact, PyObject *token, PyObject *place)
{
    if (!is_ascii(contact) || !is_ascii(place))
        return false;
    const char *data = (const char *)PyUnicode_1BYTE_DATA(contact);
    size_t of_token = (size_t)PyUnicode_GET_LENGTH(token), of_place = (size_t)PyUnicode_GET_LENGTH(place);
    return (size_t)PyUnicode_GET_LENGTH(contact) == 4 + of_token + of_place && memcmp(data, "sip:", 4) == 0 &&
           memcmp(data + 4, PyUnicode_1BYTE_DATA(token), of_token) == 0 &&
           memcmp(data + 4 + of_token, PyUnicode_1BYTE_DATA(place), of_place) == 0;
}

static Outcome make_nonce(Stored *it)
{
    PyObject *kept = GET(it->stored, FlowRecord, nonces), *terms = GET(it->lease, Lease, terms);
    if (!PyTuple_CheckExact(kept))
        return NOTHING;
    if (PyTuple_GET_SIZE(kept) == 0) {
        it->known = Py_NewRef(tuple_empty);
        return DONE;
    }
    PyObject *only = PyTuple_GET_ITEM(kept, 0);
    if (PyTuple_GET_SIZE(kept) > 1 || terms == Py_None || !is_sound_stored_nonce(only))
        return NOTHING;
    Outcome same = fits(py_terms_of, only, GET(it->lease, Lease, challenge));
    if (same != DONE)
        return same;
    PyObject *first = GET(only, NonceRecord, count_reserved);
    PyObject *limit = PyLong_FromLongLong(integer_of(first) + NONCE_BLOCK);
    if (limit == NULL)
        return FAILED;
    PyObject *values[] = {GET(only, NonceRecord, nonce), terms, GET(it->plan, KeptPlan, credentials), first, limit};
    it->known = PyObject_Vectorcall((PyObject *)Nonce_at.type, values, 5, NULL);
    Py_DECREF(limit);
    return it->known == NULL ? FAILED : DONE;
}

/* Whether the row's lease is like one that was; see _resumed(). */
static Outcome find_lease(Stored *it)
{
    PyObject *stored = it->stored, *way = PyObject_CallOneArg(py_way_of, stored);
    PyObject *leases = GET(it->form, StoredForm, leases), *aors = GET(stored, FlowRecord, registered_aors);
    it->lease = way == NULL || !PyDict_CheckExact(leases) ? NULL : PyDict_GetItemWithError(leases, way);
    Py_XINCREF(it->lease);
    Py_XDECREF(way);
    if (it->lease == NULL)
        return PyErr_Occurred() ? FAILED : NOTHING;
    if (!IS_A(it->lease, Lease))
        return NOTHING;
    PyObject *transport = GET(it->lease, Lease, transport), *known;
    PyObject *transports = GET(it->room, Registrations, transports);
    if (!IS_A(transport, Transport) || !is_sound_transport(transport) || !PyDict_CheckExact(transports))
        return NOTHING;
    it->key = Py_NewRef(GET(transport, Transport, key));
    it->local = Py_NewRef(GET(transport, Transport, local));
    it->public = Py_NewRef(GET(transport, Transport, public));
    int same = PyObject_RichCompareBool(it->local, GET(it->lease, Lease, local), Py_EQ);
    if (same <= 0)
        return same < 0 ? FAILED : NOTHING;
    known = PyDict_GetItemWithError(transports, it->key);
    if (known != transport)
        return PyErr_Occurred() ? FAILED : NOTHING;
    if (GET(it->lease, Lease, shows_local) != Py_True && it->public == Py_None)
        return NOTHING;
    if (!lives(it) || !PyTuple_CheckExact(aors) || PyTuple_GET_SIZE(aors) != 1 ||
        !same_text(PyTuple_GET_ITEM(aors, 0), it->aor) ||
        !shows(GET(stored, FlowRecord, contact), it->token, GET(it->lease, Lease, place)))
        return PyErr_Occurred() ? FAILED : NOTHING;
    Outcome found = same_number(GET(stored, FlowRecord, sent_as), sent_as(it->plan));
    if (found == DONE && integer_of(GET(stored, FlowRecord, bound_as)) != 0)
        found = same_number(GET(stored, FlowRecord, bound_as), bound_as(it->plan));
    return found != DONE ? found : make_nonce(it);
}

/* Whether the row says nothing about a flow that has no lease. */
static bool is_unbound(PyObject *stored)
{
    PyObject *gruu = GET(stored, FlowRecord, public_gruu);
    return integer_of(GET(stored, FlowRecord, number)) == 1 && is_zero(GET(stored, FlowRecord, hop)) &&
           is_zero(GET(stored, FlowRecord, rejected_attempts)) && PyUnicode_CheckExact(gruu) &&
           PyUnicode_GET_LENGTH(gruu) == 0 && is_zero(GET(stored, FlowRecord, bridge_port));
}

/* registration.kept_call_id(). */
static PyObject *kept_call_id(PyObject *call)
{
    Py_ssize_t length = is_ascii(call) ? PyUnicode_GET_LENGTH(call) : 1;
    if (length % 2)
        return Py_NewRef(call);
    const char *data = (const char *)PyUnicode_1BYTE_DATA(call);
    PyObject *kept = PyBytes_FromStringAndSize(NULL, length / 2);
    for (Py_ssize_t i = 0; kept != NULL && i < length; i++) {
        char letter = data[i];
        int value = -1;
        if (letter >= '0' && letter <= '9')
            value = letter - '0';
        else if (letter >= 'a' && letter <= 'f')
            value = letter - 'a' + 10;
        if (value < 0) {
            Py_DECREF(kept);
            return Py_NewRef(call);
        }
        char *byte = PyBytes_AS_STRING(kept) + i / 2;
        *byte = (char)(i % 2 ? *byte | value : value << 4);
    }
    return kept;
}

/* registration.shared_number(). */
static PyObject *shared_number(long long number)
{
    PyObject *own = PyLong_FromLongLong(number), *shared = NULL;
    if (own != NULL && !PyErr_Occurred())
        shared = PyObject_CallOneArg(py_shared_number, own);
    Py_XDECREF(own);
    return shared;
}

static PyObject *make_flow(Stored *it)
{
    static PyObject *last_reserved, *last_used; /* most have as many as the one before */
    long long number = integer_of(GET(it->stored, FlowRecord, cseq_reserved));
    long long before = number > RESERVED_BLOCK ? number - RESERVED_BLOCK : 0;
    HELD(reserved, last_reserved);
    HELD(used, last_used);
    if (reserved == NULL || integer_of(reserved) != number || integer_of(used) != before) {
        put_in(&reserved, shared_number(number));
        put_in(&used, reserved == NULL ? NULL : shared_number(before));
        if (used == NULL)
            return NULL;
        put_in(&last_reserved, Py_NewRef(reserved)); /* both at once: what is called before may come here */
        put_in(&last_used, Py_NewRef(used));
    }
    PyObject *call = kept_call_id(GET(it->stored, FlowRecord, call_id)), *flow = NULL;
    if (call != NULL) {
        PyObject *values[] = {it->number, it->number, call, it->token, used, reserved, reserved};
        flow = PyObject_Vectorcall((PyObject *)Flow_at.type, values, 7, NULL);
    }
    Py_XDECREF(call);
    return flow;
}

/* What the lease says goes into the registration and its flow. */
static Outcome resume(Stored *it, PyObject *registration, PyObject *flow)
{
    PyObject *stored = it->stored, *end = PyFloat_FromDouble(it->end);
    double now = number_of(it->now), refresh_at = number_of(GET(stored, FlowRecord, refresh_at)) - it->offset;
    double since = number_of(GET(stored, FlowRecord, since));
    PyObject *refresh = refresh_at > now ? PyFloat_FromDouble(refresh_at) : Py_NewRef(it->now);
    PyObject *began = since != 0.0 && since - it->offset < now ? PyFloat_FromDouble(since - it->offset)
                                                               : Py_NewRef(it->now);
    if (end == NULL || refresh == NULL || began == NULL || PyErr_Occurred()) {
        Py_XDECREF(end);
        Py_XDECREF(refresh);
        Py_XDECREF(began);
        return FAILED;
    }
    SET_SHARED(flow, Flow, known, it->known);
    SET_SHARED(flow, Flow, key, it->key);
    SET_SHARED(flow, Flow, bound, it->key);
    SET(flow, Flow, lease_end, end);
    SET_SHARED(flow, Flow, granted, GET(stored, FlowRecord, expires_granted));
    SET(flow, Flow, refresh_at, refresh);
    SET_SHARED(flow, Flow, bound_local, it->local);
    SET_SHARED(flow, Flow, shown, it->public == Py_None ? it->local : it->public);
    SET_SHARED(flow, Flow, place, GET(it->lease, Lease, place));
    SET_SHARED(flow, Flow, identities, it->aor);
    SET_SHARED(flow, Flow, sent_as, GET(stored, FlowRecord, sent_as));
    SET_SHARED(flow, Flow, rare, GET(it->lease, Lease, rare));
    SET_SHARED(registration, Registration, kept, Py_True);
    SET_SHARED(registration, Registration, status, text_registered);
    SET(registration, Registration, since, began);
    return DONE;
}

static PyObject *make_registration(Stored *it, PyObject *flow)
{
    PyObject *flows = PyTuple_Pack(1, flow);
    if (flows == NULL)
        return NULL;
    PyObject *values[] = {it->number, it->plan, it->agent, flows};
    PyObject *registration = PyObject_Vectorcall((PyObject *)Registration_at.type, values, 4, NULL);
    Py_DECREF(flows);
    if (registration == NULL)
        return NULL;
    SET_SHARED(registration, Registration, since, it->now);
    long long revision = integer_of(GET(it->stored, FlowRecord, state_revision));
    if (revision != 0) {
        PyObject *next = PyLong_FromLongLong(revision + HISTORY_LENGTH);
        if (next != NULL)
            SET(registration, Registration, revision, next);
    }
    if (PyErr_Occurred() || (it->lease != NULL && resume(it, registration, flow) != DONE))
        Py_CLEAR(registration);
    return registration;
}

/* Addresses.settle(). */
static Outcome settle(Stored *it)
{
    PyObject *addresses = GET(it->room, Registrations, addresses), *users = GET(addresses, Addresses, _users);
    int known = PyDict_Contains(users, it->user);
    if (known > 0) {
        PyObject *done = PyObject_CallMethod(addresses, "settle", "OOO", it->token, it->user, it->number);
        Py_XDECREF(done);
        return done == NULL ? FAILED : DONE;
    }
    return known < 0 || PyDict_SetItem(GET(addresses, Addresses, tokens), it->token, it->number) < 0 ||
                   PyDict_SetItem(users, it->user, it->number) < 0
               ? FAILED
               : DONE;
}

/* keepalive.resumed(), of a flow that has not been kept alive. */
static Outcome keep_alive(Stored *it, PyObject *flow)
{
    PyObject *kept = PyDict_GetItemWithError(GET(it->room, Registrations, keepalives), it->key);
    if (kept == NULL && PyErr_Occurred())
        return FAILED;
    if (kept == NULL || !is_sound_keepalive(kept) ||
        (number_of(GET(kept, Keepalive, due_at)) != 0.0 && number_of(GET(kept, Keepalive, sent_at)) == 0.0)) {
        PyObject *arguments[] = {it->room, flow, it->now};
        PyObject *done = PyObject_Vectorcall(py_resumed, arguments, 3, NULL);
        Py_XDECREF(done);
        return done == NULL ? FAILED : DONE;
    }
    PyObject *more = PyLong_FromLongLong(integer_of(GET(kept, Keepalive, bindings)) + 1);
    if (more == NULL)
        return FAILED;
    SET(kept, Keepalive, bindings, more);
    SET_SHARED(flow, Flow, keepalive, Py_True);
    return DONE;
}

/* Counts.count_as(). */
static Outcome count_as(PyObject *kinds, PyObject *registration, PyObject *kind)
{
    if (!is_sound_counts(kinds)) {
        PyErr_SetString(PyExc_TypeError, "the counts are of another class");
        return FAILED;
    }
    PyObject *by_kind = GET(kinds, Counts, by_kind), *known = PyDict_SetDefault(GET(kinds, Counts, _kinds), kind, kind);
    if (known == NULL)
        return FAILED;
    SET_SHARED(registration, Registration, counted, known);
    PyObject *number = PyDict_GetItemWithError(by_kind, known);
    if (number == NULL && PyErr_Occurred())
        return FAILED;
    PyObject *more = PyLong_FromLongLong((number == NULL ? 0 : integer_of(number)) + 1);
    int set = more == NULL ? -1 : PyDict_SetItem(by_kind, known, more);
    Py_XDECREF(more);
    return set < 0 ? FAILED : DONE;
}

static Outcome enter(Stored *it, PyObject *registration, PyObject *flow)
{
    PyObject *room = it->room, *kind = GET(it->form, StoredForm, unregistered);
    if (PyDict_SetItem(GET(room, Registrations, by_profile), it->number, registration) < 0 ||
        PyDict_SetItem(GET(room, Registrations, flows), it->number, flow) < 0 || settle(it) != DONE)
        return FAILED;
    if (it->lease != NULL) {
        kind = GET(it->lease, Lease, kind);
        if (keep_alive(it, flow) != DONE || still_sound(room, registration, flow) != DONE)
            return FAILED;
        PyObject *refresh_at = GET(flow, Flow, refresh_at), *end = GET(flow, Flow, lease_end);
        if (arm(room, flow, number_of(refresh_at) < number_of(end) ? refresh_at : end) != DONE)
            return FAILED;
    }
    return count_as(GET(room, Registrations, kinds), registration, kind);
}

static Outcome load(Stored *it, PyObject *forms, PyObject *record)
{
    Outcome outcome = is_like(it, forms, record);
    if (outcome == DONE)
        outcome = make_plan(it);
    if (outcome != DONE)
        return outcome;
    if (number_of(GET(it->stored, FlowRecord, lease_ends)) > 0.0) {
        if ((outcome = find_lease(it)) != DONE)
            return outcome;
    } else if (!is_unbound(it->stored))
        return PyErr_Occurred() ? FAILED : NOTHING;
    PyObject *flow = make_flow(it), *registration = flow == NULL ? NULL : make_registration(it, flow);
    outcome = registration == NULL ? FAILED : enter(it, registration, flow);
    Py_XDECREF(flow);
    Py_XDECREF(registration);
    return outcome;
}

/* load(forms, room, record, agent, now): whether the profile was taken; if not, nothing was done. */
PyObject *quick_load(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 5 || !all_there() || !PyDict_CheckExact(args[0]) || !is_sound_room(args[1]) ||
        !is_sound_addresses(GET(args[1], Registrations, addresses)) ||
        !is_sound_counts(GET(args[1], Registrations, kinds)) || !is_sound_record(args[2]) ||
        !PyFloat_CheckExact(args[4]))
        Py_RETURN_FALSE;
    Stored it = {.room = args[1], .agent = args[3], .now = args[4]};
    Outcome outcome = load(&it, args[0], args[2]);
    forget_stored(&it);
    return outcome_of(outcome);
}
