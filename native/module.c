/* The module sipprofile._native: what of Python it works on is given to bind(). */
#include "quick.h"
#include <structmember.h>

#define DEFINE_CLASS(Class, SLOTS) struct Class##_layout Class##_at;
CLASSES(DEFINE_CLASS)
#define DEFINE_OBJECT(name) PyObject *py_##name;
OBJECTS(DEFINE_OBJECT)
#define DEFINE_LIMIT(name) long long name;
LIMITS(DEFINE_LIMIT)
#define DEFINE_SECONDS(name) double name;
SECONDS(DEFINE_SECONDS)

PyObject *text_registered, *text_registering, *text_unregistered, *text_status, *text_state, *text_udp, *text_empty;
PyObject *bytes_empty, *tuple_empty, *float_zero, *small[16];
static bool bound;

bool all_there(void) { return bound; }

/* Where the class has the slot; -1 with an exception when it has none. */
static Py_ssize_t slot_of(PyObject *type, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString(type, name);
    Py_ssize_t offset = -1;
    if (descriptor == NULL)
        return -1;
    if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
        PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
        bool is_own = PyType_IsSubtype((PyTypeObject *)type, PyDescr_TYPE(descriptor)); /* not lent by another class */
        if (is_own && (member->type == T_OBJECT_EX || member->type == T_OBJECT))
            offset = member->offset;
    }
    Py_DECREF(descriptor);
    if (offset < 0)
        PyErr_Format(PyExc_TypeError, "%R has no slot %s", type, name);
    return offset;
}

static PyObject *object_of(PyObject *given, const char *name)
{
    PyObject *value = PyDict_GetItemString(given, name);
    if (value == NULL)
        PyErr_Format(PyExc_KeyError, "%s is not given", name);
    return value;
}

static bool number_given(PyObject *given, const char *name, double *number)
{
    PyObject *value = object_of(given, name);
    if (value == NULL)
        return false;
    *number = PyFloat_AsDouble(value);
    return !PyErr_Occurred();
}

static PyObject *class_of(PyObject *given, const char *name)
{
    PyObject *value = object_of(given, name);
    if (value != NULL && !PyType_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s is no class", name);
        value = NULL;
    }
    return value;
}

