/* The checksums of settings that are stored with a lease: registration/changes.py. */
#include "quick.h"

static uint32_t crc32_of(uint32_t crc, const char *data, size_t length) /* as of zlib; begin with 0 */
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? 0xedb88320 ^ value >> 1 : value >> 1;
            table[i] = value;
        }
    crc = ~crc;
    while (length--)
        crc = table[(crc ^ (unsigned char)*data++) & 255] ^ crc >> 8;
    return ~crc;
}

static bool add_json(Text *text, PyObject *value)
{
    if (!is_ascii(value))
        return false;
    const unsigned char *data = PyUnicode_1BYTE_DATA(value);
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(value); i++)
        if (data[i] < ' ' || data[i] > '~' || data[i] == '"' || data[i] == '\\')
            return false;
    ADD(text, "\"");
    add_str(text, value);
    ADD(text, "\"");
    return !text->overflown;
}

static PyObject *checksum(uint32_t crc) { return PyLong_FromUnsignedLong(crc ? crc : 1); }

PyObject *bound_as(PyObject *plan)
{
    PyObject *common = GET(plan, KeptPlan, common);
    PyObject *values[] = {GET(plan, KeptPlan, aor), GET(common, Plan, request_uri), GET(common, Plan, registrar),
                          GET(plan, KeptPlan, instance_id)};
    Text text;
    text.length = 0;
    text.overflown = false;
    for (int i = 0; i < 4; i++) {
        add(&text, i ? "," : "[", 1);
        if (!add_json(&text, values[i]))
            return PyObject_CallOneArg(py_bound_as, plan);
    }
    ADD(&text, "]");
    return checksum(crc32_of(0, text.data, text.length));
}

/* What follows the contact's user part is the same for many. */
PyObject *sent_as(PyObject *plan)
{
    static PyObject *last_common, *last_hop, *last_rest;
    PyObject *common = GET(plan, KeptPlan, common), *hops = GET(plan, KeptPlan, hops);
    __attribute__((cleanup(let_go))) PyObject *its = NULL;
    Text text;
    text.length = 0;
    text.overflown = false;
    ADD(&text, "[");
    if (PyTuple_GET_SIZE(hops) != 1 || !add_json(&text, GET(plan, KeptPlan, contact_user)))
        return PyObject_CallOneArg(py_sent_as, plan);
    if (last_common != common || last_hop != PyTuple_GET_ITEM(hops, 0)) {
        PyObject *rest = PyObject_CallOneArg(py_carried_rest, plan);
        if (rest == NULL)
            return NULL;
        PyObject *before[] = {last_common, last_hop, last_rest}; /* whose end may run Python, which may come here */
        last_common = Py_NewRef(common);
        last_hop = Py_NewRef(PyTuple_GET_ITEM(hops, 0));
        last_rest = Py_NewRef(rest);
        for (int i = 0; i < 3; i++)
            Py_XDECREF(before[i]);
        its = rest;
    } else
        its = Py_NewRef(last_rest);
    if (!PyBytes_CheckExact(its))
        return PyObject_CallOneArg(py_sent_as, plan);
    uint32_t crc = crc32_of(0, text.data, text.length - 1); /* the rest begins with the quotation mark */
    return checksum(crc32_of(crc, PyBytes_AS_STRING(its), (size_t)PyBytes_GET_SIZE(its)));
}
