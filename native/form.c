/* The form of an answer: what is the same in each, and the kinds of what is not (registration/plain.py). */
#include "quick.h"

enum { LITERAL, KINDS = INSTANCE + 1 };
enum { LONGEST_LINE = 300, LONGEST_QUOTED = 256, MOST_PARTS = 4096 }; /* an answer of 1,500 bytes has fewer */

typedef struct {
    int kind;
    PyObject *literal; /* bytes; NULL unless LITERAL */
} Part;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count;
    Part *parts;
} QuickForm;

/* The bytes that each kind may consist of, and those that end it are others. */
static bool is_hex(unsigned char octet) { return (octet >= '0' && octet <= '9') || (octet >= 'a' && octet <= 'f'); }
static bool is_digit(unsigned char octet) { return octet >= '0' && octet <= '9'; }
static bool is_quoted(unsigned char octet) { return octet >= '!' && octet <= '~' && octet != '"' && octet != '\\'; }
static bool is_contact(unsigned char octet) { return octet >= '!' && octet <= '~' && octet != '"' && octet != '<' && octet != '>'; }

static size_t span(const char *data, size_t length, size_t most, bool (*belongs)(unsigned char))
{
    size_t at = 0;
    if (most > length)
        most = length;
    while (at < most && belongs((unsigned char)data[at]))
        at++;
    return at;
}

static size_t line(const char *data, size_t length)
{
    size_t most = length < LONGEST_LINE + 1 ? length : LONGEST_LINE + 1;
    const char *end = memchr(data, '\r', most);
    size_t found = end == NULL ? most : (size_t)(end - data);
    /* A line feed alone ends no line here, and makes it another form. */
    return found > LONGEST_LINE || memchr(data, '\n', found) != NULL ? SIZE_MAX : found;
}

bool quick_form_matches(PyObject *object, const char *data, size_t length, Found *found)
{
    QuickForm *form = (QuickForm *)object;
    size_t at = 0, taken;
    memset(found, 0, sizeof *found);
    for (Py_ssize_t i = 0; i < form->count; i++) {
        const char *here = data + at;
        size_t left = length - at;
        switch (form->parts[i].kind) {
        case LITERAL:
            taken = (size_t)PyBytes_GET_SIZE(form->parts[i].literal);
            if (taken > left || memcmp(here, PyBytes_AS_STRING(form->parts[i].literal), taken) != 0)
                return false;
            break;
        case ANYTHING:
            taken = line(here, left);
            if (taken == SIZE_MAX)
                return false;
            break;
        case BRANCH:
            if (left < 7 || memcmp(here, "z9hG4bK", 7) != 0)
                return false;
            found->number = here + 7;
            found->number_length = span(here + 7, left - 7, 12, is_hex);
            taken = 7 + found->number_length;
            if (!found->number_length || taken == left || here[taken] != '.')
                return false;
            found->random = here + taken + 1;
            found->random_length = span(here + taken + 1, left - taken - 1, 16, is_hex);
            taken += 17;
            if (found->random_length != 16)
                return false;
            found->branch = here;
            found->branch_length = taken;
            break;
        case CSEQ:
            found->cseq = here;
            taken = found->cseq_length = span(here, left, 9, is_digit);
            if (!taken)
                return false;
            break;
        case NONCE_TEXT:
            found->nonce = here;
            taken = found->nonce_length = span(here, left, LONGEST_QUOTED, is_quoted);
            if (!taken)
                return false;
            break;
        case OPAQUE:
            found->opaque = here;
            found->has_opaque = true;
            taken = found->opaque_length = span(here, left, LONGEST_QUOTED, is_quoted);
            if (!taken)
                return false;
            break;
        case CONTACT:
            found->contact = here;
            taken = found->contact_length = span(here, left, left, is_contact);
            break;
        case EXPIRES:
            found->expires = here;
            taken = found->expires_length = span(here, left, 9, is_digit);
            if (!taken)
                return false;
            break;
        default: /* INSTANCE */
            taken = 36;
            if (left < 36)
                return false;
            for (size_t j = 0; j < 36; j++)
                if (!is_hex((unsigned char)here[j]) && here[j] != '-')
                    return false;
        }
        at += taken;
    }
    return at == length;
}

static void form_dealloc(PyObject *self)
{
    QuickForm *form = (QuickForm *)self;
    for (Py_ssize_t i = 0; i < form->count; i++)
        Py_XDECREF(form->parts[i].literal);
    PyMem_Free(form->parts);
    Py_TYPE(self)->tp_free(self);
}

PyTypeObject QuickFormType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sipprofile._native.QuickForm",
    .tp_basicsize = sizeof(QuickForm),
    .tp_dealloc = form_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "The form of an answer, as registration/plain.py learns it.",
};

/* form(parts): each part is bytes, or the number of a kind. */
PyObject *quick_form(PyObject *self, PyObject *given)
{
    (void)self;
    PyObject *parts = PySequence_Tuple(given);
    if (parts == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(parts);
    QuickForm *form = count > MOST_PARTS ? NULL : (QuickForm *)PyType_GenericAlloc(&QuickFormType, 0);
    if (form == NULL) {
        Py_DECREF(parts);
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "too many parts");
        return NULL;
    }
    form->count = 0;
    form->parts = PyMem_New(Part, (size_t)(count ? count : 1));
    if (form->parts == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *part = PyTuple_GET_ITEM(parts, i);
        if (PyBytes_CheckExact(part)) {
            form->parts[form->count++] = (Part){LITERAL, Py_NewRef(part)};
            continue;
        }
        long kind = PyLong_AsLong(part);
        if (kind <= LITERAL || kind >= KINDS) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "no part is of the kind %ld", kind);
            goto failed;
        }
        form->parts[form->count++] = (Part){(int)kind, NULL};
    }
    Py_DECREF(parts);
    return (PyObject *)form;
failed:
    Py_DECREF(parts);
    Py_DECREF(form);
    return NULL;
}
