"""The torture messages of RFC 4475, where they are at hand; test_torture.py holds a small set of our own.

The corpus is found by the variable SIPPROFILE_CORPUS or beside the repository, one file a message, named as in the
RFC. A request is `accepted` when `validate_request` passes it; what a service answers on top of that (an unknown
extension, method or body) is decided where those are known.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import CORPUS
from torture import accepted, assert_answered, assert_dropped, response, uris, vias

from sipprofile.sip.digest import verify
from sipprofile.sip.headers import (
    MAXIMUM_DELTA_SECONDS,
    parse_delta_seconds,
    parse_name_addr,
    parse_retry_after,
    split_list,
)
from sipprofile.sip.message import MalformedMessage, parse
from sipprofile.sip.uri import Uri

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of RFC 4475 is not here: SIPPROFILE_CORPUS")


# RFC 4475 §3.1.1: valid messages


def wsinv(path: Path) -> None:
    """§3.1.1.1: a short tortuous INVITE."""
    message = accepted(path)
    assert message.uri == "sip:vivekg@chair-dnrc.example.com;unknownparam"
    assert parse_name_addr(message.header("to") or "").params["tag"] == "1918181833n"
    sender = parse_name_addr(message.header("from") or "")
    assert (sender.display, sender.params["tag"]) == ('J Rosenberg \\"', "98asjd8")
    assert message.cseq() == (9, "INVITE")
    assert message.header("max-forwards") == "0068"
    assert message.header("subject") == ""
    assert message.header("newfangledheader") == "newfangled value continued newfangled value"
    assert message.header("unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert vias(message) == [
        ("UDP", "192.0.2.2", None, "390skdjuw"),
        ("TCP", "spindle.example.com", None, "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", None, "z9hG4bK30239"),
    ]
    assert message.branch() == "390skdjuw"
    contact = parse_name_addr(message.header("contact") or "")
    assert (contact.display, contact.uri) == ('Quoted string ""', "sip:jdrosen@example.com")
    assert contact.params == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert uris(message, "route") == ["sip:services.example.com;lr;unknownwith=value;unknown-no-value"]
    assert len(message.body) == 150


def intmeth(path: Path) -> None:
    """§3.1.1.2: a wide range of valid characters."""
    message = accepted(path)
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    uri = Uri.parse(message.uri)
    assert uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert parse_name_addr(message.header("to") or "").display == "BEL:\a NUL:\0 DEL:\x7f"
    sender = parse_name_addr(message.header("from") or "")
    assert sender.display == "token1~` token2'+_ token3*%!.-"
    assert sender.params["fromparam''~+*_!.-%"] == "работающий"
    assert sender.params["tag"] == "_token~1'+`*%!-."
    assert message.header("call-id") == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert message.header("extensionheader-!.%*+_`'~") == "\ufeff大停電"
    assert message.branch() == "z9hG4bK-.!%66*_+`'~"


def esc01(path: Path) -> None:
    """§3.1.1.3: valid use of the % escape."""
    message = accepted(path)
    uri = Uri.parse(message.uri)
    assert (uri.user, uri.host) == ("sips%3Auser%40example.com", "example.net")
    assert Uri.parse(uris(message, "to")[0]).equivalent(Uri.parse("sip:user@example.com"))
    contact = Uri.parse(uris(message, "contact")[0])
    assert contact.equivalent(Uri.parse("sip:caller@host5.example.net;lr;name=value%25%34%31"))


def escnull(path: Path) -> None:
    """§3.1.1.4: escaped nulls in URIs; the two contacts differ."""
    message = accepted(path)
    one, two = (Uri.parse(uri) for uri in uris(message, "contact"))
    assert (one.user, two.user) == ("%00", "%00%00")
    assert not one.equivalent(two)


def esc02(path: Path) -> None:
    """§3.1.1.5: % is no escape in a method or header name."""
    message = accepted(path)
    assert message.method == "RE%47IST%45R"
    assert message.cseq() == (29344, "RE%47IST%45R")
    assert parse_name_addr(message.header("to") or "").display == "%Z%45"
    assert uris(message, "contact") == ["sip:alias1@host1.example.com", "sip:alias3@host3.example.com"]
    assert message.header("c%6fntact") == "<sip:alias2@host2.example.com>"


def lwsdisp(path: Path) -> None:
    """§3.1.1.6: no white space between display name and <."""
    sender = parse_name_addr(accepted(path).header("from") or "")
    assert (sender.display, sender.uri, sender.params) == ("caller", "sip:caller@example.com", {"tag": "323"})


def longreq(path: Path) -> None:
    """§3.1.1.7: long values in header fields."""
    message = accepted(path)
    assert len(message.headers("via")) == 34
    assert vias(message)[0] == ("TCP", "sip33.example.com", None, None)
    assert len(vias(message)[-1][3] or "") > 200
    assert parse_name_addr(message.header("from") or "").params["tag"] is not None
    assert len(message.body) == 150


def dblreq(path: Path) -> None:
    """§3.1.1.8: a datagram with bytes after the message: they are ignored."""
    message = accepted(path)
    assert (message.method, message.body) == ("REGISTER", b"")
    assert message.header("call-id") == "dblreq.0ha0isndaksdj99sdfafnl3lk233412"


def semiuri(path: Path) -> None:
    """§3.1.1.9: semicolon-separated parameters in the user part."""
    message = accepted(path)
    uri = Uri.parse(message.uri)
    assert (uri.user, uri.params) == ("user;par=u%40example.net", ())
    assert len(split_list(message.header("accept") or "")) == 6


def transports(path: Path) -> None:
    """§3.1.1.10: varied and unknown transports."""
    assert [via[0] for via in vias(accepted(path))] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def mpart01(path: Path) -> None:
    """§3.1.1.11: a binary multipart body."""
    message = accepted(path)
    assert len(message.body) == 553
    assert message.body.startswith(b"--7a9cbec02ceef655\r\n")
    assert message.body.endswith(b"--7a9cbec02ceef655--\r\n")


def unreason(path: Path) -> None:
    """§3.1.1.12: an unusual reason phrase."""
    message = response(path)
    assert message.status == 200
    assert message.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    assert message.cseq() == (35, "INVITE")


def noreason(path: Path) -> None:
    """§3.1.1.13: an empty reason phrase."""
    assert (response(path).status, response(path).reason) == (100, "")


# RFC 4475 §3.1.2: invalid messages


def badinv01(path: Path) -> None:
    """§3.1.2.1: extraneous separators."""
    assert_answered(path, "header", 400)


def clerr(path: Path) -> None:
    """§3.1.2.2: a Content-Length larger than the message."""
    assert_answered(path, "content_length", 400)


def ncl(path: Path) -> None:
    """§3.1.2.3: a negative Content-Length."""
    assert_answered(path, "content_length", 400)


def scalar02(path: Path) -> None:
    """§3.1.2.4: numbers past their range. CSeq decides; Expires and expires alone would be the largest value."""
    assert_answered(path, "header", 400)
    message = parse(path.read_bytes())
    assert parse_delta_seconds(message.header("expires") or "") == MAXIMUM_DELTA_SECONDS
    contact = parse_name_addr(message.header("contact") or "")
    assert parse_delta_seconds(contact.params["expires"] or "") == MAXIMUM_DELTA_SECONDS


def scalarlg(path: Path) -> None:
    """§3.1.2.5: a response with numbers past their range: it fits no transaction, because its CSeq is unreadable."""
    message = response(path)
    assert message.status == 503
    with pytest.raises(MalformedMessage):
        message.cseq()
    assert parse_retry_after(message.header("retry-after") or "") == MAXIMUM_DELTA_SECONDS


def quotbal(path: Path) -> None:
    """§3.1.2.6: an unterminated quoted string."""
    assert_answered(path, "header", 400)


def ltgtruri(path: Path) -> None:
    """§3.1.2.7: <> around the Request-URI."""
    assert_answered(path, "start_line", 400)


def lwsruri(path: Path) -> None:
    """§3.1.2.8: white space within the Request-URI."""
    assert_answered(path, "start_line", 400)


def lwsstart(path: Path) -> None:
    """§3.1.2.9: several spaces in the start line."""
    assert_answered(path, "start_line", 400)


def trws(path: Path) -> None:
    """§3.1.2.10: spaces at the end of the start line."""
    assert_answered(path, "start_line", 400)


def escruri(path: Path) -> None:
    """§3.1.2.11: headers in the Request-URI."""
    assert_answered(path, "start_line", 400)


def baddate(path: Path) -> None:
    """§3.1.2.12: a Date that is not GMT. Accepted: nothing here reads Date, and the RFC asks not to reject for it."""
    assert accepted(path).header("date") == "Fri, 01 Jan 2010 16:00:00 EST"


def regbadct(path: Path) -> None:
    """§3.1.2.13: a Contact URI with headers outside <>. Its reading would be a guess: refused."""
    assert_answered(path, "header", 400)


def badaspec(path: Path) -> None:
    """§3.1.2.14: spaces just inside <>. Accepted, as the RFC allows: there is only one reading."""
    assert uris(accepted(path), "to") == ["sip:t.watson@example.org"]


def baddn(path: Path) -> None:
    """§3.1.2.15: a comma in an unquoted display name. Accepted, as the RFC allows: From and To are no lists."""
    message = accepted(path)
    sender = parse_name_addr(message.header("from") or "")
    assert (sender.display, sender.uri) == ("Bell, Alexander", "sip:a.g.bell@example.com")


def badvers(path: Path) -> None:
    """§3.1.2.16: an unknown protocol version."""
    assert_answered(path, "version", 505)


def mismatch01(path: Path) -> None:
    """§3.1.2.17: start line and CSeq method differ."""
    assert_answered(path, "header", 400)


def mismatch02(path: Path) -> None:
    """§3.1.2.18: the same with an unknown method. The RFC allows 400 as well as 501; the message is bad for any."""
    assert_answered(path, "header", 400)


def bigcode(path: Path) -> None:
    """§3.1.2.19: an overlarge response code."""
    assert_dropped(path, "start_line")


# RFC 4475 §3.2: transaction layer semantics


def badbranch(path: Path) -> None:
    """§3.2.1: a branch that is the magic cookie alone. Accepted; it is for matching to see that it is not unique."""
    assert accepted(path).branch() == "z9hG4bK"


# RFC 4475 §3.3: application layer semantics


def insuf(path: Path) -> None:
    """§3.3.1: required headers are missing; what is there is copied into the answer."""
    assert_answered(path, "header", 400)


def unkscm(path: Path) -> None:
    """§3.3.2: a Request-URI with an unknown scheme."""
    assert_answered(path, "uri_scheme", 416)


def novelsc(path: Path) -> None:
    """§3.3.3: a Request-URI with a known, unusual scheme."""
    assert_answered(path, "uri_scheme", 416)


def unksm2(path: Path) -> None:
    """§3.3.4: unknown schemes in other headers: read without harm, but no address-of-record of a REGISTER."""
    assert_answered(path, "header", 400)
    message = parse(path.read_bytes())
    assert uris(message, "from") == ["http://www.example.com"]
    assert uris(message, "contact") == ["name:John_Smith"]


def bext01(path: Path) -> None:
    """§3.3.5: unknown extensions are required. The lists are readable; 420 is the service's answer."""
    message = accepted(path)
    assert split_list(message.header("require") or "") == ["nothingSupportsThis", "nothingSupportsThisEither"]
    assert len(split_list(message.header("proxy-require") or "")) == 2


