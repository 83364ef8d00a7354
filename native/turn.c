/* What is due: Registrations.timer(), machine.due() and queueing.draw(). */
#include "quick.h"

/* What Python's function does, called with these; DONE unless it raises. */
static Outcome call(PyObject *function, PyObject *first, PyObject *second, PyObject *third, PyObject *fourth)
{
    PyObject *done = PyObject_CallFunctionObjArgs(function, first, second, third, fourth, NULL);
    Py_XDECREF(done);
    return done == NULL ? FAILED : DONE;
}

/* The registration of a flow that is no ghost's; borrowed, NULL where Python has to look. */
static PyObject *owner_of(PyObject *room, PyObject *flow)
{
    if (PyDict_GET_SIZE(GET(room, Registrations, ghosts)))
        return NULL;
    PyObject *registration = PyDict_GetItemWithError(GET(room, Registrations, by_profile), GET(flow, Flow, profile));
    return registration != NULL && IS_A(registration, Registration) ? registration : NULL;
}

/* attempt.drawn() of a usual flow: its target is as it was. */
static Outcome drawn(PyObject *room, PyObject *flow, PyObject *health, PyObject *now)
{
    HELD(registration, owner_of(room, flow));
    Outcome outcome = NOTHING;
    if (registration != NULL && health != NULL && number_of(GET(health, Health, down_since)) == 0.0)
        outcome = transmit(room, registration, flow, now);
    if (outcome == NOTHING && !PyErr_Occurred())
        outcome = call(py_drawn, room, flow, now, NULL);
    return PyErr_Occurred() ? FAILED : outcome;
}

static Outcome draw_first(PyObject *room, PyObject *pacer, PyObject *now, bool *over)
{
    HELD(queue, GET(pacer, Pacer, queue));
    HELD(first, PyList_GET_ITEM(queue, 0));
    PyObject *pause = NULL;
    if (!PyTuple_CheckExact(first) || PyTuple_GET_SIZE(first) != 3) {
        PyErr_SetString(PyExc_TypeError, "who waits is no tuple of three");
        return FAILED;
    }
    HELD(flow, PyDict_GetItemWithError(GET(room, Registrations, flows), PyTuple_GET_ITEM(first, 2)));
    if (PyErr_Occurred())
        return FAILED;
    if (flow != NULL && !is_sound_flow(flow))
        return NOTHING;
    if (flow == NULL || GET(flow, Flow, phase) != small[QUEUED] ||
        integer_of(GET(flow, Flow, queue_class)) != integer_of(PyTuple_GET_ITEM(first, 0)))
        return call(py_heappop, queue, NULL, NULL, NULL);
    HELD(key, GET(flow, Flow, key));
    HELD(way, PyDict_GetItemWithError(GET(room, Registrations, transports), key));
    HELD(health, PyDict_GetItemWithError(GET(room, Registrations, health), key));
    if (PyErr_Occurred())
        return FAILED;
    bool known = way != NULL && health != NULL && is_sound_transport(way) && is_sound_health(health), full = false;
    if (integer_of(PyTuple_GET_ITEM(first, 0)) != REFRESH) {
        if (known)
            full = is_full(way, health, now);
        else {
            PyObject *answer = PyObject_CallFunctionObjArgs(py_is_full, room, flow, now, NULL);
            full = answer == Py_True;
            Py_XDECREF(answer);
            if (answer == NULL)
                return FAILED;
        }
    }
    if (full) {
        *over = true;
        pause = PyFloat_FromDouble(PAUSE);
        Outcome armed = pause == NULL ? FAILED : call(py_arm_pacer, room, pacer, now, pause);
        Py_XDECREF(pause);
        return armed;
    }
    double tokens;
    pacer_fill(pacer, number_of(now), &tokens);
    bool takes = tokens >= 1.0;
    if (pacer_set(pacer, now, takes ? tokens - 1.0 : tokens) != DONE)
        return FAILED;
    if (!takes) {
        *over = true;
        return call(py_arm_pacer, room, pacer, now, NULL);
    }
    Outcome outcome = call(py_heappop, queue, NULL, NULL, NULL);
    return outcome == DONE ? drawn(room, flow, known ? health : NULL, now) : outcome;
}

/* draw(room, pacer, now): whether the tokens that are there were handed out. */
PyObject *quick_draw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 3 || !all_there() || !is_sound_room(args[0]) || !is_sound_pacer(args[1]) ||
        !PyFloat_CheckExact(args[2]))
        Py_RETURN_FALSE;
    bool over = false;
    SET_SHARED(args[1], Pacer, timer, float_zero);
    while (!over && PyList_GET_SIZE(GET(args[1], Pacer, queue))) {
        Outcome outcome = draw_first(args[0], args[1], args[2], &over);
        if (outcome == FAILED)
            return outcome_of(FAILED);
        if (outcome == NOTHING || (!over && (!is_sound_room(args[0]) || !is_sound_pacer(args[1]))))
            Py_RETURN_FALSE; /* Python goes on */
    }
    Py_RETURN_TRUE;
}

