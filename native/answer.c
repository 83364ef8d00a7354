/* Answers of a known form: answered() of registration/plain.py. */
#include "quick.h"

static bool equal(PyObject *left, PyObject *right)
{
    return left == right || PyObject_RichCompareBool(left, right, Py_EQ) == 1;
}

static long long decimal(const char *digits, size_t length)
{
    long long value = 0;
    while (length--)
        value = 10 * value + (*digits++ - '0');
    return value;
}

/* A str with exactly this text. */
static bool reads(PyObject *text, const char *data, size_t length)
{
    return is_ascii(text) && (size_t)PyUnicode_GET_LENGTH(text) == length &&
           memcmp(PyUnicode_1BYTE_DATA(text), data, length) == 0;
}

/* Whether the contact that was granted is the flow's. */
static bool is_contact_of(PyObject *flow, const char *data, size_t length)
{
    PyObject *token = GET(flow, Flow, contact_token), *place = GET(flow, Flow, place);
    if (!is_ascii(token) || !is_ascii(place))
        return false;
    size_t of_token = (size_t)PyUnicode_GET_LENGTH(token), of_place = (size_t)PyUnicode_GET_LENGTH(place);
    if (!of_place || *(const char *)PyUnicode_1BYTE_DATA(place) != '@' || length != 4 + of_token + of_place)
        return false;
    return memcmp(data, "sip:", 4) == 0 && memcmp(data + 4, PyUnicode_1BYTE_DATA(token), of_token) == 0 &&
           memcmp(data + 4 + of_token, PyUnicode_1BYTE_DATA(place), of_place) == 0;
}

/* end_transaction() of registration/transmit.py. */
static Outcome end_transaction(PyObject *flow, PyObject *transport)
{
    HELD(active, GET(transport, Transport, active));
    HELD(identity, GET(flow, Flow, id));
    if (!PySet_CheckExact(active)) {
        PyErr_SetString(PyExc_TypeError, "a transport's flows are no set");
        return FAILED;
    }
    SET_SHARED(flow, Flow, branch, text_empty);
    SET_SHARED(flow, Flow, outstanding, bytes_empty);
    SET_SHARED(flow, Flow, retransmit_at, float_zero);
    SET_SHARED(flow, Flow, ends_at, float_zero);
    if (PySet_Discard(active, identity) < 0 || (!PySet_GET_SIZE(active) && PySet_Clear(active) < 0))
        return FAILED;
    return DONE;
}

/* challenge.credentials_for() of a 401 at the first hop, where only the profile's own can be meant; borrowed. */
static PyObject *credentials_for(PyObject *plan, PyObject *terms)
{
    PyObject *own = GET(plan, KeptPlan, credentials), *hops = GET(plan, KeptPlan, hops);
    if (!IS_A(own, Credentials))
        return NULL;
    PyObject *realm = GET(own, Credentials, realm), *hop = PyTuple_GET_ITEM(hops, 0);
    if (realm == Py_None)
        return IS_A(hop, Hop) && GET(hop, Hop, credentials) == Py_None ? own : NULL;
    return same_text(realm, GET(terms, Terms, realm)) ? own : NULL;
}

