"""Answers to SIP requests that come in (RFC 3261 §8.2). No application takes requests yet, so nobody is ever there.

Stateless (§8.2.7): a retransmission gets the same answer with the same To tag, and nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from ..registration.actions import Send, TransportKey
from ..sip.headers import parse_name_addr, parse_via, split_list
from ..sip.message import MalformedMessage, Request, build_response, validate_request
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri

DEFAULT_PORT = 5060  # RFC 3261 §18.2.2
METHODS = (
    "INVITE",
    "ACK",
    "CANCEL",
    "BYE",
    "OPTIONS",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "INFO",
    "PRACK",
    "UPDATE",
    "PUBLISH",
)
ALLOW = ("Allow", ", ".join(METHODS))
HEAD_UNIT = 1024
"""Bytes of headers that cost as much to answer as one ordinary request: what is parsed is what a stranger can spend."""
LONG_SHARE = 4
"""Requests with more headers than two units get no more than this part of the rate, so that they starve no others."""
IN_DIALOG = ("CANCEL", "BYE", "PRACK", "UPDATE")
"""Methods that make sense only for a transaction or dialog, of which there is none."""

Answer = tuple[int, tuple[tuple[str, str], ...]]
"""Status code and headers."""


class Dispatch:
    """Finds the profile a request is for and answers in its name; at most ``rate`` answers a second.

    Requests with long headers count as several, see :data:`HEAD_UNIT`.
    """

    def __init__(
        self,
        profile_of_contact: Callable[[str], int | None],
        rate: int,
        secret: bytes,
        requested: Callable[[Request, float], Answer | None] = lambda *_: None,
    ) -> None:
        """``requested`` answers what belongs to the registrations themselves, and sees every OPTIONS."""
        self._profile_of_contact = profile_of_contact
        self._requested = requested
        self._rate = rate
        self._secret = secret
        self._second = 0
        self._answered = 0
        self._long = 0
        self.unanswered = 0
        """Requests beyond the rate."""

    def has_room(self, now: float, head_size: int = 0) -> bool:
        """Whether one more request, with ``head_size`` bytes of headers, may be answered in this second."""
        if int(now) != self._second:
            self._second = int(now)
            self._answered = 0
            self._long = 0
        units = head_size // HEAD_UNIT
        if self._answered >= self._rate or (units > 1 and self._long >= self._rate / LONG_SHARE):
            self.unanswered += 1
            return False
        self._answered += 1
        if units > 1:
            self._long += units
        return True

    def answer(self, request: Request, source: tuple[str, int], key: TransportKey, now: float) -> Send | None:
        """The response to ``request``; ``None`` for an ACK, and when there are too many requests."""
        if request.method == "ACK" or not self.has_room(now, request.head_size):
            return None
        try:
            validate_request(request)
            status, headers = self._judge(request, now)
        except MalformedMessage as error:
            status, headers = error.status or 400, ()
        except SipSyntaxError:
            status, headers = 400, ()
        back = return_path(request, source, key)
        if back is None:
            return None
        try:
            data = build_response(request, status, to_tag=self._tag(request), source=source, headers=headers)
        except ValueError:  # what we would have to repeat cannot be sent
            return None
        return Send(back, data)

    def _judge(self, request: Request, now: float) -> Answer:
        method = request.method
        if method not in METHODS:
            return 405, (ALLOW,)  # REGISTER too: we are no registrar (RFC 3261 §8.2.1)
        if method != "CANCEL":
            wanted = [option for line in request.headers("require") for option in split_list(line)]
            if wanted:
                return 420, (("Unsupported", ", ".join(wanted)),)  # RFC 3261 §8.2.2.3
        own = self._requested(request, now)
        if own is not None:
            return own
        in_dialog = "tag" in parse_name_addr(request.header("to") or "").params
        if in_dialog or method in IN_DIALOG:
            return 481, ()  # RFC 3261 §12.2.2
        user = Uri.parse(request.uri).user
        if user is None and method == "OPTIONS":
            return 200, self._capabilities()
        if user is None or self._profile_of_contact(user) is None:
            # Not for us: a hop could not forward it either (RFC 3261 §16.3). An endpoint takes 0 as it is.
            hops = request.header("max-forwards")
            return (404 if hops is None or hops.strip("0") else 483), ()
        if method == "OPTIONS":
            return 200, self._capabilities()  # RFC 3261 §11.2
        if method == "SUBSCRIBE" or (method == "NOTIFY" and request.header("event")):
            return 489, (("Allow-Events", ""),)  # RFC 6665 §8.3.2
        if method == "NOTIFY":
            return 481, ()
        return 480, ()

    def _capabilities(self) -> tuple[tuple[str, str], ...]:
        return ALLOW, ("Accept", "application/sdp"), ("Supported", "")

    def _tag(self, request: Request) -> str:
        """The same tag for a retransmission, another for anything else (RFC 3261 §8.2.7, §19.3)."""
        identity = "\n".join(
            (request.branch() or "", request.header("call-id") or "", request.header("from") or "", request.uri)
        )
        return blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=8, key=self._secret).hexdigest()


def return_path(request: Request, source: tuple[str, int], key: TransportKey) -> TransportKey | None:
    """Where the response goes (RFC 3261 §18.2.2, RFC 3581 §4): back on a connection, by UDP to the sender's host.

    ``maddr`` is not followed: it would let a stranger point us at others.
    """
    if key.protocol != "udp":
        return key
    try:
        via = parse_via(split_list(request.header("via") or "")[0])
    except (SipSyntaxError, IndexError):
        return None
    port = source[1] if "rport" in via.params else via.port or DEFAULT_PORT
    return TransportKey("udp", source[0], port, key.dscp)
