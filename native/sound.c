/* Whether objects are what the quick path takes them for: whoever changes one by hand, or an agent of others, may have
 * put anything into it. What is not sound is left alone, and Python says what is wrong with it, if anything is. */
#include "quick.h"

#define IS_SET(slot) &&*(PyObject **)((char *)object + at->slot) != NULL
#define HAS_ALL(Class, SLOTS)                                                                                          \
    static bool has_all_of_##Class(PyObject *object)                                                                   \
    {                                                                                                                  \
        const struct Class##_layout *at = &Class##_at;                                                                 \
        return true SLOTS(IS_SET);                                                                                     \
    }
HAS_ALL(Flow, FLOW)
HAS_ALL(Registration, REGISTRATION)
HAS_ALL(Registrations, REGISTRATIONS)
HAS_ALL(Transport, TRANSPORT)
HAS_ALL(Health, HEALTH)
HAS_ALL(Pacer, PACER)
HAS_ALL(Timers, TIMERS)
HAS_ALL(Form, FORM)
HAS_ALL(Nonce, NONCE)
HAS_ALL(Keepalive, KEEPALIVE)
HAS_ALL(Addresses, ADDRESSES)
HAS_ALL(Counts, COUNTS)
HAS_ALL(Network, NETWORK)
HAS_ALL(Location, LOCATION)
HAS_ALL(ProfileRecord, PROFILE_RECORD)
HAS_ALL(Profile, PROFILE)
HAS_ALL(ServerParameters, SERVER_PARAMETERS)
HAS_ALL(FlowRecord, FLOW_RECORD)
HAS_ALL(NonceRecord, NONCE_RECORD)

double double_of_long(PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow ? 0.0 : (double)number;
}

/* An int that can be counted up. */
static bool is_count(PyObject *value)
{
    if (!PyLong_CheckExact(value))
        return false;
#if PY_VERSION_HEX < 0x030C0000
    if ((size_t)Py_SIZE(value) <= 2) /* of 30 bits each, and a negative one has a negative size */
        return true;
#endif
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return !overflow && number >= 0 && number < 1LL << 62;
}

/* An int will do for what somebody sets. */
static bool is_number(PyObject *value) { return PyFloat_CheckExact(value) || is_count(value); }

static bool is_slot_dict(PyObject *owner, PyTypeObject *type, Py_ssize_t slot)
{
    PyObject *value;
    if (!Py_IS_TYPE(owner, type))
        return true; /* which is asked again where it matters */
    value = *(PyObject **)((char *)owner + slot);
    return value != NULL && PyDict_CheckExact(value);
}
#define HAS_DICT(owner, Class, slot) is_slot_dict(owner, Class##_at.type, Class##_at.slot)

bool is_sound_timers(PyObject *timers)
{
    return IS_A(timers, Timers) && has_all_of_Timers(timers) && PyList_CheckExact(GET(timers, Timers, _at)) &&
           PyDict_CheckExact(GET(timers, Timers, _due)) && PyList_CheckExact(GET(timers, Timers, _rest));
}

bool is_sound_room(PyObject *room)
{
    if (!IS_A(room, Registrations) || !has_all_of_Registrations(room))
        return false;
    PyObject *dicts[] = {GET(room, Registrations, by_profile), GET(room, Registrations, flows),
                         GET(room, Registrations, health),     GET(room, Registrations, transports),
                         GET(room, Registrations, keepalives), GET(room, Registrations, pacers),
                         GET(room, Registrations, forms),      GET(room, Registrations, ghosts),
                         GET(room, Registrations, _calls)};
    for (size_t i = 0; i < sizeof dicts / sizeof *dicts; i++)
        if (!PyDict_CheckExact(dicts[i]))
            return false;
    PyObject *settings = GET(room, Registrations, settings), *kinds = GET(room, Registrations, kinds);
    return PyObject_TypeCheck(settings, RegistrationSettings_at.type) && is_number(GET(settings, RegistrationSettings, t1)) &&
           is_number(GET(settings, RegistrationSettings, t2)) && PyUnicode_CheckExact(GET(room, Registrations, cnonce)) &&
           PyFloat_CheckExact(GET(room, Registrations, wall_offset)) && is_number(GET(room, Registrations, _last_time)) &&
           is_count(GET(room, Registrations, register_sent)) && is_sound_timers(GET(room, Registrations, _timers)) &&
           HAS_DICT(GET(room, Registrations, locations), Locations, _locations) &&
           HAS_DICT(GET(room, Registrations, addresses), Addresses, _learnt) &&
           HAS_DICT(GET(room, Registrations, reachabilities), Reachabilities, by_profile) &&
           HAS_DICT(kinds, Counts, _kinds) && HAS_DICT(kinds, Counts, by_kind);
}

