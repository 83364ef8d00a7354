"""Registration information documents: RFC 3680 §5, with the extension of RFC 5628."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import get_args
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipprofile.sip.reginfo import (
    MAXIMUM_DEPTH,
    MAXIMUM_ELEMENTS,
    MAXIMUM_REGINFO,
    NAMESPACE,
    ContactElement,
    ContactEvent,
    MalformedReginfo,
    RegistrationElement,
    RegistrationInformation,
    parse_reginfo,
)

# Two bindings in the form of RFC 3680 §5.4 and RFC 5628 §5: prefixes, another namespace, comments, CDATA.
DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<!-- changes only -->
<r:reginfo xmlns:r="urn:ietf:params:xml:ns:reginfo" xmlns="urn:ietf:params:xml:ns:gruuinfo"
    version="17" state="partial">
  <r:registration aor="sip:alice@example.com" id="a7" state="active">
    <r:contact id="76" state="active" event="shortened" duration-registered="7322" q="0.8" expires="60"
        callid="1j9FpLxk3uxtm8tn@192.0.2.1" cseq="44" extension="x">
      <r:uri> sip:alice@192.0.2.1;transport=tcp?a=b&amp;c=d </r:uri>
      <r:display-name xml:lang="en">Alice &lt;<![CDATA[<&>]]></r:display-name>
      <r:unknown-param name="+SIP.instance">"&lt;urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF&gt;"</r:unknown-param>
      <r:unknown-param name="reg-id">1</r:unknown-param>
      <r:unknown-param name="audio"/>
      <pub-gruu uri="sip:alice@example.com;gr=1"><r:uri>sip:mallory@example.com</r:uri></pub-gruu>
      <temp-gruu uri="sip:t1@example.com;gr" first-cseq="54301"/>
    </r:contact>
    <r:contact id="77" state="terminated" event="probation" retry-after="30">
      <r:uri>sip:alice@192.0.2.2</r:uri>
    </r:contact>
    <r:other/>
  </r:registration>
  <r:registration aor="sip:bob@example.com" id="a8" state="init"/>
</r:reginfo>
"""


def document(inside: str = "", attributes: str = 'version="0" state="full"') -> bytes:
    return f'<reginfo xmlns="{NAMESPACE}" {attributes}>{inside}</reginfo>'.encode()


def contact(attributes: str = 'id="1" state="active" event="registered"', inside: str = "<uri>sip:a@b</uri>") -> bytes:
    return document(
        f'<registration aor="sip:a@b" id="r" state="active"><contact {attributes}>{inside}</contact></registration>'
    )


def the_contact(data: bytes) -> ContactElement:
    ((found,),) = [registration.contacts for registration in parse_reginfo(data).registrations]
    return found


def assert_refused(code: str, data: bytes, sentence: str | None = None) -> None:
    with pytest.raises(MalformedReginfo, match=sentence) as caught:
        parse_reginfo(data)
    assert caught.value.code == code


