/* The quick path of the core: what its files share.
 *
 * The objects stay those of Python: a slot of theirs is read where its member descriptor says that it is. Each function
 * deals with what is usual or says that it has done nothing, and then the Python code of the same name does it, which
 * is what defines the outcome. docs/architecture.md says how both are changed, and which tests hold one to the other.
 */
#ifndef SIPPROFILE_QUICK_H
#define SIPPROFILE_QUICK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined __FAST_MATH__ || (defined __FLT_EVAL_METHOD__ && __FLT_EVAL_METHOD__ != 0)
#error "the quick path needs the sums that Python gets"
#endif
#ifdef Py_GIL_DISABLED
#error "the quick path needs the interpreter lock"
#endif

/* What a function has done: an exception is set, nothing at all, or everything. */
typedef enum { FAILED = -1, NOTHING = 0, DONE = 1 } Outcome;

/* ---- Python's classes, and where each slot of them is ---- */

#define FLOW(S)                                                                                                        \
    S(id) S(profile) S(call) S(contact_token) S(cseq) S(cseq_reserved) S(cseq_asked) S(phase) S(purpose)               \
    S(queue_class) S(attempt) S(rounds) S(failures) S(key) S(branch) S(outstanding) S(interval) S(retransmit_at)       \
    S(retransmitted) S(ends_at) S(sent_at) S(wake_at) S(lease_end) S(granted) S(refresh_at) S(bound) S(bound_local)    \
    S(keepalive) S(place) S(identities) S(known) S(middle) S(local) S(shown) S(carried) S(planned) S(sent_as) S(rare)
#define REGISTRATION(S)                                                                                                \
    S(profile) S(plan) S(agent) S(flows) S(wanted) S(kept) S(status) S(since) S(reason) S(revision) S(counted) S(rare)
#define REGISTRATIONS(S)                                                                                               \
    S(settings) S(random) S(cnonce) S(save) S(act) S(wall_offset) S(boot_id) S(register_sent) S(stopping) S(pressing)  \
    S(by_profile) S(flows) S(health) S(transports) S(keepalives) S(pacers) S(forms) S(locations) S(network)            \
    S(addresses) S(_timers) S(_last_time) S(kinds) S(emit) S(reachabilities) S(ghosts) S(_calls)
#define KEPT_PLAN(S) \
    S(aor) S(contact_user) S(credentials) S(instance_id) S(hops) S(common)
#define PLAN(S)                                                                                                        \
    S(request_uri) S(registrar) S(contact_uri) S(contact_params) S(expires) S(dscp) S(token_source) S(reg_event)       \
    S(reachable_interval) S(outbound) S(gruu)
#define HOP(S) S(server) S(route) S(strict) S(credentials)
#define CREDENTIALS(S) S(username) S(password) S(realm)
#define TERMS(S) S(realm) S(algorithm) S(algorithm_given) S(qop) S(opaque) S(proxy) S(userhash) S(utf8)
#define NONCE(S) S(text) S(terms) S(credentials) S(count) S(limit)
#define TRANSPORT_KEY(S) S(protocol) S(host) S(port)
#define TRANSPORT(S) S(key) S(local) S(public) S(moves) S(limit) S(waiting) S(active) S(heads) S(heads_show)
#define HEALTH(S) S(answered_at) S(down_since) S(canary)
#define PACER(S) S(_rate) S(_burst) S(_tokens) S(_filled_at) S(queue) S(timer)
#define LOCATIONS(S) S(_locations)
#define LOCATION(S) S(sole) S(expires_at)
#define NETWORK(S) S(generations)
#define KEEPALIVE(S) S(bindings) S(due_at) S(sent_at)
#define ADDRESSES(S) S(_learnt) S(_users) S(tokens)
#define TIMERS(S) S(_at) S(_due) S(_rest) S(_began)
#define COUNTS(S) S(_kinds) S(by_kind)
#define REACHABILITIES(S) S(by_profile)
#define FORMS(S) S(challenges) S(grants)
#define FORM(S) S(quick) S(local) S(seen) S(terms) S(hits)
#define SETTINGS(S) S(t1) S(t2) S(user_agent)
#define REASON(S) S(code) S(status_code) S(text)