def invut(path: Path) -> None:
    """§3.3.6: an unknown content type. Readable; 415 is the service's answer."""
    message = accepted(path)
    assert (message.header("content-type"), len(message.body)) == ("application/unknownformat", 40)


def regaut01(path: Path) -> None:
    """§3.3.7: an unknown authorization scheme: no credentials."""
    value = accepted(path).header("authorization") or ""
    assert value == "NoOneKnowsThisScheme opaque-data=here"
    assert verify(value, method="REGISTER", ha1=lambda *_: "0" * 32) is None


def multi01(path: Path) -> None:
    """§3.3.8: several values where one is allowed."""
    assert_answered(path, "header", 400)


def mcl01(path: Path) -> None:
    """§3.3.9: two Content-Lengths."""
    assert_answered(path, "header", 400)


def bcast(path: Path) -> None:
    """§3.3.10: a 200 whose second Via is a broadcast address. Nothing is forwarded; the two values are seen."""
    message = response(path)
    assert message.branch() == "z9hG4bK1324923"
    assert [via[1] for via in vias(message)] == ["192.0.2.198", "255.255.255.255"]


def zeromf(path: Path) -> None:
    """§3.3.11: Max-Forwards 0, which an endpoint answers as any other request."""
    assert accepted(path).header("max-forwards") == "0"