class TestDocuments:
    """RFC 3680 §5.2: the elements and their attributes."""

    def test_everything_a_document_can_say(self) -> None:
        assert parse_reginfo(DOCUMENT) == RegistrationInformation(
            17,
            "partial",
            (
                RegistrationElement(
                    "sip:alice@example.com",
                    "a7",
                    "active",
                    (
                        ContactElement(
                            id="76",
                            state="active",
                            event="shortened",
                            uri="sip:alice@192.0.2.1;transport=tcp?a=b&c=d",
                            expires=60,
                            duration=7322,
                            callid="1j9FpLxk3uxtm8tn@192.0.2.1",
                            cseq=44,
                            q=0.8,
                            display_name="Alice <<&>",
                            unknown_params={
                                "+sip.instance": "<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>",
                                "reg-id": "1",
                                "audio": "",
                            },
                        ),
                        ContactElement(
                            id="77", state="terminated", event="probation", uri="sip:alice@192.0.2.2", retry_after=30
                        ),
                    ),
                ),
                RegistrationElement("sip:bob@example.com", "a8", "init", ()),
            ),
        )

    def test_no_registration_at_all(self) -> None:
        assert parse_reginfo(document()) == RegistrationInformation(0, "full", ())

    @pytest.mark.parametrize("state", ["active", "terminated"])
    @pytest.mark.parametrize(
        "event",
        get_args(ContactEvent),
    )
    def test_states_and_events(self, state: str, event: str) -> None:
        found = the_contact(contact(f'id="1" state="{state}" event="{event}"'))
        assert (found.state, found.event) == (state, event)

    @pytest.mark.parametrize(
        ("attribute", "name", "value"),
        [
            ('expires="later"', "expires", None),
            ('expires="-1"', "expires", None),
            ('expires=""', "expires", None),
            ('expires=" 5 "', "expires", 5),
            ('expires="18446744073709551615"', "expires", 2**32 - 1),
            ('retry-after="1.5"', "retry_after", None),
            ('duration-registered="\u0661"', "duration", None),
            ('cseq="99999999999"', "cseq", 2**31 - 1),
            ('q="-1.000"', "q", None),
            ('q="1.1"', "q", None),
            ('q="nan"', "q", None),
            ('q="0.25"', "q", 0.25),
            ('q="1.000"', "q", 1.0),
        ],
    )
    def test_an_optional_attribute_that_cannot_be_read_is_absent(
        self, attribute: str, name: str, value: object
    ) -> None:
        assert getattr(the_contact(contact(f'id="1" state="active" event="created" {attribute}')), name) == value

    def test_the_first_of_two_elements_counts(self) -> None:
        twice = "<uri>sip:one@b</uri><uri>sip:two@b</uri>" + "".join(
            f'<unknown-param name="{name}">{value}</unknown-param>' for name, value in [("A", 1), ("a", 2), ("", 3)]
        )
        found = the_contact(contact(inside=twice))
        assert (found.uri, found.unknown_params) == ("sip:one@b", {"a": "1"})

    def test_elements_elsewhere_are_passed_over(self) -> None:
        stray = "<uri>sip:x@y</uri><contact/><x><registration/></x>"
        assert parse_reginfo(document(stray)).registrations == ()
        assert the_contact(contact(inside="<uri>sip:a@b<uri>c</uri></uri><x><uri>d</uri></x>")).uri == "sip:a@b"

    def test_a_namespace_can_be_declared_where_it_is_used(self) -> None:
        assert parse_reginfo(document('<registration xmlns="urn:other"/>')).registrations == ()
        data = f'<a:reginfo xmlns:a="{NAMESPACE}" version="1" state="full"><registration/></a:reginfo>'.encode()
        assert parse_reginfo(data).registrations == ()

    def test_a_byte_order_mark(self) -> None:
        assert parse_reginfo(b"\xef\xbb\xbf" + DOCUMENT) == parse_reginfo(DOCUMENT)

    def test_the_encoding_is_utf_8_whatever_the_declaration_says(self) -> None:
        data = b'<?xml version="1.0" encoding="utf-7"?>' + contact(inside="<uri>sip:\u00e9@b</uri>")
        assert the_contact(data).uri == "sip:\u00e9@b"