#define PROFILE_RECORD(S) S(profile) S(held) S(flows)
#define PROFILE(S) S(id) S(aor) S(registrar) S(private_identity) S(instance_id)
#define SERVER_PARAMETERS(S) S(uri) S(username) S(realm) S(password)
#define FLOW_RECORD(S)                                                                                                 \
    S(number) S(call_id) S(cseq_reserved) S(contact_token) S(lease_ends) S(refresh_at) S(expires_granted) S(boot_id)   \
    S(wall_offset) S(contact) S(registered_aors) S(nonces) S(rejected_attempts) S(since) S(state_revision)             \
    S(bound_as) S(sent_as) S(leaving) S(hop) S(public_gruu) S(bridge_port)
#define NONCE_RECORD(S) S(nonce) S(count_reserved)
#define LEASE(S)                                                                                                       \
    S(transport) S(local) S(place) S(shows_local) S(challenge) S(terms) S(rare) S(kind)
#define STORED_FORM(S) S(agent) S(scheme) S(settings) S(server) S(plan) S(unregistered) S(leases)

/* What native/load.c alone uses. */
#define LOADED(C)                                                                                                      \
    C(ProfileRecord, PROFILE_RECORD) C(Profile, PROFILE) C(ServerParameters, SERVER_PARAMETERS)                        \
    C(FlowRecord, FLOW_RECORD) C(NonceRecord, NONCE_RECORD) C(Lease, LEASE) C(StoredForm, STORED_FORM)

#define CLASSES(C)                                                                                                     \
    C(Flow, FLOW) C(Registration, REGISTRATION) C(Registrations, REGISTRATIONS) C(KeptPlan, KEPT_PLAN) C(Plan, PLAN)   \
    C(Hop, HOP) C(Credentials, CREDENTIALS) C(Terms, TERMS) C(Nonce, NONCE) C(TransportKey, TRANSPORT_KEY)             \
    C(Transport, TRANSPORT) C(Health, HEALTH) C(Pacer, PACER) C(Locations, LOCATIONS) C(Location, LOCATION)            \
    C(Network, NETWORK) C(Keepalive, KEEPALIVE) C(Addresses, ADDRESSES) C(Timers, TIMERS) C(Forms, FORMS)              \
    C(Counts, COUNTS) C(Reachabilities, REACHABILITIES) C(Form, FORM) C(RegistrationSettings, SETTINGS) C(Reason, REASON) \
    LOADED(C)

#define AS_FIELD(slot) Py_ssize_t slot;
#define DECLARE_CLASS(Class, SLOTS)                                                                                    \
    extern struct Class##_layout {                                                                                     \
        PyTypeObject *type;                                                                                            \
        SLOTS(AS_FIELD)                                                                                                \
    } Class##_at;
CLASSES(DECLARE_CLASS)

/* The functions and values of Python that are used, by the names under which bind() is given them. */
#define OBJECTS(O)                                                                                                     \
    O(USUAL_FLOW) O(USUAL_REGISTRATION) O(NO_REASON) O(WANTED_DOWN) O(BY_RFC) O(Send) O(FlowRecord) O(NonceRecord)     \
    O(TransitionRecord) O(StateChanged) O(md5) O(usual) O(cnonce_of) O(head) O(tail) O(place) O(sent_as) O(bound_as)   \
    O(store) O(refresh_at) O(bind_flow) O(join) O(learn) O(other_opaque) O(heappush) O(target) O(show) O(heappop) O(arm_pacer)  \
    O(drawn) O(due) O(begin) O(is_full) O(rearm) O(carried_rest) O(settings_of) O(server_of)              \
    O(way_of) O(terms_of) O(resumed) O(shared_number)

#define DECLARE_OBJECT(name) extern PyObject *py_##name;
OBJECTS(DECLARE_OBJECT)

/* ---- what is the same everywhere ---- */

/* bind() sees that Python counts them likewise: what a flow does and what for, the class of waiting requests that draw
 * first, and the kinds of parts that an answer's form has. */
