/* A REGISTER as it is sent: registration/transmit.py, registration/request.py and usual_authorization of sip/digest.py. */
#include "quick.h"

/* What many profiles have in common, by the objects that it was made of. */
enum { REMEMBERED = 64 };
typedef struct {
    PyObject *first, *second, *third, *value;
} Known;

static Known tails[REMEMBERED], usuals[REMEMBERED], places[REMEMBERED];

static Known *known(Known *table, PyObject *first)
{
    return &table[((uintptr_t)first >> 4) % REMEMBERED];
}

/* The entry is whole again before anything of the one before goes: what goes may run Python, which may look here. */
static PyObject *remember(Known *entry, PyObject *first, PyObject *second, PyObject *third, PyObject *value)
{
    Known before = *entry;
    *entry = (Known){Py_NewRef(first), Py_NewRef(second), Py_NewRef(third), Py_NewRef(value)};
    Py_XDECREF(before.first);
    Py_XDECREF(before.second);
    Py_XDECREF(before.third);
    Py_XDECREF(before.value);
    return value;
}

static bool is(const Known *entry, PyObject *first, PyObject *second, PyObject *third)
{
    return entry->value != NULL && entry->first == first && entry->second == second && entry->third == third;
}

/* The lines of a REGISTER from the Contact to the CSeq number. */
static PyObject *tail_of(PyObject *plan, PyObject *common, PyObject *hop, PyObject *user_agent)
{
    PyObject *route = GET(hop, Hop, route);
    Known *entry = known(tails, common);
    if (is(entry, common, route, user_agent))
        return Py_NewRef(entry->value);
    PyObject *value = PyObject_CallFunctionObjArgs(py_tail, plan, hop, user_agent, NULL);
    return value == NULL ? NULL : remember(entry, common, route, user_agent, value);
}

/* What stands behind the token in a Contact that shows this address. */
static PyObject *place_of(PyObject *local)
{
    Known *entry = known(places, local);
    if (is(entry, local, Py_None, Py_None))
        return Py_NewRef(entry->value);
    PyObject *value = PyObject_CallOneArg(py_place, local);
    return value == NULL ? NULL : remember(entry, local, Py_None, Py_None, value);
}

/* What is the same in all digests of these terms, or None; see usual_parts() of sip/digest.py. */
static PyObject *usual_of(PyObject *terms, PyObject *uri)
{
    Known *entry = known(usuals, terms);
    if (is(entry, terms, uri, Py_None))
        return Py_NewRef(entry->value);
    PyObject *value = PyObject_CallFunctionObjArgs(py_usual, terms, uri, NULL);
    return value == NULL ? NULL : remember(entry, terms, uri, Py_None, value);
}

static bool needs_no_quoting(PyObject *text)
{
    if (!is_ascii(text))
        return false;
    const unsigned char *data = PyUnicode_1BYTE_DATA(text);
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(text); i++)
        if (data[i] == '"' || data[i] == '\\' || data[i] == '\r' || data[i] == '\n')
            return false;
    return true;
}

