"""Documents of type application/reginfo+xml: what a registrar tells about the bindings of an AOR (RFC 3680 §5)."""

from __future__ import annotations

import re
from typing import Any, Literal
from xml.parsers import expat

import msgspec

from sipprofile.sip.headers import MAXIMUM_CSEQ, MAXIMUM_DELTA_SECONDS
from sipprofile.sip.syntax import decimal, excerpt, unquote

NAMESPACE = "urn:ietf:params:xml:ns:reginfo"  # RFC 3680 §9.3
MAXIMUM_REGINFO = 65536  # bytes; more fits into no message
MAXIMUM_DEPTH = 16  # elements inside each other; the schema has 4, extensions need one or two more
MAXIMUM_ELEMENTS = 2000

DocumentState = Literal["full", "partial"]
RegistrationElementState = Literal["init", "active", "terminated"]
ContactState = Literal["active", "terminated"]
ContactEvent = Literal[
    "registered",
    "created",
    "refreshed",
    "shortened",
    "expired",
    "deactivated",
    "probation",
    "unregistered",
    "rejected",
]

_MAXIMUM_VERSION = 2**32 - 1  # RFC 3680 §5.2.1 wants 32 bits at least
_REGISTRATION: list[str | None] = ["reginfo", "registration"]
_CONTACT: list[str | None] = [*_REGISTRATION, "contact"]
_qvalue = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?").fullmatch  # RFC 3261 §25.1


class MalformedReginfo(ValueError):
    """Bytes that are no usable registration information.

    `code` is stable: reginfo_too_large, reginfo_too_deep, reginfo_too_many_elements, reginfo_dtd,
    reginfo_instruction, reginfo_malformed (no XML, or not UTF-8), reginfo_namespace (XML of something else),
    reginfo_invalid (a required part is missing or has no meaning).
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class ContactElement(msgspec.Struct, frozen=True, gc=False):
    """One binding, or the end of one (RFC 3680 §5.2.3). Times are seconds; None is what was not told."""

    id: str
    state: ContactState
    event: ContactEvent
    uri: str
    """As written, without the white space around it; whether it is a SIP URI is for `Uri.parse` to say."""
    expires: int | None = None
    retry_after: int | None = None
    """When to try again; of event "probation" only."""
    duration: int | None = None
    """duration-registered: how long the binding has existed."""
    callid: str | None = None
    cseq: int | None = None
    q: float | None = None
    display_name: str | None = None
    unknown_params: dict[str, str] = {}
    """The parameters of the Contact header such as +sip.instance and reg-id, names in lower case, values unquoted."""


class RegistrationElement(msgspec.Struct, frozen=True, gc=False):
    """One address-of-record (RFC 3680 §5.2.2)."""

    aor: str
    id: str
    state: RegistrationElementState
    contacts: tuple[ContactElement, ...]


class RegistrationInformation(msgspec.Struct, frozen=True, gc=False):
    """A document. `version` grows by one from each to the next; "partial" tells changes only (RFC 3680 §5.2.1)."""

    version: int
    state: DocumentState
    registrations: tuple[RegistrationElement, ...]


def parse_reginfo(data: bytes) -> RegistrationInformation:
    """Read a registration information document (RFC 3680 §5).

    Elements and attributes of other namespaces are passed over, among them the GRUUs of RFC 5628. An optional
    attribute that cannot be read counts as absent; a document that lacks a required one is refused as a whole.
    Raises MalformedReginfo.
    """
    if len(data) > MAXIMUM_REGINFO:
        raise MalformedReginfo("reginfo_too_large", f"the document is longer than {MAXIMUM_REGINFO} bytes")
    _check_octets(data)
    reader = _Reader()
    # Expat's own reading of namespaces would write a long name out for each element: more than linear.
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.ProcessingInstructionHandler = reader.instruction
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise MalformedReginfo("reginfo_malformed", f"the document is not well-formed XML: {error}") from None
    return reader.information()


def _check_octets(data: bytes) -> None:
    """Refuse what must not reach the XML parser at all.

    An exception from a handler does not stop expat, it would go on to expand entities. So a document type is
    looked for in the bytes, which are UTF-8 as RFC 3680 §5 demands: with UTF-16 it could hide.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedReginfo("reginfo_malformed", f"the document is not UTF-8: {error.reason}") from None
    if "\0" in text:
        raise MalformedReginfo("reginfo_malformed", "the document contains a NUL; it must be XML in UTF-8")
    if "<!DOCTYPE" in text:
        raise MalformedReginfo("reginfo_dtd", "the document has a document type declaration; none is accepted")