#define COUNTED(C)                                                                                                     \
    C(IDLE, 0) C(RESOLVING, 1) C(OPENING, 2) C(QUEUED, 3) C(RESERVING, 4) C(SENT, 5) C(WAITING, 6) C(FETCHING, 7)      \
    C(REGISTER, 0) C(REFRESH, 0)                                                                                       \
    C(ANYTHING, 1) C(BRANCH, 2) C(CSEQ, 3) C(NONCE_TEXT, 4) C(OPAQUE, 5) C(CONTACT, 6) C(EXPIRES, 7) C(INSTANCE, 8)
#define AS_ENUMERATOR(name, value) name = value,
enum { COUNTED(AS_ENUMERATOR) };

/* Limits and times, as bind() is given them. */
#define LIMITS(L) L(IN_FLIGHT) L(RESERVE_AHEAD) L(RESERVED_BLOCK) L(NONCE_BLOCK) L(HISTORY_LENGTH)
#define SECONDS(S) S(SILENT) S(PAUSE) S(CLOCK_TOLERANCE)
#define DECLARE_LIMIT(name) extern long long name;
#define DECLARE_SECONDS(name) extern double name;
LIMITS(DECLARE_LIMIT)
SECONDS(DECLARE_SECONDS)

/* The slot of an object whose class is known: a borrowed reference, NULL where nothing was ever put. */
#define GET(object, Class, slot) (*(PyObject **)((char *)(object) + Class##_at.slot))
#define IS_A(object, Class) Py_IS_TYPE(object, Class##_at.type)

/* Put a reference that is ours into a slot. */
static inline void put_in(PyObject **slot, PyObject *value)
{
    PyObject *before = *slot;
    *slot = value;
    Py_XDECREF(before);
}
#define SET(object, Class, slot, value) put_in(&GET(object, Class, slot), value)
#define SET_SHARED(object, Class, slot, value) put_in(&GET(object, Class, slot), Py_NewRef(value))

/* A reference of our own until the block ends: what of Python is called may take it from whoever else has it. */
static inline void let_go(PyObject **held) { Py_XDECREF(*held); }
#define HELD(name, value) __attribute__((cleanup(let_go))) PyObject *name = Py_XNewRef(value)

double double_of_long(PyObject *value);
/* Both are 0 for what is no such number, run nothing of Python and raise nothing; sound.c refuses such before. */
static inline double number_of(PyObject *value)
{
    return PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value) : PyLong_CheckExact(value) ? double_of_long(value) : 0.0;
}

static inline long long integer_of(PyObject *value)
{
    int overflow;
    return PyLong_CheckExact(value) ? PyLong_AsLongLongAndOverflow(value, &overflow) : 0;
}

static inline bool is_ascii(PyObject *value)
{
    return value != NULL && PyUnicode_CheckExact(value) && PyUnicode_IS_COMPACT_ASCII(value);
}

static inline bool same_text(PyObject *left, PyObject *right)
{
    return left == right || (PyUnicode_CheckExact(left) && PyUnicode_CheckExact(right) &&
                             PyUnicode_Compare(left, right) == 0);
}

/* ---- text under construction: of bounded size, less than a datagram, and what does not fit is for Python ---- */

enum { ROOM = 4096 };
typedef struct {
    size_t length;
    bool overflown;
    char data[ROOM];
} Text;

static inline void add(Text *text, const char *data, size_t length)
{
    if (length > ROOM - text->length) {
        text->overflown = true;
        return;
    }
    memcpy(text->data + text->length, data, length);
    text->length += length;
}
#define ADD(text, literal) add(text, literal, sizeof(literal) - 1)
void add_str(Text *text, PyObject *value); /* overflown when it is not ASCII */
void add_bytes(Text *text, PyObject *value);
void add_decimal(Text *text, long long value);
void add_hex(Text *text, uint64_t value, int width); /* width 0: no leading zeros */

/* MD5 (RFC 1321) in the 32 letters of its hexadecimal form. */
void md5_hex(const char *data, size_t length, char *out);