static Outcome add_authorization(Text *text, PyObject *room, PyObject *nonce, long long count, PyObject *uri)
{
    HELD(terms, GET(nonce, Nonce, terms));
    HELD(own, GET(nonce, Nonce, credentials));
    HELD(code, GET(nonce, Nonce, text));
    if (GET(terms, Terms, proxy) != Py_False || count > 0xffffffff)
        return NOTHING;
    PyObject *qops = GET(terms, Terms, qop);
    if (!PyTuple_CheckExact(qops))
        return NOTHING;
    bool qop = PyTuple_GET_SIZE(qops) > 0; /* without: the form of RFC 2069 */
    PyObject *username = GET(own, Credentials, username);
    if (!needs_no_quoting(username) || !needs_no_quoting(code))
        return NOTHING;
    __attribute__((cleanup(let_go))) PyObject *usual = usual_of(terms, uri);
    if (usual == NULL)
        return FAILED;
    if (!PyTuple_CheckExact(usual) || PyTuple_GET_SIZE(usual) != 5 || PyTuple_GET_ITEM(usual, 0) != py_md5)
        return NOTHING;
    if (PyUnicode_GET_LENGTH(GET(room, Registrations, cnonce)) == 0) {
        PyObject *made = PyObject_CallOneArg(py_cnonce_of, room);
        if (made == NULL)
            return FAILED;
        Py_DECREF(made);
    }
    HELD(cnonce, GET(room, Registrations, cnonce));
    Text hashed;
    char first[32], response[32];
    hashed.length = 0;
    hashed.overflown = false;
    add_str(&hashed, username);
    ADD(&hashed, ":");
    add_str(&hashed, GET(terms, Terms, realm));
    ADD(&hashed, ":");
    add_str(&hashed, GET(own, Credentials, password));
    md5_hex(hashed.data, hashed.length, first);
    hashed.length = 0;
    add(&hashed, first, 32);
    ADD(&hashed, ":");
    add_str(&hashed, code);
    ADD(&hashed, ":");
    if (qop) {
        add_hex(&hashed, (uint64_t)count, 8);
        ADD(&hashed, ":");
        add_str(&hashed, cnonce);
        ADD(&hashed, ":auth:");
    }
    add_str(&hashed, PyTuple_GET_ITEM(usual, 1));
    md5_hex(hashed.data, hashed.length, response);
    if (hashed.overflown)
        return NOTHING;
    ADD(text, "Authorization: Digest username=\"");
    add_str(text, username);
    ADD(text, "\"");
    add_str(text, PyTuple_GET_ITEM(usual, 2));
    ADD(text, "\"");
    add_str(text, code);
    ADD(text, "\"");
    add_str(text, PyTuple_GET_ITEM(usual, 3));
    add(text, response, 32);
    ADD(text, "\"");
    if (qop) {
        ADD(text, ", qop=auth, nc=");
        add_hex(text, (uint64_t)count, 8);
        ADD(text, ", cnonce=\"");
        add_str(text, cnonce);
        ADD(text, "\"");
    }
    add_str(text, PyTuple_GET_ITEM(usual, 4));
    ADD(text, "\r\n");
    return text->overflown ? NOTHING : DONE;
}

/* The middle that is there, if it is up to date, else a new one. */
static Outcome add_middle(PyObject *room, PyObject *flow, PyObject *plan, PyObject *hop, PyObject *local, Draft *draft)
{
    Text *text = &draft->text;
    PyObject *common = GET(plan, KeptPlan, common), *settings = GET(room, Registrations, settings);
    HELD(middle, GET(flow, Flow, middle));
    HELD(token, GET(flow, Flow, contact_token));
    HELD(call, GET(flow, Flow, call));
    if (PyBytes_GET_SIZE(middle) && GET(flow, Flow, local) == local && GET(flow, Flow, shown) == local) {
        add_bytes(text, middle);
        return text->overflown ? NOTHING : DONE;
    }
    PyObject *aor = GET(plan, KeptPlan, aor);
    if (PyBytes_GET_SIZE(middle) || !same_text(token, GET(plan, KeptPlan, contact_user)) || !is_ascii(aor) ||
        PyUnicode_GET_LENGTH(aor) < 5 || memcmp(PyUnicode_1BYTE_DATA(aor), "sip:", 4) != 0)
        return NOTHING;
    PyObject *place = draft->place = place_of(local), *had = GET(flow, Flow, place);
    if (place == NULL)
        return FAILED;
    if (!same_text(had, place) && PyUnicode_GET_LENGTH(had) != 0)
        return NOTHING; /* another contact than before */
    if (PyUnicode_GET_LENGTH(had) == 0 && number_of(GET(flow, Flow, lease_end)) > 0)
        return NOTHING;
    __attribute__((cleanup(let_go))) PyObject *tail =
        tail_of(plan, common, hop, GET(settings, RegistrationSettings, user_agent));
    if (tail == NULL)
        return FAILED;
    char call_id[32];
    size_t start = text->length;
    ADD(text, "\r\nMax-Forwards: 70\r\nFrom: <");
    add_str(text, aor);
    ADD(text, ">;tag=");
    if (PyBytes_CheckExact(call) && PyBytes_GET_SIZE(call) == 16) {
        const unsigned char *octets = (const unsigned char *)PyBytes_AS_STRING(call);
        for (int i = 0; i < 16; i++) {
            call_id[2 * i] = "0123456789abcdef"[octets[i] >> 4];
            call_id[2 * i + 1] = "0123456789abcdef"[octets[i] & 15];
        }
    } else {
        return NOTHING;
    }
    add(text, call_id, 12);
    add_hex(text, (uint64_t)integer_of(GET(flow, Flow, id)), 0);
    ADD(text, "\r\nTo: <");
    add_str(text, aor);
    ADD(text, ">\r\nCall-ID: ");
    add(text, call_id, 32);
    ADD(text, "\r\nContact: <sip:");
    add_str(text, token);
    add_str(text, place);
    ADD(text, ">");
    PyObject *instance = GET(plan, KeptPlan, instance_id);
    if (!is_ascii(instance))
        return NOTHING;
    if (PyUnicode_GET_LENGTH(instance)) {
        ADD(text, ";+sip.instance=\"<urn:uuid:");
        add_str(text, instance);
        ADD(text, ">\"");
    }
    if (GET(common, Plan, outbound) != Py_False)
        ADD(text, ";reg-id=1");
    add_str(text, GET(common, Plan, contact_params));
    ADD(text, "\r\n");
    add_bytes(text, tail);
    if (text->overflown)
        return NOTHING;
    draft->middle = PyBytes_FromStringAndSize(text->data + start, (Py_ssize_t)(text->length - start));
    if (draft->middle == NULL)
        return FAILED;
    if (GET(flow, Flow, planned) != plan) {
        draft->carried = sent_as(plan);
        if (draft->carried == NULL)
            return FAILED;
    }
    return DONE;
}

