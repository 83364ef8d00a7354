/* What changes in a registration's memory, whatever was sent or received: registration/machine.py and state.py. */
#include "quick.h"

static bool is_true(PyObject *value) { return value == Py_True; }

/* ordinary() of registration/plain.py: nothing asks for anything but REGISTER, challenge and grant over UDP. */
bool is_usual(PyObject *registration, PyObject *flow)
{
    /* The agent's class that was seen last to follow the RFCs in this, and how often that was changed until then. */
    static PyTypeObject *by_rfc;
    static unsigned int as_seen;
    if (!is_sound_flow(flow) || !is_sound_registration(registration))
        return false;
    PyObject *plan = GET(registration, Registration, plan), *flows = GET(registration, Registration, flows);
    PyObject *key = GET(flow, Flow, key), *agent = GET(registration, Registration, agent);
    if (GET(flow, Flow, rare) != py_USUAL_FLOW || GET(registration, Registration, rare) != py_USUAL_REGISTRATION ||
        !(is_true(GET(registration, Registration, wanted)) || is_true(GET(registration, Registration, kept))) ||
        !PyTuple_CheckExact(flows) || PyTuple_GET_SIZE(flows) != 1 || PyTuple_GET_ITEM(flows, 0) != flow ||
        GET(flow, Flow, purpose) != small[REGISTER] || !IS_A(key, TransportKey))
        return false;
    PyObject *common = GET(plan, KeptPlan, common);
    if (!same_text(GET(key, TransportKey, protocol), text_udp) || GET(common, Plan, contact_uri) != Py_None ||
        GET(common, Plan, token_source) != Py_None || GET(common, Plan, gruu) != Py_False)
        return false;
    if (Py_TYPE(agent) == by_rfc && as_seen != 0 && by_rfc->tp_version_tag == as_seen)
        return true;
    HELD(kind, (PyObject *)Py_TYPE(agent));
    HELD(owner, registration);
    HELD(path, flow);
    HELD(settings, plan);
    HELD(all, flows);
    HELD(way, key);
    PyObject *associated = PyObject_GetAttrString(kind, "associated");
    int follows = associated == NULL ? -1 : PySequence_Contains(py_BY_RFC, associated);
    Py_XDECREF(associated);
    if (follows != 1) {
        PyErr_Clear();
        return false;
    }
    as_seen = ((PyTypeObject *)kind)->tp_version_tag;
    put_in((PyObject **)&by_rfc, Py_NewRef(kind));
    /* What was asked is Python, and may have changed what was found before. */
    return is_sound_flow(flow) && is_sound_registration(registration) && GET(registration, Registration, plan) == plan &&
           GET(flow, Flow, key) == key && GET(registration, Registration, flows) == flows;
}

/* Registrations.arm() and Timers.set(). */
Outcome arm(PyObject *room, PyObject *flow, PyObject *at)
{
    HELD(time, at);
    HELD(timers, GET(room, Registrations, _timers));
    HELD(number, GET(flow, Flow, id));
    if (timers == NULL || number == NULL || GET(flow, Flow, wake_at) == NULL || !is_sound_timers(timers)) {
        PyErr_SetString(PyExc_TypeError, "the timers are of another class");
        return FAILED;
    }
    double wake_at = number_of(GET(flow, Flow, wake_at));
    if (wake_at != 0.0 && number_of(at) >= wake_at)
        return DONE;
    SET_SHARED(flow, Flow, wake_at, at);
    PyObject *due = PyDict_GetItemWithError(GET(timers, Timers, _due), at);
    if (due == NULL) {
        if (PyErr_Occurred() || PyDict_SetItem(GET(timers, Timers, _due), at, number) < 0)
            return FAILED;
        PyObject *arguments[] = {GET(timers, Timers, _at), at};
        PyObject *pushed = PyObject_Vectorcall(py_heappush, arguments, 2, NULL);
        Py_XDECREF(pushed);
        return pushed == NULL ? FAILED : DONE;
    }
    if (PyList_CheckExact(due))
        return PyList_Append(due, number) < 0 ? FAILED : DONE;
    PyObject *both = PyList_New(2);
    if (both == NULL)
        return FAILED;
    PyList_SET_ITEM(both, 0, Py_NewRef(due));
    PyList_SET_ITEM(both, 1, Py_NewRef(number));
    int set = PyDict_SetItem(GET(timers, Timers, _due), at, both);
    Py_DECREF(both);
    return set < 0 ? FAILED : DONE;
}