/* _challenged() of registration/plain.py. */
static Outcome challenged(PyObject *room, PyObject *registration, PyObject *flow, PyObject *transport, PyObject *health,
                          PyObject *terms, const Found *found, PyObject *now)
{
    HELD(plan, GET(registration, Registration, plan));
    if (GET(flow, Flow, known) != tuple_empty || GET(flow, Flow, rounds) != small[0] ||
        GET(flow, Flow, retransmitted) != Py_False)
        return NOTHING;
    PyObject *common = GET(plan, KeptPlan, common);
    HELD(own, credentials_for(plan, terms));
    HELD(pacer, PyDict_GetItemWithError(GET(room, Registrations, pacers), GET(common, Plan, registrar)));
    if (own == NULL || pacer == NULL || !is_sound_pacer(pacer))
        return PyErr_Occurred() ? FAILED : NOTHING;
    Py_INCREF(terms);
    if (found->has_opaque != (GET(terms, Terms, opaque) != Py_None)) {
        Py_DECREF(terms);
        return NOTHING;
    }
    if (found->has_opaque && !reads(GET(terms, Terms, opaque), found->opaque, found->opaque_length)) {
        PyObject *opaque = PyUnicode_DecodeASCII(found->opaque, (Py_ssize_t)found->opaque_length, NULL);
        PyObject *other = opaque == NULL ? NULL : PyObject_CallFunctionObjArgs(py_other_opaque, terms, opaque, NULL);
        Py_XDECREF(opaque);
        Py_DECREF(terms);
        if (other == NULL)
            return FAILED;
        terms = other;
    }
    PyObject *text = PyUnicode_DecodeASCII(found->nonce, (Py_ssize_t)found->nonce_length, NULL), *nonce = NULL;
    if (text != NULL) {
        PyObject *arguments[] = {text, terms, own, small[0], small[0], GET(flow, Flow, attempt)};
        nonce = PyObject_Vectorcall((PyObject *)Nonce_at.type, arguments, 6, NULL);
        Py_DECREF(text);
    }
    Py_DECREF(terms);
    if (nonce == NULL)
        return FAILED;
    Draft draft;
    Outcome outcome = draft_request(room, registration, flow, transport, nonce, &draft);
    if (outcome != DONE) {
        Py_DECREF(nonce);
        return outcome;
    }
    double tokens, burst = number_of(GET(pacer, Pacer, _burst));
    pacer_fill(pacer, number_of(now), &tokens);
    tokens = tokens - 1.0 > -burst ? tokens - 1.0 : -burst;
    if (end_transaction(flow, transport) != DONE || pacer_set(pacer, now, tokens) != DONE) {
        Py_DECREF(nonce);
        forget_draft(&draft);
        return FAILED;
    }
    SET_SHARED(health, Health, answered_at, now);
    SET_SHARED(flow, Flow, rounds, small[1]);
    SET(flow, Flow, known, nonce);
    outcome = send_draft(room, registration, flow, transport, now, &draft);
    forget_draft(&draft);
    if (outcome == DONE)
        outcome = still_sound(room, registration, flow);
    return outcome == DONE ? rearm(room, registration, flow) : outcome;
}

/* The nonce as it is stored, unless it runs low. */
static PyObject *nonce_record(PyObject *nonce)
{
    HELD(terms, GET(nonce, Nonce, terms));
    PyObject *qop = GET(terms, Terms, qop);
    if (!integer_of(GET(nonce, Nonce, limit))) {
        PyObject *limit = PyLong_FromLongLong(integer_of(GET(nonce, Nonce, count)) + NONCE_BLOCK);
        if (limit == NULL)
            return NULL;
        SET(nonce, Nonce, limit, limit);
    }
    PyObject *offered = PyTuple_GET_SIZE(qop) ? PyTuple_GET_ITEM(qop, 0) : Py_None;
    PyObject *arguments[] = {GET(terms, Terms, realm),
                             GET(nonce, Nonce, text),
                             GET(terms, Terms, algorithm),
                             GET(terms, Terms, algorithm_given),
                             offered,
                             GET(terms, Terms, opaque),
                             GET(terms, Terms, proxy),
                             GET(nonce, Nonce, limit),
                             GET(terms, Terms, userhash),
                             GET(terms, Terms, utf8)};
    return PyObject_Vectorcall(py_NonceRecord, arguments, 10, NULL);
}

/* How many nonces a flow has, and each of them; borrowed. */
static Py_ssize_t count_of(PyObject *known) { return PyTuple_CheckExact(known) ? PyTuple_GET_SIZE(known) : 1; }
static PyObject *nonce_at(PyObject *known, Py_ssize_t i)
{
    return PyTuple_CheckExact(known) ? PyTuple_GET_ITEM(known, i) : known;
}