void forget_draft(Draft *draft)
{
    Py_CLEAR(draft->middle);
    Py_CLEAR(draft->place);
    Py_CLEAR(draft->carried);
    Py_CLEAR(draft->nonce);
    Py_CLEAR(draft->plan);
    Py_CLEAR(draft->local);
}

static Outcome write_draft(PyObject *room, PyObject *registration, PyObject *flow, PyObject *transport, PyObject *fresh,
                           Draft *draft)
{
    Text *text = &draft->text;
    if (!is_usual(registration, flow))
        return NOTHING;
    PyObject *plan = draft->plan = Py_NewRef(GET(registration, Registration, plan));
    PyObject *local = draft->local = Py_NewRef(GET(transport, Transport, local));
    PyObject *common = GET(plan, KeptPlan, common), *hops = GET(plan, KeptPlan, hops);
    if (GET(transport, Transport, public) != Py_None || !PyTuple_CheckExact(local))
        return NOTHING;
    PyObject *hop = PyTuple_GET_ITEM(hops, 0), *uri = GET(common, Plan, request_uri);
    if (GET(hop, Hop, strict) != Py_False)
        return NOTHING;
    long long cseq = integer_of(GET(flow, Flow, cseq)) + 1, reserved = integer_of(GET(flow, Flow, cseq_reserved));
    if (cseq > reserved || reserved - cseq == RESERVE_AHEAD)
        return NOTHING; /* numbers are to be reserved */
    PyObject *heads = GET(transport, Transport, heads), *head = NULL;
    if (GET(transport, Transport, heads_show) == local)
        head = PyDict_GetItemWithError(heads, uri);
    if (head == NULL) {
        if (PyErr_Occurred())
            return FAILED;
        PyObject *made = PyObject_CallFunctionObjArgs(py_head, plan, uri, transport, NULL);
        if (made == NULL)
            return FAILED;
        Py_DECREF(made);
        head = PyDict_GetItemWithError(GET(transport, Transport, heads), uri); /* which keeps it */
        if (head == NULL)
            return PyErr_Occurred() ? FAILED : NOTHING;
    }
    add_bytes(text, head);
    draft->branch_at = text->length;
    ADD(text, "z9hG4bK");
    add_hex(text, (uint64_t)integer_of(GET(flow, Flow, id)), 0);
    draft->number_length = text->length - draft->branch_at - 7;
    ADD(text, ".0123456789abcdef");
    Outcome outcome = add_middle(room, flow, plan, hop, local, draft);
    if (outcome != DONE)
        return outcome;
    add_decimal(text, cseq);
    ADD(text, " REGISTER\r\nExpires: ");
    add_decimal(text, integer_of(GET(common, Plan, expires)));
    ADD(text, "\r\n");
    PyObject *nonce = fresh == NULL ? GET(flow, Flow, known) : fresh;
    if (nonce != tuple_empty) {
        if (!is_sound_nonce(nonce))
            return NOTHING;
        draft->nonce = Py_NewRef(nonce);
        long long count = integer_of(GET(nonce, Nonce, count)), limit = integer_of(GET(nonce, Nonce, limit));
        if (limit && count >= limit)
            return NOTHING;
        outcome = add_authorization(text, room, nonce, count + 1, uri);
        if (outcome != DONE)
            return outcome;
    }
    ADD(text, "Content-Length: 0\r\n\r\n");
    if (text->overflown || (long long)text->length > integer_of(GET(transport, Transport, limit)))
        return NOTHING;
    return DONE;
}

