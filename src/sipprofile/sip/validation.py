"""What a server checks before it serves a request (RFC 3261 §8.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipprofile.sip.headers import parse_name_addr, parse_via, split_list
from sipprofile.sip.syntax import MAXIMUM_MESSAGE, MalformedMessage, SipSyntaxError, decimal, excerpt
from sipprofile.sip.uri import Uri

if TYPE_CHECKING:
    from sipprofile.sip.message import Request


_SINGLE_VALUED = (
    "call-id",
    "content-disposition",
    "content-length",
    "content-type",
    "cseq",
    "date",
    "event",
    "expires",
    "from",
    "max-forwards",
    "to",
)


def validate_request(request: Request) -> None:
    """Check what a server must before it serves a request (RFC 3261 §8.2.2, §16.3, §18.3, §20).

    Raises MalformedMessage with the status to answer: 505 for another version, 416 for a scheme other than
    sip and sips, else 400. A missing Max-Forwards or branch is allowed, for requests of RFC 2543.
    """
    if request.version.upper() != "SIP/2.0":
        raise MalformedMessage("version", 505, f"the version {excerpt(request.version)} is not SIP/2.0")
    if request.start_line != f"{request.method} {request.uri} {request.version}":
        raise _bad_request("start_line", "the start line has white space where none is allowed")
    _validate_request_uri(request.uri)
    if request.has_stray_line_breaks():
        raise _bad_request("header", "a CR or LF stands alone; lines end with both")
    malformed = request.malformed()
    if malformed:
        raise _bad_request("header", f"{excerpt(malformed[0])} is not a header")
    for name in ("via", "from", "to", "call-id", "cseq"):
        if not request.header(name):
            raise _bad_request("header", f"the {name} header is missing")
    for name in _SINGLE_VALUED:
        if request.is_repeated(name):
            raise _bad_request("header", f"the {name} header is given more than once")
    _, method = request.cseq()
    if method != request.method:
        raise _bad_request("header", f"the CSeq method {excerpt(method)} is not the request's method")
    try:
        for line in request.headers("via"):
            for via in split_list(line):
                parse_via(via)
        parse_name_addr(request.header("from") or "")
        to = parse_name_addr(request.header("to") or "")
        for line in request.headers("contact"):
            for contact in split_list(line):
                parse_name_addr(contact)
        if request.method == "REGISTER":
            _validate_address_of_record(to.uri)
    except SipSyntaxError as error:
        raise _bad_request("header", str(error)) from None
    _validate_numbers(request)


def _validate_request_uri(uri: str) -> None:
    scheme, colon, _ = uri.partition(":")
    if not colon or uri.startswith("<"):
        raise _bad_request("start_line", f"the Request-URI {excerpt(uri)} is not a URI")
    if scheme.lower() not in ("sip", "sips"):
        raise MalformedMessage("uri_scheme", 416, f"the scheme {excerpt(scheme)} is not sip or sips")
    try:
        if Uri.parse(uri).headers:
            raise SipSyntaxError("a Request-URI cannot carry headers")  # RFC 3261 §19.1.1
    except SipSyntaxError as error:
        raise _bad_request("start_line", str(error)) from None


def _validate_address_of_record(uri: str) -> None:
    if uri.partition(":")[0].lower() not in ("sip", "sips"):  # RFC 3261 §10.3
        raise SipSyntaxError(f"the address-of-record {excerpt(uri)} is not a SIP or SIPS URI")


def _validate_numbers(request: Request) -> None:
    hops = request.header("max-forwards")
    if hops is not None and decimal(hops, 256) in (None, 256):
        raise _bad_request("header", f"the Max-Forwards {excerpt(hops)} is not a number from 0 to 255")
    length = request.header("content-length")
    if length is not None:
        octets = decimal(length, MAXIMUM_MESSAGE + 1)
        if octets is None or octets > len(request.body):
            raise _bad_request("content_length", f"the Content-Length {excerpt(length)} does not fit the body")


def _bad_request(code: str, sentence: str) -> MalformedMessage:
    return MalformedMessage(code, 400, sentence)