static PyObject *nonce_records(PyObject *known)
{
    Py_ssize_t count = count_of(known);
    PyObject *records = PyTuple_New(count);
    for (Py_ssize_t i = 0; records != NULL && i < count; i++) {
        PyObject *record = nonce_record(nonce_at(known, i));
        if (record == NULL)
            Py_CLEAR(records);
        else
            PyTuple_SET_ITEM(records, i, record);
    }
    return records;
}

/* Whether nonce_record() can write them all. */
static bool are_recordable(PyObject *known)
{
    for (Py_ssize_t i = 0; i < count_of(known); i++) {
        PyObject *nonce = nonce_at(known, i);
        if (!is_sound_nonce(nonce))
            return false;
        long long limit = integer_of(GET(nonce, Nonce, limit));
        if (limit && limit <= integer_of(GET(nonce, Nonce, count)) + NONCE_BLOCK / 2)
            return false;
        PyObject *qop = GET(GET(nonce, Nonce, terms), Terms, qop);
        if (!PyTuple_CheckExact(qop) || PyTuple_GET_SIZE(qop) > 1)
            return false;
    }
    return true;
}

static PyObject *sum(PyObject *left, PyObject *right) { return PyFloat_FromDouble(number_of(left) + number_of(right)); }

static PyObject *contact_of(PyObject *flow)
{
    return PyUnicode_FromFormat("sip:%U%U", GET(flow, Flow, contact_token), GET(flow, Flow, place));
}

static PyObject *call_id_of(PyObject *flow)
{
    PyObject *call = GET(flow, Flow, call);
    return PyUnicode_CheckExact(call) ? Py_NewRef(call) : PyObject_CallMethod(call, "hex", NULL);
}

/* store() of registration/state.py, of a lease that was just granted. */
static Outcome store(PyObject *room, PyObject *registration, PyObject *flow, bool refresh)
{
    HELD(identities, GET(flow, Flow, identities));
    HELD(key, GET(flow, Flow, bound));
    HELD(local, GET(flow, Flow, bound_local));
    HELD(nonces, GET(flow, Flow, known));
    HELD(plan, GET(registration, Registration, plan));
    HELD(offset, GET(room, Registrations, wall_offset));
    long long cseq = integer_of(GET(flow, Flow, cseq)), reserved = integer_of(GET(flow, Flow, cseq_reserved));
    long long asked = integer_of(GET(flow, Flow, cseq_asked));
    if (!is_sound_room(room) || !is_sound_flow(flow) || !is_sound_registration(registration) ||
        (reserved - cseq < RESERVED_BLOCK / 4 && asked <= reserved) || !PyUnicode_CheckExact(identities) ||
        !IS_A(key, TransportKey) || !PyTuple_CheckExact(local) || PyTuple_GET_SIZE(local) != 2 ||
        !are_recordable(nonces)) {
        PyObject *stored = PyObject_CallFunctionObjArgs(py_store, room, registration, flow,
                                                        refresh ? Py_True : Py_False, NULL);
        Py_XDECREF(stored);
        return stored == NULL ? FAILED : DONE;
    }
    if (!refresh)
        SET_SHARED(room, Registrations, pressing, Py_True);
    PyObject *made[] = {
        call_id_of(flow),
        sum(GET(flow, Flow, lease_end), offset),
        sum(GET(flow, Flow, refresh_at), offset),
        contact_of(flow),
        PyTuple_Pack(1, identities),
        nonce_records(nonces),
        sum(GET(registration, Registration, since), offset),
        bound_as(plan),
    };
    enum { MADE = sizeof made / sizeof *made };
    PyObject *row = NULL, *saved = NULL;
    bool complete = true;
    for (int i = 0; i < MADE; i++)
        complete = complete && made[i] != NULL;
    if (complete) {
        PyObject *arguments[] = {
            GET(flow, Flow, profile),
            small[1], /* number */
            made[0],
            GET(flow, Flow, cseq_asked),
            GET(flow, Flow, contact_token),
            made[1],
            made[2],
            GET(flow, Flow, granted),
            GET(room, Registrations, boot_id),
            offset,
            GET(key, TransportKey, protocol),
            PyTuple_GET_ITEM(local, 0),
            PyTuple_GET_ITEM(local, 1),
            GET(key, TransportKey, host),
            GET(key, TransportKey, port),
            made[3],
            made[4],
            tuple_empty, /* service_route */
            made[5],
            small[0], /* rejected_attempts */
            made[6],
            GET(registration, Registration, revision),
            made[7],
            GET(flow, Flow, sent_as),
        };
        row = PyObject_Vectorcall(py_FlowRecord, arguments, sizeof arguments / sizeof *arguments, NULL);
    }
    for (int i = 0; i < MADE; i++)
        Py_XDECREF(made[i]);
    if (row != NULL)
        saved = PyObject_CallOneArg(GET(room, Registrations, save), row);
    Py_XDECREF(row);
    Py_XDECREF(saved);
    return saved == NULL ? FAILED : DONE;
}

