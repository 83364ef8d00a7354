/* The begin of an attempt where there is nothing to choose and nothing to wait for: registration/attempt.py. */
#include "quick.h"

/* attempt._only_way(): the open UDP transport to the only address of the only hop; borrowed. */
static PyObject *only_way(PyObject *room, PyObject *plan, PyObject *flow, PyObject *now)
{
    PyObject *hops = GET(plan, KeptPlan, hops), *common = GET(plan, KeptPlan, common);
    PyObject *locations = GET(room, Registrations, locations), *network = GET(room, Registrations, network);
    if (PyTuple_GET_SIZE(hops) != 1 || GET(common, Plan, dscp) != Py_None || !IS_A(locations, Locations) || !is_sound_network(network))
        return NULL;
    PyObject *hop = PyTuple_GET_ITEM(hops, 0);
    if (PyObject_IsTrue(GET(network, Network, generations)) != 0)
        return NULL;
    PyObject *location = PyDict_GetItemWithError(GET(locations, Locations, _locations), GET(hop, Hop, server));
    if (location == NULL || !is_sound_location(location) || number_of(GET(location, Location, expires_at)) <= number_of(now))
        return NULL;
    HELD(sole, GET(location, Location, sole));
    PyObject *way = sole == NULL || sole == Py_None ? NULL : PyDict_GetItemWithError(GET(room, Registrations, transports), sole);
    if (way == NULL || !is_sound_transport(way) || GET(way, Transport, local) == Py_None)
        return NULL;
    PyObject *key = GET(flow, Flow, key);
    return key == Py_None || key == GET(way, Transport, key) ? way : NULL;
}

/* attempt.show() after a REGISTER was sent, or has to wait. */
static Outcome show(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now)
{
    if (GET(registration, Registration, status) == NULL || GET(registration, Registration, reason) == NULL ||
        GET(registration, Registration, revision) == NULL || GET(flow, Flow, lease_end) == NULL) { /* spoilt meanwhile */
        PyObject *shown = PyObject_CallFunctionObjArgs(py_show, room, registration, now, NULL);
        Py_XDECREF(shown);
        return shown == NULL ? FAILED : DONE;
    }
    PyObject *before = GET(registration, Registration, status);
    HELD(reason, GET(registration, Registration, reason));
    bool registered = number_of(GET(flow, Flow, lease_end)) > 0;
    if (same_text(before, registered ? text_registered : text_registering))
        return DONE;
    if (registered || !same_text(before, text_unregistered) || !IS_A(reason, Reason)) {
        PyObject *shown = PyObject_CallFunctionObjArgs(py_show, room, registration, now, NULL);
        Py_XDECREF(shown);
        return shown == NULL ? FAILED : DONE;
    }
    int past = PySequence_Contains(py_WANTED_DOWN, GET(reason, Reason, code));
    return past < 0 ? FAILED : tell(room, registration, flow, now, text_registering, past ? py_NO_REASON : NULL, true);
}

/* attempt.pace() of who has no lease and no token: it waits for one. */
static Outcome enqueue(PyObject *room, PyObject *pacer, PyObject *flow, PyObject *way, PyObject *now, PyObject *kind)
{
    HELD(queue, GET(pacer, Pacer, queue));
    HELD(waiting, GET(way, Transport, waiting));
    PyObject *entry = PyTuple_Pack(3, kind, now, GET(flow, Flow, id));
    if (entry == NULL)
        return FAILED;
    SET_SHARED(flow, Flow, phase, small[QUEUED]);
    SET_SHARED(flow, Flow, ends_at, float_zero);
    PyObject *arguments[] = {queue, entry}, *pushed = NULL;
    if (PySet_Add(waiting, GET(flow, Flow, id)) == 0)
        pushed = PyObject_Vectorcall(py_heappush, arguments, 2, NULL);
    Py_DECREF(entry);
    Py_XDECREF(pushed);
    if (pushed == NULL)
        return FAILED;
    if (number_of(GET(pacer, Pacer, timer)) != 0.0)
        return DONE;
    PyObject *armed = PyObject_CallFunctionObjArgs(py_arm_pacer, room, pacer, now, NULL);
    Py_XDECREF(armed);
    return armed == NULL ? FAILED : DONE;
}

Outcome begin(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now, PyObject *kind)
{
    if (!is_sound_room(room) || !is_sound_flow(flow) || !is_sound_registration(registration) ||
        GET(room, Registrations, stopping) != Py_False)
        return NOTHING;
    HELD(plan, GET(registration, Registration, plan));
    HELD(had, GET(flow, Flow, key));
    HELD(way, only_way(room, plan, flow, now));
    if (way == NULL)
        return PyErr_Occurred() ? FAILED : NOTHING;
    HELD(key, GET(way, Transport, key));
    PyObject *common = GET(plan, KeptPlan, common);
    PyObject *health = PyDict_GetItemWithError(GET(room, Registrations, health), key);
    HELD(pacer, PyDict_GetItemWithError(GET(room, Registrations, pacers), GET(common, Plan, registrar)));
    if (health == NULL || pacer == NULL || !is_sound_health(health) || !is_sound_pacer(pacer) ||
        number_of(GET(health, Health, down_since)) > 0.0)
        return PyErr_Occurred() ? FAILED : NOTHING;
    bool leased = number_of(GET(flow, Flow, lease_end)) > 0, full = !leased && is_full(way, health, now);
    bool first = PyList_GET_SIZE(GET(pacer, Pacer, queue)) == 0;
    double tokens = 0.0;
    if (first && !full)
        pacer_fill(pacer, number_of(now), &tokens);
    bool waits = tokens < 1.0;
    if (waits && leased)
        return NOTHING;
    PyObject *attempt = PyLong_FromLongLong(integer_of(GET(flow, Flow, attempt)) + 1);
    if (attempt == NULL)
        return FAILED;
    Draft draft;
    draft.middle = draft.place = draft.carried = draft.nonce = draft.plan = draft.local = NULL;
    SET_SHARED(flow, Flow, key, key);
    Outcome outcome;
    if (waits)
        outcome = is_usual(registration, flow) ? DONE : NOTHING;
    else
        outcome = draft_request(room, registration, flow, way, NULL, &draft);
    if (outcome == DONE && first && !full)
        outcome = pacer_set(pacer, now, waits ? tokens : tokens - 1.0);
    if (outcome != DONE) {
        SET_SHARED(flow, Flow, key, had);
        Py_DECREF(attempt);
        forget_draft(&draft);
        return outcome;
    }
    SET_SHARED(flow, Flow, queue_class, kind);
    SET(flow, Flow, attempt, attempt);
    SET_SHARED(flow, Flow, rounds, small[0]);
    if (waits)
        outcome = enqueue(room, pacer, flow, way, now, kind);
    else {
        outcome = send_draft(room, registration, flow, way, now, &draft);
        forget_draft(&draft);
    }
    return outcome == DONE ? show(room, registration, flow, now) : outcome;
}

/* begin(room, registration, flow, now, kind): whether the attempt is under way. */
PyObject *quick_begin(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 5 || !all_there() || !PyFloat_CheckExact(args[3]))
        Py_RETURN_FALSE;
    return outcome_of(begin(args[0], args[1], args[2], args[3], args[4]));
}