bool is_sound_flow(PyObject *flow)
{
    if (!IS_A(flow, Flow) || !has_all_of_Flow(flow))
        return false;
    return is_count(GET(flow, Flow, id)) && is_count(GET(flow, Flow, cseq)) && is_count(GET(flow, Flow, cseq_reserved)) &&
           is_count(GET(flow, Flow, cseq_asked)) && is_count(GET(flow, Flow, attempt)) &&
           is_count(GET(flow, Flow, failures)) && is_count(GET(flow, Flow, queue_class)) &&
           PyFloat_CheckExact(GET(flow, Flow, retransmit_at)) && PyFloat_CheckExact(GET(flow, Flow, ends_at)) &&
           PyFloat_CheckExact(GET(flow, Flow, sent_at)) && PyFloat_CheckExact(GET(flow, Flow, wake_at)) &&
           PyFloat_CheckExact(GET(flow, Flow, lease_end)) && PyFloat_CheckExact(GET(flow, Flow, refresh_at)) &&
           PyUnicode_CheckExact(GET(flow, Flow, contact_token)) && PyUnicode_CheckExact(GET(flow, Flow, branch)) &&
           PyUnicode_CheckExact(GET(flow, Flow, place)) && PyBytes_CheckExact(GET(flow, Flow, middle)) &&
           (PyUnicode_CheckExact(GET(flow, Flow, call)) || PyBytes_CheckExact(GET(flow, Flow, call)));
}

bool is_sound_registration(PyObject *registration)
{
    return IS_A(registration, Registration) && has_all_of_Registration(registration) &&
           is_count(GET(registration, Registration, revision)) && PyFloat_CheckExact(GET(registration, Registration, since)) &&
           IS_A(GET(registration, Registration, reason), Reason) && is_sound_plan(GET(registration, Registration, plan));
}

bool is_sound_plan(PyObject *plan)
{
    if (!IS_A(plan, KeptPlan) || !IS_A(GET(plan, KeptPlan, common), Plan))
        return false;
    PyObject *hops = GET(plan, KeptPlan, hops), *outbound = GET(GET(plan, KeptPlan, common), Plan, outbound);
    return PyTuple_CheckExact(hops) && PyTuple_GET_SIZE(hops) > 0 && IS_A(PyTuple_GET_ITEM(hops, 0), Hop) &&
           (outbound == Py_False || outbound == Py_True) && is_count(GET(GET(plan, KeptPlan, common), Plan, expires));
}

Outcome still_sound(PyObject *room, PyObject *registration, PyObject *flow)
{
    if (has_all_of_Registrations(room) && has_all_of_Registration(registration) && has_all_of_Flow(flow))
        return DONE;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "what was called has spoilt a registration that is dealt with");
    return FAILED;
}

bool is_sound_transport(PyObject *transport)
{
    return IS_A(transport, Transport) && has_all_of_Transport(transport) &&
           IS_A(GET(transport, Transport, key), TransportKey) && PySet_CheckExact(GET(transport, Transport, waiting)) &&
           PySet_CheckExact(GET(transport, Transport, active)) && PyDict_CheckExact(GET(transport, Transport, heads)) &&
           is_count(GET(transport, Transport, limit)) && is_count(GET(transport, Transport, moves));
}

bool is_sound_health(PyObject *health)
{
    return IS_A(health, Health) && has_all_of_Health(health) && is_count(GET(health, Health, canary)) &&
           PyFloat_CheckExact(GET(health, Health, answered_at)) && is_number(GET(health, Health, down_since));
}