class TestInvalidDocuments:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"no XML",
            document()[:-1],
            document() + b"<x/>",
            document("<a></b>"),
            document("&nothing;"),
            document("?").replace(b"?", b"\xed\xb3\xbf"),
            document("\x00"),
            document('<x a="1" a="2"/>'),
            document().decode().encode("utf-16"),
            document().decode().encode("utf-16-le"),
            document("\xe9").decode().encode("latin-1"),
        ],
    )
    def test_not_well_formed(self, data: bytes) -> None:
        assert_refused("reginfo_malformed", data)

    @pytest.mark.parametrize(
        "data",
        [
            b"<reginfo/>",
            b'<reginfo xmlns="urn:other"/>',
            b'<a:reginfo xmlns="urn:ietf:params:xml:ns:reginfo"/>',
            b'<other xmlns="urn:ietf:params:xml:ns:reginfo"/>',
            b'<presence xmlns="urn:ietf:params:xml:ns:pidf"/>',
        ],
    )
    def test_xml_of_something_else(self, data: bytes) -> None:
        assert_refused("reginfo_namespace", data)

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (document(attributes='state="full"'), "version of a reginfo element is missing"),
            (document(attributes='version="-1" state="full"'), "cannot be '-1'"),
            (document(attributes='version="4294967296" state="full"'), "cannot be '4294967296'"),
            (document(attributes=f'version="{"9" * 5000}" state="full"'), "9999"),
            (document(attributes='version="1"'), "state of a reginfo"),
            (document(attributes='version="1" state="whole"'), "cannot be 'whole'"),
            (document('<registration id="1" state="active"/>'), "aor of a registration"),
            (document('<registration aor="sip:a" state="active"/>'), "id of a registration"),
            (document('<registration aor="sip:a" id="1"/>'), "state of a registration"),
            (document('<registration aor="sip:a" id="1" state="up"/>'), "'up'"),
            (contact('state="active" event="created"'), "id of a contact"),
            (contact('id="1" event="created"'), "state of a contact"),
            (contact('id="1" state="active"'), "event of a contact"),
            (contact('id="1" state="init" event="created"'), "'init'"),
            (contact('id="1" state="active" event="lost"'), "'lost'"),
            (contact(inside=""), "no uri"),
            (contact(inside="<uri> </uri>"), "no uri"),
        ],
    )
    def test_a_required_part_is_missing_or_meaningless(self, data: bytes, sentence: str) -> None:
        assert_refused("reginfo_invalid", data, sentence)