/* machine.rearm(), which is short for a usual flow that is idle or has a request on the wire. */
Outcome rearm(PyObject *room, PyObject *registration, PyObject *flow)
{
    PyObject *phase = GET(flow, Flow, phase);
    if ((phase != small[IDLE] && phase != small[SENT]) || !is_usual(registration, flow)) { /* something else has happened */
        PyObject *armed = PyObject_CallFunctionObjArgs(py_rearm, room, registration, flow, NULL);
        Py_XDECREF(armed);
        return armed == NULL ? FAILED : DONE;
    }
    PyObject *soonest = GET(flow, Flow, ends_at);
    PyObject *lease_end = GET(flow, Flow, lease_end), *retransmit_at = GET(flow, Flow, retransmit_at);
    phase = GET(flow, Flow, phase);
    if (phase == small[SENT] && number_of(retransmit_at) != 0.0 && number_of(retransmit_at) < number_of(soonest))
        soonest = retransmit_at;
    if (number_of(lease_end) > 0) {
        if (phase == small[IDLE] && GET(room, Registrations, stopping) == Py_False)
            soonest = GET(flow, Flow, refresh_at);
        if (number_of(soonest) == 0.0 || number_of(lease_end) < number_of(soonest))
            soonest = lease_end;
    }
    return number_of(soonest) == 0.0 ? DONE : arm(room, flow, soonest);
}

/* The same of a flow that may have gone meanwhile. */
Outcome rearm_if_there(PyObject *room, PyObject *registration, PyObject *flow)
{
    PyObject *flows = GET(room, Registrations, flows), *number = GET(flow, Flow, id);
    if (flows == NULL || !PyDict_CheckExact(flows) || number == NULL) {
        PyErr_SetString(PyExc_TypeError, "what was called has spoilt a registration that is dealt with");
        return FAILED;
    }
    int there = PyDict_Contains(flows, number);
    return there < 0 ? FAILED : there ? rearm(room, registration, flow) : DONE;
}

/* Pacer._fill(), and the tokens that there are then. */
void pacer_fill(PyObject *pacer, double now, double *tokens)
{
    double filled_at = number_of(GET(pacer, Pacer, _filled_at)), burst = number_of(GET(pacer, Pacer, _burst));
    *tokens = number_of(GET(pacer, Pacer, _tokens));
    if (now > filled_at) {
        double more = *tokens + (now - filled_at) * number_of(GET(pacer, Pacer, _rate));
        *tokens = more < burst ? more : burst;
    }
}

Outcome pacer_set(PyObject *pacer, PyObject *now, double tokens)
{
    PyObject *left = PyFloat_FromDouble(tokens);
    if (left == NULL)
        return FAILED;
    if (number_of(now) > number_of(GET(pacer, Pacer, _filled_at)))
        SET_SHARED(pacer, Pacer, _filled_at, now);
    SET(pacer, Pacer, _tokens, left);
    return DONE;
}

/* queueing.is_full(): whether the target has enough to answer. */
bool is_full(PyObject *way, PyObject *health, PyObject *now)
{
    PyObject *active = GET(way, Transport, active);
    return PySet_CheckExact(active) && PySet_GET_SIZE(active) >= IN_FLIGHT &&
           number_of(now) - number_of(GET(health, Health, answered_at)) < SILENT;
}

/* Counts.count() of registration/counts.py. */
static Outcome count_kind(PyObject *kinds, PyObject *registration, PyObject *registrar)
{
    HELD(known, GET(kinds, Counts, _kinds));
    HELD(by_kind, GET(kinds, Counts, by_kind));
    HELD(counted, GET(registration, Registration, counted));
    HELD(status, GET(registration, Registration, status));
    HELD(reason, GET(registration, Registration, reason));
    PyObject *code = GET(reason, Reason, code);
    if (PyTuple_CheckExact(counted) && PyTuple_GET_SIZE(counted) == 3) {
        if (same_text(PyTuple_GET_ITEM(counted, 0), status) && same_text(PyTuple_GET_ITEM(counted, 1), code) &&
            same_text(PyTuple_GET_ITEM(counted, 2), registrar))
            return DONE;
        PyObject *number = PyDict_GetItemWithError(by_kind, counted);
        if (number == NULL) {
            if (!PyErr_Occurred())
                PyErr_SetObject(PyExc_KeyError, counted);
            return FAILED;
        }
        long long left = integer_of(number) - 1;
        int changed;
        if (left) {
            PyObject *less = PyLong_FromLongLong(left);
            changed = less == NULL ? -1 : PyDict_SetItem(by_kind, counted, less);
            Py_XDECREF(less);
        } else
            changed = PyDict_DelItem(by_kind, counted) < 0 ? -1 : PyDict_DelItem(known, counted);
        if (changed < 0)
            return FAILED;
        SET_SHARED(registration, Registration, counted, Py_None);
    }
    PyObject *kind = PyTuple_Pack(3, status, code, registrar);
    PyObject *shared = kind == NULL ? NULL : PyDict_SetDefault(known, kind, kind);
    Py_XINCREF(shared);
    Py_XDECREF(kind);
    if (shared == NULL)
        return FAILED;
    __attribute__((cleanup(let_go))) PyObject *own = shared;
    SET_SHARED(registration, Registration, counted, own);
    PyObject *number = PyDict_GetItemWithError(by_kind, shared);
    if (number == NULL && PyErr_Occurred())
        return FAILED;
    PyObject *more = PyLong_FromLongLong((number == NULL ? 0 : integer_of(number)) + 1);
    int set = more == NULL ? -1 : PyDict_SetItem(by_kind, shared, more);
    Py_XDECREF(more);
    return set < 0 ? FAILED : DONE;
}