def cparam01(path: Path) -> None:
    """§3.3.12: without <> the parameter belongs to the header."""
    contact = parse_name_addr(accepted(path).header("contact") or "")
    assert contact.uri == "sip:+19725552222@gw1.example.net"
    assert contact.params == {"unknownparam": None}


def cparam02(path: Path) -> None:
    """§3.3.13: within <> the parameter belongs to the URI."""
    contact = parse_name_addr(accepted(path).header("contact") or "")
    assert (contact.uri, contact.params) == ("sip:+19725552222@gw1.example.net;unknownparam", {})


def regescrt(path: Path) -> None:
    """§3.3.14: headers in a Contact URI."""
    contact = Uri.parse(uris(accepted(path), "contact")[0])
    assert contact.headers == "Route=%3Csip:sip.example.com%3E"


def sdp01(path: Path) -> None:
    """§3.3.15: an Accept that excludes SDP. Readable; 406 is the service's answer."""
    assert accepted(path).header("accept") == "text/nobodyKnowsThis"


# RFC 4475 §3.4: backward compatibility


def inv2543(path: Path) -> None:
    """§3.4.1: an INVITE of RFC 2543, without branch, Max-Forwards and Content-Length."""
    message = accepted(path)
    assert message.branch() is None
    assert message.body.startswith(b"v=0\r\n")
    assert parse_name_addr(message.header("to") or "").params == {"user": "phone"}