bool is_sound_pacer(PyObject *pacer)
{
    return IS_A(pacer, Pacer) && has_all_of_Pacer(pacer) && is_number(GET(pacer, Pacer, _rate)) &&
           is_number(GET(pacer, Pacer, _burst)) && is_number(GET(pacer, Pacer, _tokens)) &&
           is_number(GET(pacer, Pacer, _filled_at)) && is_number(GET(pacer, Pacer, timer)) &&
           PyList_CheckExact(GET(pacer, Pacer, queue));
}

bool is_sound_nonce(PyObject *nonce)
{
    return IS_A(nonce, Nonce) && has_all_of_Nonce(nonce) && IS_A(GET(nonce, Nonce, terms), Terms) &&
           IS_A(GET(nonce, Nonce, credentials), Credentials) && is_count(GET(nonce, Nonce, count)) &&
           is_count(GET(nonce, Nonce, limit));
}

bool is_sound_form(PyObject *form)
{
    return IS_A(form, Form) && has_all_of_Form(form) && is_count(GET(form, Form, hits)) &&
           Py_IS_TYPE(GET(form, Form, quick), &QuickFormType);
}

bool is_sound_keepalive(PyObject *keepalive)
{
    return IS_A(keepalive, Keepalive) && has_all_of_Keepalive(keepalive) && is_count(GET(keepalive, Keepalive, bindings)) &&
           PyFloat_CheckExact(GET(keepalive, Keepalive, due_at)) && PyFloat_CheckExact(GET(keepalive, Keepalive, sent_at));
}

bool is_sound_addresses(PyObject *addresses)
{
    return IS_A(addresses, Addresses) && has_all_of_Addresses(addresses) &&
           PyDict_CheckExact(GET(addresses, Addresses, _users)) && PyDict_CheckExact(GET(addresses, Addresses, tokens));
}

bool is_sound_counts(PyObject *kinds)
{
    return IS_A(kinds, Counts) && has_all_of_Counts(kinds) && PyDict_CheckExact(GET(kinds, Counts, _kinds)) &&
           PyDict_CheckExact(GET(kinds, Counts, by_kind));
}

bool is_sound_network(PyObject *network) { return IS_A(network, Network) && has_all_of_Network(network); }
bool is_sound_location(PyObject *location) { return IS_A(location, Location) && has_all_of_Location(location); }

/* ---- what is stored, as the store gives it ---- */

static bool is_text_or_none(PyObject *value) { return value == Py_None || PyUnicode_CheckExact(value); }

bool is_sound_record(PyObject *record) { return IS_A(record, ProfileRecord) && has_all_of_ProfileRecord(record); }

bool is_sound_profile(PyObject *profile)
{
    return IS_A(profile, Profile) && has_all_of_Profile(profile) && is_count(GET(profile, Profile, id)) &&
           is_text_or_none(GET(profile, Profile, private_identity));
}

bool is_sound_server(PyObject *server)
{
    return IS_A(server, ServerParameters) && has_all_of_ServerParameters(server) &&
           is_text_or_none(GET(server, ServerParameters, username));
}

bool is_sound_row(PyObject *row)
{
    return IS_A(row, FlowRecord) && has_all_of_FlowRecord(row) && PyFloat_CheckExact(GET(row, FlowRecord, lease_ends)) &&
           PyFloat_CheckExact(GET(row, FlowRecord, refresh_at)) && PyFloat_CheckExact(GET(row, FlowRecord, since)) &&
           PyFloat_CheckExact(GET(row, FlowRecord, wall_offset)) && PyUnicode_CheckExact(GET(row, FlowRecord, boot_id)) &&
           PyUnicode_CheckExact(GET(row, FlowRecord, call_id)) && is_ascii(GET(row, FlowRecord, contact_token)) &&
           is_count(GET(row, FlowRecord, expires_granted)) && is_count(GET(row, FlowRecord, cseq_reserved)) &&
           is_count(GET(row, FlowRecord, state_revision)) && is_count(GET(row, FlowRecord, bound_as));
}

bool is_sound_stored_nonce(PyObject *nonce)
{
    return IS_A(nonce, NonceRecord) && has_all_of_NonceRecord(nonce) && is_count(GET(nonce, NonceRecord, count_reserved));
}