Outcome draft_request(PyObject *room, PyObject *registration, PyObject *flow, PyObject *transport, PyObject *fresh,
                      Draft *draft)
{
    draft->text.length = 0;
    draft->text.overflown = false;
    draft->middle = draft->place = draft->carried = draft->nonce = draft->plan = draft->local = NULL;
    PyObject *cnonce = GET(room, Registrations, cnonce);
    bool draws = !is_ascii(cnonce) || PyUnicode_GET_LENGTH(cnonce) == 0;
    Outcome outcome = write_draft(room, registration, flow, transport, fresh, draft);
    if (outcome == DONE && draws)
        outcome = still_sound(room, registration, flow);
    if (outcome != DONE)
        forget_draft(draft);
    return outcome;
}

static PyObject *plus(PyObject *number, long long more) { return PyLong_FromLongLong(integer_of(number) + more); }

/* The number after this one, as one object for all whose CSeq is as high. */
static PyObject *next_cseq(PyObject *cseq)
{
    enum { SHARED = 1024 };
    static struct {
        long long value;
        PyObject *object;
    } table[SHARED];
    long long value = integer_of(cseq) + 1;
    unsigned at = (unsigned long long)value % SHARED;
    if (table[at].object == NULL || table[at].value != value) {
        PyObject *object = PyLong_FromLongLong(value);
        if (object == NULL)
            return NULL;
        put_in(&table[at].object, object);
        table[at].value = value;
    }
    return Py_NewRef(table[at].object);
}

/* now + T1 and now + 64 T1 as objects: many are sent at one time. */
static PyObject *sent_last, *t1_last, *retransmit_last, *ends_last;

static Outcome deadlines(PyObject *now, PyObject *t1)
{
    if (sent_last == now && t1_last == t1)
        return DONE;
    double sent = number_of(now), wait = number_of(t1);
    PyObject *retransmit = PyFloat_FromDouble(sent + wait), *ends = PyFloat_FromDouble(sent + 64 * wait);
    if (retransmit == NULL || ends == NULL) {
        Py_XDECREF(retransmit);
        Py_XDECREF(ends);
        return FAILED;
    }
    put_in(&sent_last, Py_NewRef(now)); /* numbers, whose end runs nothing */
    put_in(&t1_last, Py_NewRef(t1));
    put_in(&retransmit_last, retransmit);
    put_in(&ends_last, ends);
    return DONE;
}