# in the corpus, but not in the RFC


def without_version(path: Path) -> None:
    """A request line without version cannot be told from another protocol: dropped."""
    assert_dropped(path, "start_line")


RFC_4475: dict[str, Callable[[Path], None]] = {
    check.__name__: check
    for check in (
        *(wsinv, intmeth, esc01, escnull, esc02, lwsdisp, longreq, dblreq, semiuri, transports, mpart01),
        *(unreason, noreason, badinv01, clerr, ncl, scalar02, scalarlg, quotbal, ltgtruri, lwsruri, lwsstart),
        *(trws, escruri, baddate, regbadct, badaspec, baddn, badvers, mismatch01, mismatch02, bigcode, badbranch),
        *(insuf, unkscm, novelsc, unksm2, bext01, invut, regaut01, multi01, mcl01, bcast, zeromf, cparam01),
        *(cparam02, regescrt, sdp01, inv2543),
    )
} | {"test": without_version}


@needs_corpus
class TestCorpus:
    @pytest.mark.parametrize("name", RFC_4475)
    def test_message(self, name: str) -> None:
        RFC_4475[name](CORPUS / f"{name}.dat")

    def test_every_message_is_asserted(self) -> None:
        assert {path.stem for path in CORPUS.glob("*.dat")} == RFC_4475.keys()
