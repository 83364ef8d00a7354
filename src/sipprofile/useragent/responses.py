"""What an owner may put into a response, and what the service puts there (RFC 3261 §8.2.6, §12.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..sip.message import Request
from . import drafts
from .draft import Answer

if TYPE_CHECKING:
    from .agent import UserAgent
    from .incoming import Incoming

MAKES_DIALOG = ("INVITE", "SUBSCRIBE", "REFER")
REFRESHES_TARGET = ("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER")
"""Requests whose Contact is the new remote target (RFC 3261 §12.2, RFC 3311 §5.1, RFC 6665 §4.4.1)."""
MAXIMUM_REASON = 256


def check(incoming: Incoming, answer: Answer) -> None:
    """Whether ``answer`` can be sent. Raises ``invalid_value``, ``header_refused`` or ``too_large``."""
    status, method = answer.status, incoming.request.method
    if not 100 <= status <= 699:
        raise SipProfileError("invalid_value", "A status is a number from 100 to 699.", field="status", value=status)
    if method != "INVITE":
        if 100 < status < 200:
            detail = (
                f"A {method} has no provisional answers other than 100 (RFC 4320 §4.1); answer it with a final one."
            )
            raise SipProfileError("invalid_value", detail, field="status", value=status)
        if status == 408:
            detail = f"A {method} is never answered 408 (RFC 4320 §4.2); use 480 or 504."
            raise SipProfileError("invalid_value", detail, field="status", value=status)
    redirects = 300 <= status < 400 or status == 485 or method == "REGISTER"
    names = drafts.check_headers(tuple(header for header in answer.headers if not (redirects and _is_contact(header))))
    if "rseq" in names:
        raise SipProfileError("header_refused", "RSeq is written by the service.", field="headers", value="RSeq")
    drafts.check_body(answer.body, answer.content_type, [])
    drafts.contact_params(answer.contact_params)
    _check_line(answer.reason or "", "reason")
    if len(answer.reason or "") > MAXIMUM_REASON:
        detail = f"A reason phrase has at most {MAXIMUM_REASON} characters."
        raise SipProfileError("invalid_value", detail, field="reason", value=answer.reason)
    for name, value in answer.headers if redirects else ():
        _check_line(value, name)
    if answer.reliable:
        _check_reliable(incoming, status)


def _check_reliable(incoming: Incoming, status: int) -> None:
    if incoming.request.method != "INVITE" or not 100 < status < 200:
        detail = "Only provisional answers to an INVITE, other than 100, can be reliable."
        raise SipProfileError("invalid_value", detail, field="reliable", value=status)
    if not supports(incoming.request, "100rel"):
        detail = "The caller does not support reliable provisional answers (RFC 3262); send it without."
        raise SipProfileError("invalid_value", detail, field="reliable", value=True)


def _is_contact(header: tuple[str, str]) -> bool:
    return header[0].lower() in ("contact", "m")


def _check_line(text: str, field: str) -> None:
    if "\r" in text or "\n" in text or "\0" in text:
        raise SipProfileError("header_refused", "A line break cannot be sent; remove the CR or LF.", field=field)


def supports(request: Request, option: str) -> bool:
    """Whether the sender says in Supported or Require that it understands an extension (RFC 3261 §20.37)."""
    return option in options(request, "supported") or option in options(request, "require")


def options(request: Request, header: str) -> list[str]:
    """The option tags of Supported, Require or Proxy-Require, in lower case."""
    lines = request.headers(header)
    return [tag for tag in (tag.strip().lower() for line in lines for tag in line.split(",")) if tag] if lines else []


def makes_dialog(incoming: Incoming, answer: Answer) -> bool:
    """Whether this answer to a request outside of dialogs makes one (RFC 3261 §12.1, RFC 4488 §4)."""
    method, status = incoming.request.method, answer.status
    if incoming.leg is not None or method not in MAKES_DIALOG or status <= 100 or status >= 300:
        return False
    if method == "INVITE":
        return True
    if method == "REFER" and (incoming.request.header("refer-sub") or "").lower().startswith("false"):
        return not any(
            name.lower() == "refer-sub" and value.lower().startswith("false") for name, value in answer.headers
        )
    return status >= 200


def headers_of(agent: UserAgent, incoming: Incoming, answer: Answer, now: float) -> list[tuple[str, str]]:
    """Everything after CSeq, Content-Length apart."""
    request, status, method = incoming.request, answer.status, incoming.request.method
    headers: list[tuple[str, str]] = []
    leg = incoming.leg
    if 100 < status < 300 and leg is not None and not leg.initiator and leg.method == method:
        headers += (("Record-Route", line) for line in request.headers("record-route"))
    if 100 < status < 300 and (method in REFRESHES_TARGET or method in MAKES_DIALOG):
        params = drafts.contact_params(answer.contact_params)
        headers.append(("Contact", f"<{contact_of(agent, incoming, now)}>{params}"))
    headers += answer.headers
    manual = leg is not None and leg.manual
    if method == "INVITE" and 200 <= status < 300 and not manual and not _has(answer, "allow"):
        headers.append(("Allow", drafts.ALLOW))  # RFC 3261 §13.3.1.4
    if answer.content_type is not None:
        headers.append(("Content-Type", answer.content_type))
    return headers


def _has(answer: Answer, name: str) -> bool:
    return any(given.lower() == name for given, _ in answer.headers)


def contact_of(agent: UserAgent, incoming: Incoming, now: float) -> str:
    """The URI of our Contact: the line's. While the line has no way it is what the request was sent to."""
    leg = incoming.leg
    if leg is not None:
        way = incoming.line.way(agent.room, leg.dialog, now, 0)
        if not isinstance(way, str):
            return way.contact
    return incoming.request.uri