class _Reader:
    """Takes the events of the XML parser and keeps what RFC 3680 names."""

    __slots__ = ("_attributes", "_contacts", "_elements", "_path", "_registrations", "_scopes", "_text", "_texts")

    def __init__(self) -> None:
        self._path: list[str | None] = []  # the open elements; None for one that is passed over
        self._scopes: list[dict[str, str]] = []  # the namespace of each prefix that an open element declares
        self._attributes: list[dict[str, str]] = []  # of the open elements
        self._elements = 0
        self._registrations: list[RegistrationElement] = []
        self._contacts: list[ContactElement] = []
        self._text: list[str] = []  # of the open child of a contact, in pieces
        self._texts: dict[str, str] = {}  # of the children of the open contact; those of parameters begin with ";"

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAXIMUM_ELEMENTS:
            raise MalformedReginfo(
                "reginfo_too_many_elements", f"the document has more than {MAXIMUM_ELEMENTS} elements"
            )
        if len(self._path) == MAXIMUM_DEPTH:
            raise MalformedReginfo(
                "reginfo_too_deep", f"elements are inside each other more than {MAXIMUM_DEPTH} times"
            )
        self._scopes.append({key[6:]: uri for key, uri in attributes.items() if key == "xmlns" or key[:6] == "xmlns:"})
        self._attributes.append(attributes)
        local = self._local_name(name)
        if not self._path and local != "reginfo":
            raise MalformedReginfo(
                "reginfo_namespace", f"the document begins with {excerpt(name)}, not with reginfo of {NAMESPACE}"
            )
        path = self._path
        path.append(local)
        if path == _REGISTRATION:
            self._contacts = []
        elif path == _CONTACT:
            self._texts = {}
        elif path[:-1] == _CONTACT:
            self._text = []

    def end(self, _name: str) -> None:
        path, attributes = self._path, self._attributes[-1]
        if path[:-1] == _CONTACT and (name := path[-1]) is not None:
            if name == "unknown-param":
                name = ";" + attributes.get("name", "").strip().lower()
            self._texts.setdefault(name, "".join(self._text).strip())
        elif path == _CONTACT:
            self._contacts.append(self._contact(attributes))
        elif path == _REGISTRATION:
            self._registrations.append(
                RegistrationElement(
                    _required(attributes, "registration", "aor"),
                    _required(attributes, "registration", "id"),
                    _one_of(RegistrationElementState, attributes, "registration", "state"),
                    tuple(self._contacts),
                )
            )
        if len(path) > 1:  # those of the root are asked for at last
            self._attributes.pop()
        path.pop()
        self._scopes.pop()

    def text(self, data: str) -> None:
        if self._path[:-1] == _CONTACT:
            self._text.append(data)

    def instruction(self, target: str, _data: str) -> None:
        raise MalformedReginfo(
            "reginfo_instruction", f"the document has the processing instruction {excerpt(target)}; none is accepted"
        )

    def information(self) -> RegistrationInformation:
        (attributes,) = self._attributes
        version = decimal(attributes.get("version", "").strip(), _MAXIMUM_VERSION + 1)
        if version is None or version > _MAXIMUM_VERSION:
            raise _invalid("reginfo", "version", attributes.get("version"))
        state = _one_of(DocumentState, attributes, "reginfo", "state")
        return RegistrationInformation(version, state, tuple(self._registrations))

    def _local_name(self, name: str) -> str | None:
        """The name without its prefix when it is of RFC 3680's namespace, else None."""
        prefix, _, local = name.rpartition(":")
        for scope in reversed(self._scopes):
            if prefix in scope:
                return local if scope[prefix] == NAMESPACE else None
        return None

    def _contact(self, attributes: dict[str, str]) -> ContactElement:
        texts = self._texts
        if not texts.get("uri"):
            raise MalformedReginfo("reginfo_invalid", "a contact element has no uri")
        q = attributes.get("q", "").strip()
        return ContactElement(
            _required(attributes, "contact", "id"),
            _one_of(ContactState, attributes, "contact", "state"),
            _one_of(ContactEvent, attributes, "contact", "event"),
            texts["uri"],
            _number(attributes, "expires", MAXIMUM_DELTA_SECONDS),
            _number(attributes, "retry-after", MAXIMUM_DELTA_SECONDS),
            _number(attributes, "duration-registered", MAXIMUM_DELTA_SECONDS),
            attributes.get("callid"),
            _number(attributes, "cseq", MAXIMUM_CSEQ),
            float(q) if _qvalue(q) else None,
            texts.get("display-name") or None,
            {name[1:]: unquote(text) for name, text in texts.items() if name[:1] == ";" and len(name) > 1},
        )


def _required(attributes: dict[str, str], element: str, name: str) -> str:
    value = attributes.get(name, "").strip()
    if not value:
        raise _invalid(element, name, None)
    return value


def _one_of(words: Any, attributes: dict[str, str], element: str, name: str) -> Any:
    value = _required(attributes, element, name)
    try:
        return msgspec.convert(value, words)
    except msgspec.ValidationError:
        raise _invalid(element, name, value) from None


def _number(attributes: dict[str, str], name: str, maximum: int) -> int | None:
    """The value of an optional attribute, at most `maximum`; None when it is absent or no number."""
    return decimal(attributes.get(name, "").strip(), maximum)


def _invalid(element: str, name: str, value: str | None) -> MalformedReginfo:
    if value is None:
        return MalformedReginfo("reginfo_invalid", f"the {name} of a {element} element is missing")
    return MalformedReginfo("reginfo_invalid", f"the {name} of a {element} element cannot be {excerpt(value)}")
