"""A scripted user agent without I/O: the other side of the calls and messages of a test (RFC 3261 §8, §12, §13).

It answers what comes in as its script says, sends what it is told to, and keeps everything it heard. Nothing is ever
sent twice of its own accord: what is lost on the way stays lost, and retransmissions are the tested side's to make.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import msgspec

from sipprofile.sip import digest
from sipprofile.sip.building import build_request, build_response
from sipprofile.sip.dialog import Dialog, routed, tag_of
from sipprofile.sip.headers import parse_name_addr, split_list
from sipprofile.sip.message import MalformedMessage, Request, Response, parse
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.testing.forwarding import Address, address_of
from sipprofile.testing.reply import Reply

__all__ = ["Exchange", "Scripted", "SipPeer"]

SDP: Final = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
"""An offer, or an answer, of one stream that nobody sends."""
WITH_CONTACT = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY", "UPDATE"})


class Scripted(msgspec.Struct, frozen=True):
    """One response of the script; ``delay`` (seconds) is from the arrival of the request."""

    status: int
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str | None = None
    delay: float = 0.0


class Exchange(msgspec.Struct, eq=False):
    """A request that the peer has sent, and what came back; :attr:`dialogs` by the tag of the other side."""

    method: str
    uri: str
    headers: list[tuple[str, str]]
    body: bytes
    destination: Address
    dialog: Dialog
    responses: list[Response] = []
    dialogs: dict[str, Dialog] = {}
    proven: bool = False
    """It has answered a challenge."""

    @property
    def final(self) -> Response | None:
        """The first final response, a challenge that was answered excepted."""
        return next((response for response in self.responses if response.status >= 200), None)


class SipPeer:
    """A user agent at ``uri``, whose host and port must be where it is reached.

    ::

        peer = SipPeer("sip:bob@192.0.2.20:5060", random=Random(1))
        peer.script["INVITE"] = [Scripted(183, body=SDP, content_type="application/sdp"), Scripted(486, delay=1)]
        replies = peer.receive(data, source, now)

    Methods that the script does not name get a 200, an INVITE 180 and 200 with :data:`SDP`; an empty list lets a
    request wait for :meth:`answer`. ACK, PRACK and the answer to a CANCEL come by themselves.
    """

    def __init__(
        self,
        uri: str,
        *,
        random: random.Random,
        next_hop: Address | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        """``next_hop`` gets every request that begins here, if not the address in its URI or route does.

        ``credentials`` (user name and password) answer one challenge of each request.
        """
        self.uri: Final = uri
        self.aor = uri
        """From of what is sent."""
        self.next_hop = next_hop
        self.credentials = credentials
        self.script: dict[str, Sequence[Scripted]] = {
            "INVITE": (Scripted(180), Scripted(200, body=SDP, content_type="application/sdp"))
        }
        self.requests: list[Request] = []
        """What came in, ACK and CANCEL included, retransmissions not."""
        self.dialogs: list[Dialog] = []
        """Those that others have begun, and that are confirmed."""
        self._random = random
        self._tags: dict[int, str] = {}
        self._sources: dict[int, Address] = {}
        self._answered: dict[tuple[str, str], list[Reply]] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._acks: dict[tuple[str, str], Reply] = {}

    # What comes in

    def receive(self, data: bytes, source: Address, now: float = 0.0) -> list[Reply]:
        """Take one message and return what to send. ``now`` is not needed: delays are part of the replies."""
        try:
            message = parse(data)
            number, method = message.cseq()
        except MalformedMessage:
            return []
        if isinstance(message, Response):
            return self._responded(message, number, method)
        transaction = (message.branch() or "", message.method)
        if transaction in self._answered:
            return self._answered[transaction]
        replies = self._answered[transaction] = []
        self.requests.append(message)
        self._tags[id(message)] = tag_of(message.header("to")) or self._token()
        self._sources[id(message)] = source
        if message.method == "ACK":
            return replies
        for scripted in self.script.get(message.method, (Scripted(200),)):
            replies += self._answer(message, scripted)
        if message.method == "CANCEL":
            replies += self._cancelled(message)
        elif message.method == "BYE":
            self.dialogs = [dialog for dialog in self.dialogs if not dialog.contains(message)]
        return replies

    def knows(self, request: Request) -> bool:
        """Whether this is a retransmission of what has come before."""
        return (request.branch() or "", request.method) in self._answered

    def answer(self, request: Request, scripted: Scripted) -> list[Reply]:
        """Answer a request that waits, one of :attr:`requests`."""
        replies = self._answer(request, scripted)
        self._answered[request.branch() or "", request.method].extend(replies)
        return replies

    def _answer(self, request: Request, scripted: Scripted) -> list[Reply]:
        headers = [("Record-Route", value) for value in request.headers("record-route")]
        if request.method in WITH_CONTACT:
            headers.append(("Contact", f"<{self.uri}>"))
        if request.method == "SUBSCRIBE" and scripted.status < 300:
            headers.append(("Expires", request.header("expires") or "3600"))
        headers += scripted.headers
        if scripted.content_type is not None:
            headers.append(("Content-Type", scripted.content_type))
        source, tag = self._sources[id(request)], self._tags[id(request)]
        if 200 <= scripted.status < 300 and not tag_of(request.header("to")):
            self._accepted(request, tag)
        data = build_response(
            request, scripted.status, scripted.reason, to_tag=tag, source=source, headers=headers, body=scripted.body
        )
        return [Reply(data, source, scripted.delay)]

    def _accepted(self, request: Request, tag: str) -> None:
        """The dialog as the side that was called has it (§12.1.1)."""
        if request.method not in ("INVITE", "SUBSCRIBE", "REFER"):
            return
        try:
            target = parse_name_addr(split_list(request.header("contact") or "")[0]).uri
            local, remote = (parse_name_addr(request.header(name) or "") for name in ("to", "from"))
        except (SipSyntaxError, IndexError):
            return
        dialog = Dialog(request.header("call-id") or "", local.uri, tag, remote.uri, target)
        dialog.remote_tag = remote.params.get("tag") or ""
        dialog.route_set = tuple(value for line in request.headers("record-route") for value in split_list(line))
        self.dialogs.append(dialog)

    def _cancelled(self, cancel: Request) -> list[Reply]:
        """487 to the INVITE, unless it has its final response (§9.2)."""
        key = (cancel.branch() or "", "INVITE")
        waits = key in self._answered and not any(_is_final(reply.data) for reply in self._answered[key])
        for request in self.requests:
            if waits and (request.branch(), request.method) == key:
                return self.answer(request, Scripted(487))
        return []

    # What goes out

    def request(
        self,
        method: str,
        uri: str = "",
        *,
        dialog: Dialog | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str | None = None,
        destination: Address | None = None,
    ) -> tuple[Exchange, list[Reply]]:
        """A request to ``uri``, or in ``dialog``; the exchange fills as answers come in.

        Raises ValueError when neither ``destination`` nor the next hop nor an address says where it goes.
        """
        if dialog is None:
            dialog = Dialog(f"{self._token()}@peer", self.aor, self._token(), uri, uri)
        request_uri, routes = routed(dialog.target, dialog.route_set)
        lines = [("Route", route) for route in routes]
        if method in WITH_CONTACT:
            lines.append(("Contact", f"<{self.uri}>"))
        lines += headers
        if content_type is not None:
            lines.append(("Content-Type", content_type))
        address = destination or self.next_hop or address_of(routes[0] if routes else request_uri)
        if address is None:
            raise ValueError(f"nothing says where a request to {request_uri} goes; give a destination")
        exchange = Exchange(method, request_uri, lines, body, address, dialog)
        return exchange, [self._send(exchange, dialog.next_cseq())]

    def cancel(self, exchange: Exchange) -> list[Reply]:
        """CANCEL an INVITE that is not answered yet (§9.1)."""
        *_, branch = (branch for branch, known in self._exchanges.items() if known is exchange)
        return [self._sent("CANCEL", exchange, branch, exchange.dialog.local_cseq, exchange.dialog.to_value)]

    def _send(self, exchange: Exchange, number: int, extra: Sequence[tuple[str, str]] = ()) -> Reply:
        branch = f"z9hG4bK{self._token()}"
        self._exchanges[branch] = exchange
        dialog = exchange.dialog
        return self._sent(
            exchange.method, exchange, branch, number, dialog.to_value, (*exchange.headers, *extra), exchange.body
        )

    def _sent(
        self,
        method: str,
        exchange: Exchange,
        branch: str,
        number: int,
        to: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Reply:
        host = self.uri.rpartition("@")[2].removeprefix("sip:").partition(";")[0]
        lines = [
            ("Via", f"SIP/2.0/UDP {host};branch={branch};rport"),
            ("Max-Forwards", "70"),
            ("From", exchange.dialog.from_value),
            ("To", to),
            ("Call-ID", exchange.dialog.call_id),
            ("CSeq", f"{number} {method}"),
            *headers,
        ]
        return Reply(build_request(method, exchange.uri, lines, body), exchange.destination)

    def _responded(self, response: Response, number: int, method: str) -> list[Reply]:
        branch = response.branch() or ""
        exchange = self._exchanges.get(branch)
        if exchange is None or method != exchange.method:
            return []
        tag = tag_of(response.header("to"))
        if response.status >= 300 and method == "INVITE":
            ack = [self._sent("ACK", exchange, branch, number, response.header("to") or "")]  # §17.1.1.3
        else:
            ack = []
        if response.status in (401, 407) and self.credentials is not None and not exchange.proven:
            return ack + self._prove(exchange, response)
        exchange.responses.append(response)
        if tag and 100 < response.status < 300 and exchange.dialog.remote_tag == "":
            replies = self._dialog_made(exchange, response, tag, number)
        elif 200 <= response.status < 300 and method == "INVITE":
            exchange.dialog.answered(response)
            replies = [self._acknowledge(exchange.dialog, exchange, number)]
        else:
            replies = []
        return ack + replies

    def _dialog_made(self, exchange: Exchange, response: Response, tag: str, number: int) -> list[Reply]:
        """An early or confirmed dialog of a request outside of dialogs (§12.1.2, RFC 3262 §4)."""
        dialog = exchange.dialogs.get(tag)
        if dialog is None:
            dialog = exchange.dialogs[tag] = msgspec.structs.replace(exchange.dialog)
        dialog.answered(response)
        if response.status >= 200:
            return [self._acknowledge(dialog, exchange, number)] if exchange.method == "INVITE" else []
        if response.header("rseq") is None:
            return []
        rack = ("RAck", f"{response.header('rseq')} {number} INVITE")
        _, replies = self.request("PRACK", dialog=dialog, headers=[rack], destination=exchange.destination)
        return replies

    def _acknowledge(self, dialog: Dialog, exchange: Exchange, number: int) -> Reply:
        """The ACK to a 2xx, the same for each retransmission of it (§13.2.2.4)."""
        key = (f"{dialog.call_id} {number}", dialog.remote_tag)
        ack = self._acks.get(key)
        if ack is None:
            uri, routes = routed(dialog.target, dialog.route_set)
            own = Exchange("ACK", uri, [], b"", exchange.destination, dialog)
            branch = f"z9hG4bK{self._token()}"
            lines = [("Route", route) for route in routes]
            ack = self._acks[key] = self._sent("ACK", own, branch, number, dialog.to_value, lines)
        return ack

    def _prove(self, exchange: Exchange, challenge: Response) -> list[Reply]:
        """The request again with credentials (§22)."""
        assert self.credentials is not None
        username, password = self.credentials
        exchange.proven = True
        proxy = challenge.status == 407
        offered = digest.strongest(
            digest.parse_challenges(challenge.headers("proxy-authenticate" if proxy else "www-authenticate"), proxy)
        )
        if offered is None:
            exchange.responses.append(challenge)
            return []
        value = digest.authorization(
            offered,
            username=username,
            ha1=digest.ha1(offered.algorithm, username, offered.realm, password),
            method=exchange.method,
            uri=exchange.uri,
            nonce_count=1,
            cnonce=self._token(),
            body=exchange.body,
        )
        name = "Proxy-Authorization" if proxy else "Authorization"
        return [self._send(exchange, exchange.dialog.next_cseq(), [(name, value)])]

    def _token(self) -> str:
        return f"{self._random.getrandbits(64):016x}"


def _is_final(data: bytes) -> bool:
    return data[8:9] >= b"2"