/* Registrations.changed(): count the new state and tell the service. */
static Outcome changed(PyObject *room, PyObject *registration, PyObject *change, PyObject *now)
{
    HELD(plan, GET(registration, Registration, plan));
    HELD(kinds, GET(room, Registrations, kinds));
    HELD(reachabilities, GET(room, Registrations, reachabilities));
    PyObject *told, *common = is_sound_plan(plan) ? GET(plan, KeptPlan, common) : NULL;
    int probed = 1;
    if (common != NULL && is_sound_room(room) && IS_A(kinds, Counts) && IS_A(reachabilities, Reachabilities) && GET(common, Plan, reg_event) == Py_False &&
        GET(common, Plan, reachable_interval) == small[0] && IS_A(GET(registration, Registration, reason), Reason))
        probed = PyDict_Contains(GET(reachabilities, Reachabilities, by_profile),
                                 GET(registration, Registration, profile));
    if (probed < 0)
        return FAILED;
    if (probed)
        told = PyObject_CallMethod(room, "changed", "OOO", registration, change, now);
    else if (count_kind(kinds, registration, GET(common, Plan, registrar)) != DONE)
        return FAILED;
    else
        told = PyObject_CallOneArg(GET(room, Registrations, emit), change);
    Py_XDECREF(told);
    return told == NULL ? FAILED : DONE;
}

/* state._target(): where the binding is, or else where the attempt goes. Most have the same, so it is kept. */
static PyObject *target_of(PyObject *flow)
{
    static PyObject *last_key, *last_target;
    bool leased = number_of(GET(flow, Flow, lease_end)) > 0 && GET(flow, Flow, bound) != Py_None;
    HELD(key, leased ? GET(flow, Flow, bound) : GET(flow, Flow, key));
    if (last_key == key)
        return Py_NewRef(last_target);
    PyObject *target = PyObject_CallOneArg(py_target, flow);
    if (target == NULL || !IS_A(key, TransportKey))
        return target;
    PyObject *before = last_key, *its = last_target;
    last_key = Py_NewRef(key);
    last_target = Py_NewRef(target);
    Py_XDECREF(before);
    Py_XDECREF(its);
    return target;
}

/* state.tell() of a usual registration, whose reason is the given one or stays as it is (NULL). */
Outcome tell(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now, PyObject *after, PyObject *reason,
             bool transition)
{
    HELD(before, GET(registration, Registration, status));
    HELD(told, reason == NULL ? GET(registration, Registration, reason) : reason);
    PyObject *event = text_status;
    if (!IS_A(told, Reason)) {
        PyErr_SetString(PyExc_TypeError, "the reason is of another class");
        return FAILED;
    }
    bool same = same_text(before, after);
    if (after == text_registered && !same)
        event = text_registered;
    PyObject *revision = PyLong_FromLongLong(integer_of(GET(registration, Registration, revision)) + 1);
    if (revision == NULL)
        return FAILED;
    HELD(number, revision);
    SET_SHARED(registration, Registration, status, after);
    SET(registration, Registration, revision, revision);
    if (reason != NULL)
        SET_SHARED(registration, Registration, reason, reason);
    if (!same)
        SET_SHARED(registration, Registration, since, now);
    if (transition) {
        SET_SHARED(room, Registrations, pressing, Py_True);
        PyObject *phase = GET(flow, Flow, phase), *failures = GET(flow, Flow, failures);
        bool under_way = phase != small[IDLE] && phase != small[WAITING];
        PyObject *attempts = PyLong_FromLongLong(integer_of(failures) + under_way);
        PyObject *at = PyFloat_FromDouble(number_of(now) + number_of(GET(room, Registrations, wall_offset)));
        PyObject *target = target_of(flow);
        PyObject *row = NULL, *saved = NULL;
        if (attempts != NULL && at != NULL && target != NULL) {
            PyObject *arguments[] = {GET(registration, Registration, profile),
                                     number,
                                     at,
                                     after,
                                     GET(told, Reason, code),
                                     GET(told, Reason, status_code),
                                     GET(told, Reason, text),
                                     attempts,
                                     target};
            row = PyObject_Vectorcall(py_TransitionRecord, arguments, 9, NULL);
            if (row != NULL)
                saved = PyObject_CallOneArg(GET(room, Registrations, save), row);
        }
        Py_XDECREF(attempts);
        Py_XDECREF(at);
        Py_XDECREF(target);
        Py_XDECREF(row);
        Py_XDECREF(saved);
        if (saved == NULL || still_sound(room, registration, flow) != DONE)
            return FAILED;
    }
    PyObject *look = PyObject_GetAttr(room, text_state);
    if (look == NULL)
        return FAILED;
    PyObject *arguments[] = {GET(registration, Registration, profile),
                             event,
                             after,
                             GET(registration, Registration, reason),
                             look,
                             transition ? Py_True : Py_False};
    PyObject *change = PyObject_Vectorcall(py_StateChanged, arguments, 6, NULL);
    Py_DECREF(look);
    if (change == NULL)
        return FAILED;
    Outcome outcome = changed(room, registration, change, now);
    Py_DECREF(change);
    return outcome;
}