#define FIND_SLOT(slot)                                                                                                \
    if ((layout->slot = slot_of(type, #slot)) < 0)                                                                     \
        return -1;
#define FIND_CLASS(Class, SLOTS)                                                                                       \
    {                                                                                                                  \
        PyObject *type = class_of(given, #Class);                                                                      \
        struct Class##_layout *layout = &Class##_at;                                                                   \
        if (type == NULL)                                                                                              \
            return -1;                                                                                                 \
        SLOTS(FIND_SLOT)                                                                                               \
        put_in((PyObject **)&layout->type, Py_NewRef(type));                                                           \
    }
#define FIND_OBJECT(name)                                                                                              \
    {                                                                                                                  \
        PyObject *value = object_of(given, #name);                                                                     \
        if (value == NULL)                                                                                             \
            return -1;                                                                                                 \
        put_in(&py_##name, Py_NewRef(value));                                                                          \
    }
#define FIND_LIMIT(name)                                                                                               \
    if (!number_given(given, #name, &number))                                                                          \
        return -1;                                                                                                     \
    name = (long long)number;
#define FIND_SECONDS(name)                                                                                             \
    if (!number_given(given, #name, &name))                                                                            \
        return -1;
#define SEE_COUNTED(name, expected)                                                                                    \
    if (!number_given(given, #name, &number))                                                                          \
        return -1;                                                                                                     \
    if (number != expected) {                                                                                          \
        PyErr_SetString(PyExc_ValueError, #name " has another number than here");                                      \
        return -1;                                                                                                     \
    }

int bind_objects(PyObject *given)
{
    double number;
    bound = false;
    CLASSES(FIND_CLASS)
    OBJECTS(FIND_OBJECT)
    COUNTED(SEE_COUNTED)
    LIMITS(FIND_LIMIT)
    SECONDS(FIND_SECONDS)
    bound = true;
    return 0;
}

PyObject *outcome_of(Outcome outcome)
{
    if (outcome == FAILED && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "the quick path failed and does not say why");
    return PyErr_Occurred() ? NULL : PyBool_FromLong(outcome == DONE);
}

static PyObject *quick_bind(PyObject *self, PyObject *given)
{
    (void)self;
    if (!PyDict_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "bind() takes a dict");
        return NULL;
    }
    if (bind_objects(given) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *quick_md5(PyObject *self, PyObject *data)
{
    (void)self;
    char hex[32];
    if (!PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "md5() takes bytes");
        return NULL;
    }
    md5_hex(PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), hex);
    return PyUnicode_DecodeASCII(hex, 32, NULL);
}

/* matches(form, data): what varies, by name; None when the data has another form. For tests. */
static PyObject *quick_matches(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    Found found;
    if (count != 2 || !Py_IS_TYPE(args[0], &QuickFormType) || !PyBytes_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "matches() takes a form and bytes");
        return NULL;
    }
    if (!quick_form_matches(args[0], PyBytes_AS_STRING(args[1]), (size_t)PyBytes_GET_SIZE(args[1]), &found))
        Py_RETURN_NONE;
    return Py_BuildValue("{sy#sy#sy#sy#sy#sy#sy#}", "flow", found.number, (Py_ssize_t)found.number_length, "random",
                         found.random, (Py_ssize_t)found.random_length, "cseq", found.cseq,
                         (Py_ssize_t)found.cseq_length, "nonce", found.nonce, (Py_ssize_t)found.nonce_length, "opaque",
                         found.opaque, (Py_ssize_t)found.opaque_length, "contact", found.contact,
                         (Py_ssize_t)found.contact_length, "expires", found.expires, (Py_ssize_t)found.expires_length);
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL
static PyMethodDef methods[] = {
    {"bind", quick_bind, METH_O, "bind(given): the classes and functions that it works with."},
    {"form", quick_form, METH_O, "form(parts): the form of an answer; a part is bytes, or the number of a kind."},
    {"matches", FAST(quick_matches), "matches(form, data): what varies, or None."},
    {"md5", quick_md5, METH_O, "md5(data): its MD5 in hexadecimal form."},
    {"transmit", FAST(quick_transmit), "transmit(room, registration, flow, now): whether it was sent."},
    {"begin", FAST(quick_begin), "begin(room, registration, flow, now, kind): whether the attempt is under way."},
    {"answered", FAST(quick_answered), "answered(room, data, source, now): whether it was dealt with."},
    {"draw", FAST(quick_draw), "draw(room, pacer, now): whether the tokens that are there were handed out."},
    {"load", FAST(quick_load), "load(forms, room, record, agent, now): whether the stored profile was taken."},
    {"timer", FAST(quick_timer), "timer(room, most, now): whether what is due was done, so much of it at most."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sipprofile._native",
    .m_doc = "The quick path of the core; see registration/native.py.",
    .m_size = -1,
    .m_methods = methods,
};

#ifndef SIPPROFILE_VERSION
#define SIPPROFILE_VERSION "unknown"
#endif

PyMODINIT_FUNC PyInit__native(void)
{
    for (int i = 0; i < 16; i++)
        if ((small[i] = PyLong_FromLong(i)) == NULL)
            return NULL;
    text_registered = PyUnicode_InternFromString("registered");
    text_registering = PyUnicode_InternFromString("registering");
    text_unregistered = PyUnicode_InternFromString("unregistered");
    text_status = PyUnicode_InternFromString("status");
    text_state = PyUnicode_InternFromString("state");
    text_udp = PyUnicode_InternFromString("udp");
    text_empty = PyUnicode_FromString("");
    bytes_empty = PyBytes_FromStringAndSize("", 0);
    tuple_empty = PyTuple_New(0);
    float_zero = PyFloat_FromDouble(0.0);
    if (!text_registered || !text_registering || !text_unregistered || !text_status || !text_state || !text_udp || !text_empty ||
        !bytes_empty || !tuple_empty || !float_zero || PyType_Ready(&QuickFormType) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && (PyModule_AddStringConstant(module, "VERSION", SIPPROFILE_VERSION) < 0 ||
                           PyModule_AddObjectRef(module, "QuickForm", (PyObject *)&QuickFormType) < 0))
        Py_CLEAR(module);
    return module;
}
