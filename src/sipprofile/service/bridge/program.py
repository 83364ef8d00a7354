"""Where the program is: what it has registered at its bridge, and whether it is answered that the trunk is alive."""

from __future__ import annotations

import msgspec

from ...registration.request import bracketed
from ...sip.headers import parse_delta_seconds, parse_name_addr, split_list
from ...sip.message import Request
from ...sip.syntax import SipSyntaxError
from ...sip.uri import Uri
from ...useragent.draft import Answer
from .local_line import LocalLine

DEFAULT_EXPIRES = 3600  # RFC 3261 §10.2
LONGEST = 86_400

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE, PUBLISH, REGISTER"


class Program(msgspec.Struct):
    """The contact that the program has registered; soft phones insist on doing so."""

    contact: str = ""
    until: float = 0.0

    def registered(self, now: float) -> str:
        """Its contact, empty while it has none."""
        return self.contact if now < self.until else ""

    def register(self, line: LocalLine, request: Request, source: tuple[str, int], now: float) -> Answer:
        """RFC 3261 §10.3 for a location service with one entry: the last contact that was registered."""
        lines = [value for header in request.headers("contact") for value in split_list(header)]
        granted = []
        try:
            asked = _expires(request.header("expires"), DEFAULT_EXPIRES)
            for value in lines:
                if value == "*":
                    self.until = 0.0
                    continue
                contact = parse_name_addr(value)
                seconds = _expires(contact.params.get("expires"), asked)
                uri = _reachable(line, contact.uri, source)
                if seconds:
                    self.contact, self.until = uri, now + seconds
                    granted.append(("Contact", f"<{contact.uri}>;expires={seconds}"))
                elif uri == self.contact:
                    self.until = 0.0
        except SipSyntaxError:
            return Answer(400, "Bad Contact")
        if not lines and self.registered(now):
            granted.append(("Contact", f"<{self.contact}>;expires={int(self.until - now)}"))
        return Answer(200, headers=tuple(granted))


def alive(registered: bool) -> Answer:
    """The answer to an OPTIONS that asks for the bridge itself (RFC 3261 §11.2)."""
    if not registered:
        return Answer(503, "Not Registered")
    return Answer(200, headers=(("Allow", ALLOW), ("Accept", "application/sdp")))


def _expires(value: str | None, default: int) -> int:
    return default if value is None else min(parse_delta_seconds(value), LONGEST)


def _reachable(line: LocalLine, contact: str, source: tuple[str, int]) -> str:
    """The contact; when it has an address that the program may not have, the one that it came from."""
    uri = Uri.parse(contact)
    if line.admits(uri.host.strip("[]")):
        return contact
    return str(msgspec.structs.replace(uri, scheme="sip", host=bracketed(source[0]), port=source[1], params=()))