/* ---- the files ---- */

int bind_objects(PyObject *given);
bool all_there(void);

extern PyTypeObject QuickFormType;
typedef struct {
    const char *branch, *number, *random, *cseq, *nonce, *opaque, *contact, *expires;
    size_t branch_length, number_length, random_length, cseq_length, nonce_length, opaque_length, contact_length,
        expires_length;
    bool has_opaque;
} Found;
bool quick_form_matches(PyObject *form, const char *data, size_t length, Found *found);

/* A request that is ready to be sent, and what has to be put into the flow then. */
typedef struct {
    Text text;
    size_t branch_at, number_length;
    PyObject *middle;  /* built anew, or NULL */
    PyObject *place;   /* with it */
    PyObject *carried; /* with it, or NULL */
    PyObject *nonce;   /* whose use counts, or NULL */
    PyObject *plan;    /* of which it is written */
    PyObject *local;   /* the address that it shows */
} Draft;
/* Write the request into the draft; nothing else is changed. credentials are those of a nonce that is not in the flow. */
Outcome draft_request(PyObject *room, PyObject *registration, PyObject *flow, PyObject *transport, PyObject *fresh,
                      Draft *draft);
void forget_draft(Draft *draft);
Outcome send_draft(PyObject *room, PyObject *registration, PyObject *flow, PyObject *transport, PyObject *now,
                   Draft *draft);

/* Whether what is read of them is there and of the kind that it has to be; anything else is for Python. */
bool is_sound_room(PyObject *room);
bool is_sound_timers(PyObject *timers);
bool is_sound_flow(PyObject *flow);
bool is_sound_registration(PyObject *registration);
bool is_sound_plan(PyObject *plan);
bool is_sound_transport(PyObject *transport);
bool is_sound_health(PyObject *health);
bool is_sound_pacer(PyObject *pacer);
bool is_sound_nonce(PyObject *nonce);
bool is_sound_form(PyObject *form);
bool is_sound_keepalive(PyObject *keepalive);
bool is_sound_addresses(PyObject *addresses);
bool is_sound_counts(PyObject *kinds);
bool is_sound_network(PyObject *network);
bool is_sound_location(PyObject *location);
bool is_sound_record(PyObject *record);
bool is_sound_profile(PyObject *profile);
bool is_sound_server(PyObject *server);
bool is_sound_row(PyObject *row);
bool is_sound_stored_nonce(PyObject *nonce);

/* After a call into Python that may have changed anything: FAILED, with an exception, if a slot has nothing in it. What
 * is of another kind than before does no harm where number_of() and its like read it. */
Outcome still_sound(PyObject *room, PyObject *registration, PyObject *flow);

bool is_usual(PyObject *registration, PyObject *flow);
Outcome arm(PyObject *room, PyObject *flow, PyObject *at);
Outcome rearm(PyObject *room, PyObject *registration, PyObject *flow);
Outcome rearm_if_there(PyObject *room, PyObject *registration, PyObject *flow);
Outcome tell(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now, PyObject *after, PyObject *reason,
             bool transition);
void pacer_fill(PyObject *pacer, double now, double *tokens);
/* Take over what pacer_fill() found, less what was taken. */
Outcome pacer_set(PyObject *pacer, PyObject *now, double tokens);
bool is_full(PyObject *way, PyObject *health, PyObject *now);
Outcome begin(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now, PyObject *kind);
Outcome transmit(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now);
PyObject *bound_as(PyObject *plan);
PyObject *sent_as(PyObject *plan);

PyObject *outcome_of(Outcome outcome); /* as the functions of the module return it */
PyObject *quick_transmit(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *quick_begin(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *quick_answered(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *quick_form(PyObject *self, PyObject *parts);
PyObject *quick_load(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *quick_draw(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *quick_timer(PyObject *self, PyObject *const *args, Py_ssize_t count);

extern PyObject *text_registered, *text_registering, *text_unregistered, *text_status, *text_state, *text_udp, *text_empty;
extern PyObject *bytes_empty, *tuple_empty, *float_zero, *small[16];

#endif