Outcome send_draft(PyObject *room, PyObject *registration, PyObject *flow, PyObject *transport, PyObject *now,
                   Draft *draft)
{
    Text *text = &draft->text;
    HELD(settings, GET(room, Registrations, settings));
    HELD(key, GET(transport, Transport, key));
    HELD(identity, GET(flow, Flow, id));
    PyObject *bits = PyObject_CallMethod(GET(room, Registrations, random), "getrandbits", "i", 64);
    unsigned long long random = bits == NULL ? 0 : PyLong_AsUnsignedLongLong(bits);
    Py_XDECREF(bits);
    if (PyErr_Occurred() || still_sound(room, registration, flow) != DONE)
        return FAILED;
    size_t branch_length = 7 + 1 + 16;
    branch_length += draft->number_length;
    for (size_t i = 0; i < 16; i++, random >>= 4)
        text->data[draft->branch_at + branch_length - 1 - i] = "0123456789abcdef"[random & 15];
    PyObject *branch = PyUnicode_DecodeASCII(text->data + draft->branch_at, (Py_ssize_t)branch_length, NULL);
    PyObject *outstanding = PyBytes_FromStringAndSize(text->data, (Py_ssize_t)text->length);
    PyObject *cseq = next_cseq(GET(flow, Flow, cseq)), *sent = plus(GET(room, Registrations, register_sent), 1);
    PyObject *count = draft->nonce == NULL ? Py_NewRef(Py_None) : plus(GET(draft->nonce, Nonce, count), 1);
    PyObject *arguments[] = {key, outstanding};
    PyObject *send = outstanding == NULL ? NULL : PyObject_Vectorcall(py_Send, arguments, 2, NULL);
    if (branch == NULL || cseq == NULL || sent == NULL || count == NULL || send == NULL ||
        deadlines(now, GET(settings, RegistrationSettings, t1)) != DONE) {
        Py_XDECREF(branch);
        Py_XDECREF(outstanding);
        Py_XDECREF(cseq);
        Py_XDECREF(sent);
        Py_XDECREF(count);
        Py_XDECREF(send);
        return FAILED;
    }
    SET(flow, Flow, cseq, cseq);
    if (draft->middle != NULL) {
        SET_SHARED(flow, Flow, middle, draft->middle);
        SET_SHARED(flow, Flow, place, draft->place);
        SET_SHARED(flow, Flow, local, draft->local);
        SET_SHARED(flow, Flow, shown, draft->local);
        if (draft->carried != NULL) {
            SET_SHARED(flow, Flow, planned, draft->plan);
            SET_SHARED(flow, Flow, carried, draft->carried);
        }
    }
    if (draft->nonce != NULL)
        SET(draft->nonce, Nonce, count, count);
    else
        Py_DECREF(count);
    SET(flow, Flow, branch, branch);
    SET(flow, Flow, outstanding, outstanding);
    SET_SHARED(flow, Flow, phase, small[SENT]);
    SET_SHARED(flow, Flow, sent_at, now);
    SET_SHARED(flow, Flow, interval, GET(settings, RegistrationSettings, t1));
    SET_SHARED(flow, Flow, retransmitted, Py_False);
    SET_SHARED(flow, Flow, ends_at, ends_last);
    SET_SHARED(flow, Flow, retransmit_at, retransmit_last);
    HELD(at, retransmit_last);
    HELD(waiting, GET(transport, Transport, waiting));
    HELD(active, GET(transport, Transport, active));
    SET(room, Registrations, register_sent, sent);
    PyObject *done = NULL;
    if (!PySet_CheckExact(waiting) || !PySet_CheckExact(active))
        PyErr_SetString(PyExc_TypeError, "a transport's flows are no set");
    else if (PySet_Discard(waiting, identity) >= 0 && (PySet_GET_SIZE(waiting) || PySet_Clear(waiting) == 0) &&
        PySet_Add(active, identity) == 0)
        done = PyObject_CallOneArg(GET(room, Registrations, act), send);
    Py_DECREF(send);
    if (done == NULL)
        return FAILED;
    Py_DECREF(done);
    return arm(room, flow, at);
}

Outcome transmit(PyObject *room, PyObject *registration, PyObject *flow, PyObject *now)
{
    PyObject *transport = PyDict_GetItemWithError(GET(room, Registrations, transports), GET(flow, Flow, key));
    if (transport == NULL || !is_sound_transport(transport))
        return PyErr_Occurred() ? FAILED : NOTHING;
    Draft draft;
    Py_INCREF(transport);
    Outcome outcome = draft_request(room, registration, flow, transport, NULL, &draft);
    if (outcome == DONE) {
        outcome = send_draft(room, registration, flow, transport, now, &draft);
        forget_draft(&draft);
    }
    Py_DECREF(transport);
    return outcome;
}

/* transmit(room, registration, flow, now): whether it was sent. */
PyObject *quick_transmit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 4 || !all_there() || !is_sound_room(args[0]) || !is_sound_registration(args[1]) ||
        !is_sound_flow(args[2]) || !PyFloat_CheckExact(args[3]))
        Py_RETURN_FALSE;
    return outcome_of(transmit(args[0], args[1], args[2], args[3]));
}