/* machine.due() of a usual flow with nothing but a refresh due. */
static Outcome due(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now)
{
    if (!is_usual(registration, flow))
        return NOTHING;
    double lease_end = number_of(GET(flow, Flow, lease_end)), at = number_of(now);
    double retransmit_at = number_of(GET(flow, Flow, retransmit_at));
    PyObject *phase = GET(flow, Flow, phase);
    if (lease_end > 0 && at >= lease_end)
        return NOTHING;
    if (phase == small[SENT]) {
        if (at >= number_of(GET(flow, Flow, ends_at)) || (retransmit_at != 0.0 && at >= retransmit_at))
            return NOTHING;
    } else if (phase != small[IDLE])
        return NOTHING;
    else if (lease_end > 0 && at >= number_of(GET(flow, Flow, refresh_at))) {
        Outcome outcome = begin(room, registration, flow, now, small[REFRESH]);
        if (outcome == NOTHING) {
            PyObject *begun = PyObject_CallFunctionObjArgs(py_begin, room, registration, flow, now, small[REFRESH], NULL);
            Py_XDECREF(begun);
            outcome = begun == NULL ? FAILED : DONE;
        }
        if (outcome != DONE)
            return outcome;
    }
    return rearm_if_there(room, registration, flow);
}

/* The same of a flow of which nothing is known. */
static Outcome wake_unsound(PyObject *room, PyObject *flow, PyObject *at, PyObject *now, bool *counts)
{
    PyObject *wake_at = PyObject_GetAttrString(flow, "wake_at");
    int its = wake_at == NULL ? -1 : PyObject_RichCompareBool(wake_at, at, Py_EQ);
    Py_XDECREF(wake_at);
    *counts = its > 0;
    if (its <= 0)
        return its < 0 ? FAILED : DONE;
    if (PyObject_SetAttrString(flow, "wake_at", float_zero) < 0)
        return FAILED;
    return call(py_due, room, flow, now, NULL);
}

/* One number whose time has come; counts says whether that was work. */
static Outcome wake(PyObject *room, PyObject *number, PyObject *at, PyObject *now, bool *counts)
{
    long long identity = integer_of(number);
    *counts = true;
    if (identity < 0) {
        HELD(calls, GET(room, Registrations, _calls));
        HELD(function, PyDict_GetItemWithError(calls, number));
        if (function == NULL) {
            if (!PyErr_Occurred())
                PyErr_SetObject(PyExc_KeyError, number);
            return FAILED;
        }
        return PyDict_DelItem(calls, number) < 0 ? FAILED : call(function, now, NULL, NULL, NULL);
    }
    HELD(flow, PyDict_GetItemWithError(GET(room, Registrations, flows), number));
    if (flow != NULL && !is_sound_flow(flow))
        return wake_unsound(room, flow, at, now, counts);
    if (flow == NULL || number_of(GET(flow, Flow, wake_at)) != number_of(at)) {
        *counts = false;
        return PyErr_Occurred() ? FAILED : DONE;
    }
    SET_SHARED(flow, Flow, wake_at, float_zero);
    HELD(registration, owner_of(room, flow));
    Outcome outcome = registration == NULL ? NOTHING : due(room, registration, flow, now);
    if (outcome == NOTHING)
        outcome = PyErr_Occurred() ? FAILED : call(py_due, room, flow, now, NULL);
    return outcome;
}

/* Timers.pop(): the next number that is due, and its time in at; NULL when there is none. */
static PyObject *pop(PyObject *timers, PyObject *now, PyObject **at)
{
    HELD(times, GET(timers, Timers, _at));
    HELD(ready, GET(timers, Timers, _rest));
    PyObject *rest = ready;
    if (!PyList_GET_SIZE(rest)) {
        if (!PyList_GET_SIZE(times) || number_of(PyList_GET_ITEM(times, 0)) > number_of(now))
            return NULL;
        *at = PyObject_CallOneArg(py_heappop, times);
        PyObject *due = *at == NULL ? NULL : PyDict_GetItemWithError(GET(timers, Timers, _due), *at);
        Py_XINCREF(due);
        if (due == NULL || PyDict_DelItem(GET(timers, Timers, _due), *at) < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_KeyError, "nothing is due at a time of the heap");
            Py_XDECREF(due);
            Py_CLEAR(*at);
            return NULL;
        }
        if (!PyList_CheckExact(due) || !PyList_GET_SIZE(due))
            return due;
        if (PyList_Reverse(due) < 0) {
            Py_DECREF(due);
            Py_CLEAR(*at);
            return NULL;
        }
        SET(timers, Timers, _rest, due);
        SET(timers, Timers, _began, *at);
        rest = due;
    }
    Py_ssize_t last = PyList_GET_SIZE(rest) - 1;
    PyObject *number = Py_NewRef(PyList_GET_ITEM(rest, last));
    *at = Py_NewRef(GET(timers, Timers, _began));
    if (PyList_SetSlice(rest, last, last + 1, NULL) < 0) {
        Py_DECREF(number);
        Py_CLEAR(*at);
        return NULL;
    }
    return number;
}