/* The lease's end as the object that the flow before has for it: Registrations.same(). */
static PyObject *same_time(PyObject *room, double at)
{
    PyObject *last = GET(room, Registrations, _last_time);
    if (number_of(last) == at)
        return Py_NewRef(last);
    PyObject *value = PyFloat_FromDouble(at);
    if (value != NULL)
        SET_SHARED(room, Registrations, _last_time, value);
    return value;
}

/* What the binding needs to be kept alive: acceptance.bind() and keepalive.join(). */
static Outcome bind_flow(PyObject *room, PyObject *flow, PyObject *key, PyObject *now)
{
    if (GET(flow, Flow, bound) == key)
        SET_SHARED(flow, Flow, bound_local, GET(flow, Flow, local));
    else if (GET(flow, Flow, bound) == Py_None && GET(flow, Flow, keepalive) == Py_False) {
        SET_SHARED(flow, Flow, bound, key);
        SET_SHARED(flow, Flow, bound_local, GET(flow, Flow, local));
    } else {
        PyObject *bound = PyObject_CallFunctionObjArgs(py_bind_flow, room, flow, NULL);
        Py_XDECREF(bound);
        if (bound == NULL)
            return FAILED;
    }
    if (GET(flow, Flow, keepalive) != Py_False)
        return DONE;
    HELD(keepalive, PyDict_GetItemWithError(GET(room, Registrations, keepalives), key));
    PyObject *had = keepalive != NULL && IS_A(keepalive, Keepalive) ? GET(keepalive, Keepalive, bindings) : NULL;
    if (had != NULL && PyLong_CheckExact(had)) {
        PyObject *bindings = PyLong_FromLongLong(integer_of(had) + 1);
        if (bindings == NULL)
            return FAILED;
        SET(keepalive, Keepalive, bindings, bindings);
        SET_SHARED(flow, Flow, keepalive, Py_True);
        return DONE;
    }
    if (PyErr_Occurred())
        return FAILED;
    PyObject *joined = PyObject_CallFunctionObjArgs(py_join, room, flow, now, NULL);
    Py_XDECREF(joined);
    return joined == NULL ? FAILED : DONE;
}