class TestLimits:
    """Each has a code of its own, and none is reached by an honest registrar."""

    def test_size(self) -> None:
        room = MAXIMUM_REGINFO - len(document())
        assert parse_reginfo(document(" " * room)).version == 0
        assert_refused("reginfo_too_large", document(" " * (room + 1)))

    def test_depth(self) -> None:
        inner = MAXIMUM_DEPTH - 1
        assert parse_reginfo(document("<x>" * inner + "</x>" * inner)).version == 0
        assert_refused("reginfo_too_deep", document("<x>" * (inner + 1) + "</x>" * (inner + 1)))
        assert_refused("reginfo_too_deep", document("<x>" * 20_000))

    def test_number_of_elements(self) -> None:
        assert parse_reginfo(document("<x/>" * (MAXIMUM_ELEMENTS - 1))).version == 0
        assert_refused("reginfo_too_many_elements", document("<x/>" * MAXIMUM_ELEMENTS))

    @pytest.mark.parametrize(
        "declaration",
        [
            b"<!DOCTYPE reginfo>",
            b'<!DOCTYPE reginfo SYSTEM "file:///etc/passwd">',
            b'<!DOCTYPE reginfo [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
            b'<!DOCTYPE reginfo [<!ENTITY % p SYSTEM "http://127.0.0.1:9/"> %p;]>',
        ],
    )
    def test_document_types_and_entities(self, declaration: bytes) -> None:
        assert_refused("reginfo_dtd", declaration + document("&b;"))
        assert_refused("reginfo_dtd", b'<?xml version="1.0"?>\n' + declaration + document())

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_a_document_type_cannot_hide_in_another_encoding(self, encoding: str) -> None:
        text = '<!DOCTYPE reginfo [<!ENTITY a "sip:x@y">]>' + contact(inside="<uri>&a;</uri>").decode()
        assert_refused("reginfo_malformed", text.encode(encoding))

    def test_processing_instructions(self) -> None:
        assert_refused("reginfo_instruction", b'<?xml-stylesheet href="a"?>' + document())
        assert_refused("reginfo_instruction", document("<?a b?>"))

    def test_memory_is_a_small_multiple_of_the_document(self) -> None:
        """The long name of a namespace is not written out for each attribute that is in it."""
        attributes = "".join(f' x:a{number}=""' for number in range(2500))
        data = document(attributes=f'version="0" state="full" xmlns:x="{"u" * 30_000}"{attributes}')
        parse_reginfo(data)
        tracemalloc.start()
        try:
            parse_reginfo(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20 * MAXIMUM_REGINFO


XML_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))
WORDS = XML_TEXT.map(str.strip).filter(bool)
OPTIONAL_SECONDS = st.none() | st.integers(0, 2**32 - 1)
CONTACTS = st.builds(
    ContactElement,
    id=WORDS,
    state=st.sampled_from(["active", "terminated"]),
    event=st.sampled_from(["registered", "expired", "rejected"]),
    uri=WORDS,
    expires=OPTIONAL_SECONDS,
    retry_after=OPTIONAL_SECONDS,
    duration=OPTIONAL_SECONDS,
    callid=st.none() | WORDS,
    cseq=st.none() | st.integers(0, 2**31 - 1),
    q=st.none() | st.integers(0, 1000).map(lambda thousandths: thousandths / 1000),
    display_name=st.none() | WORDS,
    unknown_params=st.dictionaries(WORDS.map(str.lower), XML_TEXT, max_size=3),
)
DOCUMENTS = st.builds(
    RegistrationInformation,
    version=st.integers(0, 2**32 - 1),
    state=st.sampled_from(["full", "partial"]),
    registrations=st.lists(
        st.builds(
            RegistrationElement,
            aor=WORDS,
            id=WORDS,
            state=st.sampled_from(["init", "active", "terminated"]),
            contacts=st.lists(CONTACTS, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
)


def written(information: RegistrationInformation, prefix: str) -> bytes:
    """The document that says this, every name with the prefix."""
    parts: list[str] = []

    def start(tag: str, /, **attributes: object) -> None:
        given = "".join(f" {k.replace('_', '-')}={quoteattr(str(v))}" for k, v in attributes.items() if v is not None)
        parts.append(f"<{prefix}{tag}{given}>")

    def element(tag: str, content: str, /, **attributes: object) -> None:
        start(tag, **attributes)
        parts.append(f"{escape(content)}</{prefix}{tag}>")

    declaration = {f"xmlns:{prefix[:-1]}" if prefix else "xmlns": NAMESPACE}
    start("reginfo", version=information.version, state=information.state, **declaration)
    for registration in information.registrations:
        start("registration", aor=registration.aor, id=registration.id, state=registration.state)
        for one in registration.contacts:
            start(
                "contact",
                **{name: getattr(one, name) for name in ("id", "state", "event", "expires", "retry_after", "callid")},
                duration_registered=one.duration,
                cseq=one.cseq,
                q=None if one.q is None else f"{one.q:.3f}",
            )
            element("uri", one.uri)
            if one.display_name is not None:
                element("display-name", one.display_name)
            for name, value in one.unknown_params.items():
                quoted = value.replace("\\", "\\\\").replace('"', '\\"')
                element("unknown-param", f'"{quoted}"', name=name)
            parts.append(f"</{prefix}contact>")
        parts.append(f"</{prefix}registration>")
    parts.append(f"</{prefix}reginfo>")
    return "".join(parts).encode()


class TestProperties:
    @settings(deadline=None)
    @given(DOCUMENTS, st.sampled_from(["", "r:", "\u00e9:"]))
    def test_round_trip(self, information: RegistrationInformation, prefix: str) -> None:
        assert parse_reginfo(written(information, prefix)) == information

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.integers(0, len(DOCUMENT)), st.integers(0, 40))
    def test_any_damage_is_read_or_refused(self, noise: bytes, position: int, cut: int) -> None:
        with contextlib.suppress(MalformedReginfo):
            parse_reginfo(DOCUMENT[:position] + noise + DOCUMENT[position + cut :])