enum { AHEAD = 16 };

static void fetch(const void *object, size_t size)
{
    for (size_t at = 0; object != NULL && at < size; at += 64)
        __builtin_prefetch((const char *)object + at);
}

/* Those whose turn comes next were not looked at for minutes: what is in no cache is asked for all at once, for many. It
 * changes nothing; a slot is followed one step, and what it points to is only asked for. */
static void fetch_ahead(PyObject *room, PyObject *rest)
{
    PyObject *flows[AHEAD], *owners[AHEAD];
    int found = 0, owned = 0;
    for (Py_ssize_t i = PyList_GET_SIZE(rest) - 1; i >= 0 && found < AHEAD; i--) {
        PyObject *number = PyList_GET_ITEM(rest, i);
        PyObject *flow = PyLong_CheckExact(number) ? PyDict_GetItem(GET(room, Registrations, flows), number) : NULL;
        if (flow == NULL)
            continue;
        fetch(flow, (size_t)Flow_at.type->tp_basicsize);
        flows[found++] = flow;
    }
    for (int i = 0; i < found; i++) {
        PyObject *profile = IS_A(flows[i], Flow) ? GET(flows[i], Flow, profile) : NULL;
        if (profile == NULL || !PyLong_CheckExact(profile))
            continue;
        PyObject *owner = PyDict_GetItem(GET(room, Registrations, by_profile), profile);
        fetch(GET(flows[i], Flow, contact_token), 80);
        fetch(GET(flows[i], Flow, call), 64);
        fetch(GET(flows[i], Flow, known), 64);
        if (owner == NULL)
            continue;
        fetch(owner, (size_t)Registration_at.type->tp_basicsize);
        owners[owned++] = owner;
    }
    for (int i = 0; i < owned; i++)
        if (IS_A(owners[i], Registration))
            fetch(GET(owners[i], Registration, plan), (size_t)KeptPlan_at.type->tp_basicsize);
    for (int i = 0; i < found; i++)
        if (IS_A(flows[i], Flow) && GET(flows[i], Flow, known) != NULL && IS_A(GET(flows[i], Flow, known), Nonce)) {
            PyObject *nonce = GET(flows[i], Flow, known);
            fetch(GET(nonce, Nonce, text), 80);
            fetch(GET(nonce, Nonce, credentials), 64);
        }
    for (int i = 0; i < owned; i++) {
        PyObject *plan = IS_A(owners[i], Registration) ? GET(owners[i], Registration, plan) : NULL;
        if (plan != NULL && IS_A(plan, KeptPlan)) {
            fetch(GET(plan, KeptPlan, aor), 80);
            fetch(GET(plan, KeptPlan, instance_id), 80);
        }
    }
}

/* timer(room, most, now): whether what is due was done, so much of it at most. */
PyObject *quick_timer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 3 || !all_there() || !is_sound_room(args[0]) || !PyLong_CheckExact(args[1]) ||
        !PyFloat_CheckExact(args[2]))
        Py_RETURN_FALSE;
    PyObject *number, *at = NULL;
    long long left = integer_of(args[1]);
    int fetched = 0;
    while (left > 0) {
        if (!is_sound_room(args[0]))
            Py_RETURN_FALSE; /* Python goes on */
        HELD(timers, GET(args[0], Registrations, _timers));
        if ((number = pop(timers, args[2], &at)) == NULL)
            break;
        bool counts;
        if (fetched-- == 0) {
            fetch_ahead(args[0], GET(timers, Timers, _rest));
            fetched = AHEAD;
        }
        Outcome outcome = wake(args[0], number, at, args[2], &counts);
        Py_DECREF(number);
        Py_CLEAR(at);
        if (outcome != DONE)
            return outcome_of(FAILED);
        left -= counts;
    }
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_TRUE;
}