/* _granted() of registration/plain.py. */
static Outcome granted(PyObject *room, PyObject *registration, PyObject *flow, PyObject *transport, PyObject *health,
                       const Found *found, PyObject *now)
{
    HELD(plan, GET(registration, Registration, plan));
    HELD(key, GET(flow, Flow, key));
    HELD(local, GET(transport, Transport, local));
    HELD(public, GET(transport, Transport, public));
    PyObject *expires = GET(GET(plan, KeptPlan, common), Plan, expires);
    long long asked = integer_of(expires), seconds = decimal(found->expires, found->expires_length);
    PyObject *granted = NULL;
    if (seconds >= asked)
        seconds = asked, granted = Py_NewRef(expires);
    double end = number_of(GET(flow, Flow, sent_at)) + (double)seconds, lease_end = number_of(GET(flow, Flow, lease_end));
    if (!seconds || end <= number_of(now) || !is_contact_of(flow, found->contact, found->contact_length) ||
        !equal(GET(flow, Flow, shown), public == Py_None ? local : public) || !equal(GET(flow, Flow, local), local)) {
        Py_XDECREF(granted);
        PyErr_Clear();
        return NOTHING;
    }
    if (granted == NULL)
        granted = PyLong_FromLongLong(seconds);
    bool refresh = same_text(GET(registration, Registration, status), text_registered) && lease_end > 0;
    PyObject *refresh_at = NULL;
    if (granted != NULL)
        refresh_at = PyObject_CallFunctionObjArgs(py_refresh_at, room, flow, granted, NULL);
    PyObject *lease = refresh_at == NULL || still_sound(room, registration, flow) != DONE ? NULL : same_time(room, end);
    if (lease == NULL || end_transaction(flow, transport) != DONE) {
        Py_XDECREF(granted);
        Py_XDECREF(refresh_at);
        Py_XDECREF(lease);
        return FAILED;
    }
    SET_SHARED(health, Health, answered_at, now);
    SET_SHARED(flow, Flow, failures, small[0]);
    SET_SHARED(flow, Flow, phase, small[IDLE]);
    SET(flow, Flow, lease_end, lease);
    SET(flow, Flow, granted, granted);
    SET(flow, Flow, refresh_at, refresh_at);
    SET_SHARED(flow, Flow, sent_as, GET(flow, Flow, carried));
    HELD(identities, GET(flow, Flow, identities));
    PyObject *aor = GET(plan, KeptPlan, aor);
    if (!equal(identities, aor)) {
        HELD(addresses, GET(room, Registrations, addresses));
        bool nothing_learnt = false;
        SET_SHARED(flow, Flow, identities, aor);
        if (IS_A(addresses, Addresses)) {
            HELD(learnt, GET(addresses, Addresses, _learnt));
            int has = PyDict_Contains(learnt, GET(registration, Registration, profile));
            if (has < 0)
                return FAILED;
            nothing_learnt = !has;
        }
        if (!nothing_learnt) {
            PyObject *done = PyObject_CallFunctionObjArgs(py_learn, room, registration, NULL);
            Py_XDECREF(done);
            if (done == NULL)
                return FAILED;
        }
    }
    if (bind_flow(room, flow, key, now) != DONE)
        return FAILED;
    SET_SHARED(flow, Flow, middle, bytes_empty);
    if (tell(room, registration, flow, now, text_registered, py_NO_REASON, !refresh) != DONE ||
        still_sound(room, registration, flow) != DONE || store(room, registration, flow, refresh) != DONE)
        return FAILED;
    return rearm_if_there(room, registration, flow);
}

static Outcome taken(PyObject *room, PyObject *form, PyObject *flow, const Found *found, PyObject *now)
{
    if (!is_sound_flow(flow))
        return NOTHING;
    HELD(registration, PyDict_GetItemWithError(GET(room, Registrations, by_profile), GET(flow, Flow, profile)));
    if (registration == NULL || !is_usual(registration, flow) ||
        GET(room, Registrations, stopping) != Py_False)
        return PyErr_Occurred() ? FAILED : NOTHING;
    HELD(key, GET(flow, Flow, key));
    HELD(transport, PyDict_GetItemWithError(GET(room, Registrations, transports), key));
    HELD(health, transport == NULL ? NULL : PyDict_GetItemWithError(GET(room, Registrations, health), key));
    if (health == NULL || !is_sound_transport(transport) || !is_sound_health(health))
        return PyErr_Occurred() ? FAILED : NOTHING;
    HELD(local, GET(transport, Transport, local));
    HELD(public, GET(transport, Transport, public));
    HELD(seen, GET(form, Form, seen));
    HELD(terms, GET(form, Form, terms));
    PyObject *settings = GET(room, Registrations, settings);
    if (!equal(local, GET(form, Form, local)) || number_of(GET(health, Health, down_since)) > 0.0 ||
        integer_of(GET(health, Health, canary)) == integer_of(GET(flow, Flow, id)) ||
        number_of(now) - number_of(GET(health, Health, answered_at)) > number_of(GET(settings, RegistrationSettings, t2)))
        return NOTHING;
    if (seen != Py_None && (integer_of(GET(transport, Transport, moves)) || !equal(seen, public == Py_None ? local : public)))
        return NOTHING;
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return NOTHING;
    }
    if (terms == Py_None)
        return granted(room, registration, flow, transport, health, found, now);
    return IS_A(terms, Terms) ? challenged(room, registration, flow, transport, health, terms, found, now) : NOTHING;
}

static Outcome count_hit(PyObject *form, PyObject *of_kind)
{
    PyObject *hits = PyLong_FromLongLong(integer_of(GET(form, Form, hits)) + 1);
    if (hits == NULL)
        return FAILED;
    SET(form, Form, hits, hits);
    if (!PyList_GET_SIZE(of_kind)) {
        PyErr_SetString(PyExc_IndexError, "the form was forgotten meanwhile");
        return FAILED;
    }
    PyObject *first = PyList_GET_ITEM(of_kind, 0);
    if (first == form || !IS_A(first, Form) || GET(first, Form, hits) == NULL || integer_of(hits) <= integer_of(GET(first, Form, hits)))
        return DONE;
    Py_ssize_t at = PySequence_Index(of_kind, form);
    Py_INCREF(form);
    Outcome outcome = at >= 0 && PyList_SetSlice(of_kind, at, at + 1, NULL) == 0 && PyList_Insert(of_kind, 0, form) == 0
                          ? DONE
                          : FAILED;
    Py_DECREF(form);
    return outcome;
}

/* answered(room, data, source, now): whether it was dealt with. */
PyObject *quick_answered(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 4 || !all_there() || !is_sound_room(args[0]) || !PyBytes_CheckExact(args[1]) ||
        !PyFloat_CheckExact(args[3]))
        Py_RETURN_FALSE;
    PyObject *room = args[0], *data = args[1], *now = args[3];
    PyObject *forms = PyDict_GetItemWithError(GET(room, Registrations, forms), args[2]);
    if (forms == NULL || !IS_A(forms, Forms) || PyBytes_GET_SIZE(data) < 12)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    const char *text = PyBytes_AS_STRING(data);
    PyObject *of_kind = text[8] == '2' ? GET(forms, Forms, grants) : GET(forms, Forms, challenges);
    Found found;
    PyObject *form = NULL;
    if (of_kind == NULL || !PyList_CheckExact(of_kind))
        Py_RETURN_FALSE;
    for (Py_ssize_t i = 0; form == NULL && i < PyList_GET_SIZE(of_kind); i++) {
        PyObject *each = PyList_GET_ITEM(of_kind, i);
        if (!is_sound_form(each))
            Py_RETURN_FALSE; /* Python may find that it is of this one, and the first counts */
        if (quick_form_matches(GET(each, Form, quick), text, (size_t)PyBytes_GET_SIZE(data), &found))
            form = each;
    }
    if (form == NULL || found.number == NULL || found.cseq == NULL)
        Py_RETURN_FALSE;
    unsigned long long number = 0;
    for (size_t i = 0; i < found.number_length; i++)
        number = number << 4 | (unsigned)(found.number[i] <= '9' ? found.number[i] - '0' : found.number[i] - 'a' + 10);
    PyObject *identity = PyLong_FromUnsignedLongLong(number);
    if (identity == NULL)
        return NULL;
    PyObject *flow = PyDict_GetItemWithError(GET(room, Registrations, flows), identity);
    Py_DECREF(identity);
    if (flow == NULL || !is_sound_flow(flow) || GET(flow, Flow, phase) != small[SENT] ||
        integer_of(GET(flow, Flow, cseq)) != decimal(found.cseq, found.cseq_length) ||
        !reads(GET(flow, Flow, branch), found.branch, found.branch_length))
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    Py_INCREF(form);
    Py_INCREF(of_kind);
    Py_INCREF(flow);
    Outcome outcome = taken(room, form, flow, &found, now);
    if (outcome == DONE)
        outcome = count_hit(form, of_kind) == DONE ? DONE : FAILED;
    Py_DECREF(form);
    Py_DECREF(of_kind);
    Py_DECREF(flow);
    return outcome_of(outcome);
}
