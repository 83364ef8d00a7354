"""Scripted user agents on the virtual network: they repeat what may be lost, answer at random and know their calls."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.dialog import Dialog, tag_of
from sipprofile.sip.message import MalformedMessage, Request, Response, parse
from sipprofile.testing.peer import SDP, Exchange, Scripted, SipPeer
from sipprofile.testing.reply import Reply
from sipprofile.testing.simulation.sharing.deaths import Deaths
from sipprofile.testing.simulation.sharing.deliveries import Deliveries
from sipprofile.testing.simulation.sharing.exchanges import EXCHANGE
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import VirtualClock
from sipprofile.testing.virtual_nat import Address
from sipprofile.testing.virtual_network import VirtualNetwork
from sipprofile.testing.virtual_transports import VirtualTransports

SENDER = "X-Program"
"""The session that sends or answers, and its profile: ``app1/3 7``."""
MEANT = "X-For"
"""The session that a request in a dialog is for."""
T1, T2 = 0.5, 4.0  # seconds
GIVE_UP = 64 * T1
OFFER = "application/sdp"
REFUSALS = (404, 480, 486, 488, 603)


class Peer:
    """One of them. ``proxy`` is where all that it sends goes."""

    def __init__(
        self,
        name: str,
        address: str,
        proxy: Address,
        network: VirtualNetwork,
        clock: VirtualClock,
        random: random.Random,
        trace: Trace,
        deliveries: Deliveries,
        deaths: Deaths,
    ) -> None:
        self.name = name
        self.sip = SipPeer(f"sip:{name}@{address}:5060", random=random, next_hop=proxy)
        self.calls: dict[str, Dialog] = {}
        """Confirmed calls by Call-ID."""
        self.subscriptions: dict[str, Dialog] = {}
        """Its own, by Call-ID."""
        self._clock = clock
        self._random = random
        self._trace = trace
        self._deliveries = deliveries
        self._deaths = deaths
        self._labels: dict[str, tuple[str, int]] = {}
        self._asked: dict[tuple[str, str], Exchange] = {}
        self._heard: set[tuple[str, str]] = set()
        """What came in of calls: Call-ID with the method."""
        self._transports = VirtualTransports(
            network,
            (address, 5060),
            received=self._received,
            opened=lambda *_: None,
            failed=lambda *_: None,
        )

    # What it does

    def send(self, method: str, aor: str, profile: int) -> None:
        """A request outside of dialogs to a profile of the service."""
        chosen = self._random
        headers: list[tuple[str, str]] = []
        body, content_type = b"", None
        if chosen.random() < 0.15:
            headers.append(("Accept-Contact", "*;video"))
        if method == "INVITE":
            if chosen.random() < 0.8:
                body, content_type = SDP, OFFER
            if chosen.random() < 0.3:
                headers.append(("Supported", "100rel"))
        elif method in ("MESSAGE", "INFO"):
            body, content_type = b"hello", chosen.choice(("text/plain", "text/plain", "image/png"))
        elif method in ("SUBSCRIBE", "NOTIFY"):
            headers.append(("Event", chosen.choice(("message-summary", "presence"))))
            headers.append(
                ("Expires", str(chosen.choice((90, 400))))
                if method == "SUBSCRIBE"
                else ("Subscription-State", "active")
            )
        elif method == "REFER":
            headers.append(("Refer-To", "<sip:carol@example.test>"))
        headers.append((EXCHANGE, self._deliveries.new(profile)))
        self._trace.note(f"{self.name} {method} {headers[-1][1]} to {aor}")
        exchange = self._request(method, aor, headers=headers, body=body, content_type=content_type)
        if method == "INVITE" and chosen.random() < 0.3:
            self._clock.after(0.3 + 5.0 * chosen.random(), self._cancel, exchange)

    def in_call(self) -> None:
        """Something in one of its calls, if it has any."""
        if self.calls:
            call_id = self._random.choice(list(self.calls))
            method = self._random.choice(("INFO", "INVITE", "UPDATE", "MESSAGE", "BYE", "BYE"))
            if method == "BYE":
                self.hang_up(call_id)
            else:
                body = SDP if method in ("INVITE", "UPDATE") else b"hello"
                self._in_dialog(
                    method, self.calls[call_id], body=body, content_type=OFFER if body is SDP else "text/plain"
                )

    def unsubscribe(self) -> None:
        """Want no more of one of its subscriptions."""
        if self.subscriptions:
            call_id, dialog = self.subscriptions.popitem()
            self._in_dialog("SUBSCRIBE", dialog, headers=[("Event", "presence"), ("Expires", "0")])
            self._deaths.ended(self.name, call_id)

    def hang_up(self, call_id: str) -> None:
        """End a call."""
        dialog = self.calls.pop(call_id, None)
        if dialog is not None:
            self._deaths.ended(self.name, call_id)
            self._in_dialog("BYE", dialog)

    # Sending

    def _in_dialog(
        self,
        method: str,
        dialog: Dialog,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> None:
        label, _ = self._labels.get(dialog.call_id, ("", 0))
        numbered = [*headers, (EXCHANGE, self._deliveries.new()), (MEANT, label)]
        self._trace.note(f"{self.name} {method} in {dialog.call_id}")
        self._request(method, "", dialog=dialog, headers=numbered, body=body, content_type=content_type)

    def _request(
        self,
        method: str,
        uri: str,
        *,
        dialog: Dialog | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Exchange:
        exchange, replies = self.sip.request(
            method, uri, dialog=dialog, headers=headers, body=body, content_type=content_type
        )
        self._asked[exchange.dialog.call_id, method] = exchange
        self._repeat(replies, partial(_is_heard, exchange), T1, self._clock.now + GIVE_UP)
        return exchange

    def _cancel(self, exchange: Exchange) -> None:
        if exchange.responses and exchange.final is None:
            self._trace.note(f"{self.name} CANCEL {exchange.dialog.call_id}")
            self._repeat(self.sip.cancel(exchange), lambda: exchange.final is not None, T1, self._clock.now + GIVE_UP)

    def _repeat(self, replies: list[Reply], done: partial[bool] | object, interval: float, end: float) -> None:
        """Send until it is ``done()``, later and later (RFC 3261 §17.1)."""
        assert callable(done)
        if done() or self._clock.now > end:
            return
        self._send(replies)
        self._clock.after(interval, self._repeat, replies, done, min(2 * interval, T2), end)

    def _send(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            self._clock.after(reply.delay, self._transports.send, TransportKey("udp", *reply.destination), reply.data)

    # What comes in

    def _received(self, data: bytes, source: Address, key: TransportKey) -> None:
        try:
            message = parse(data)
        except MalformedMessage:
            return
        before = len(self.sip.requests)
        if isinstance(message, Request) and not self.sip.knows(message):
            self._prepare(message)
        self._send(self.sip.receive(data, source))
        if isinstance(message, Response):
            self._responded(message)
        for request in self.sip.requests[before:]:
            self._requested(request)

    def _prepare(self, request: Request) -> None:
        """What the script says to a request."""
        method, script, inside = request.method, self.sip.script, bool(tag_of(request.header("to")))
        script.pop(method, None)
        if method == "INVITE":
            script[method] = [Scripted(200, body=SDP, content_type=OFFER) if inside else Scripted(180)]
        elif method == "PUBLISH":
            tag = request.header("sip-if-match") or f"{self._random.getrandbits(32):08x}"
            lasts = ("Expires", request.header("expires") or "600")
            script[method] = [Scripted(200, headers=(("SIP-ETag", tag), lasts))]
            self._published(request, tag, lasts[1] == "0")
        elif not inside and method in ("MESSAGE", "SUBSCRIBE", "INFO") and self._random.random() < 0.2:
            script[method] = [Scripted(self._random.choice(REFUSALS), delay=3.0 * self._random.random())]

    def _requested(self, request: Request) -> None:
        method, call_id = request.method, request.header("call-id") or ""
        self._heard.add((call_id, method))
        inside = bool(tag_of(request.header("to")))
        if method == "INVITE" and not inside:
            self._knows(call_id, request, method)
            self._clock.after(6.0 * self._random.random() ** 2, self._decide, request)
        elif method == "INVITE":
            self._acknowledged_or_repeated(request)
        elif method in ("BYE", "CANCEL"):
            self.calls.pop(call_id, None)
            if method == "BYE" or (call_id, "200") not in self._heard:
                self._deaths.ended(self.name, call_id)
        elif method == "SUBSCRIBE":
            self._subscribed(request, inside)
        elif method == "NOTIFY" and (request.header("subscription-state") or "").startswith("terminated"):
            self.subscriptions.pop(call_id, None)
            self._deaths.ended(self.name, call_id)

    def _knows(self, call_id: str, message: Request | Response, method: str) -> None:
        """Which session is on the other side, when the message says so."""
        label, _, profile = (message.header(SENDER.lower()) or "").partition(" ")
        if label:
            self._labels[call_id] = label, int(profile)
            self._deaths.began(self.name, call_id, label, int(profile), method)

    def _decide(self, request: Request) -> None:
        """Answer a call that rings, or let it ring."""
        call_id, chosen = request.header("call-id") or "", self._random.random()
        if (call_id, "CANCEL") in self._heard or chosen < 0.1:
            return
        if chosen < 0.3:
            self._deaths.ended(self.name, call_id)
            self._send(self.sip.answer(request, Scripted(self._random.choice(REFUSALS))))
            return
        self._heard.add((call_id, "200"))
        self._send(self.sip.answer(request, Scripted(200, body=SDP, content_type=OFFER)))
        self.calls[call_id] = next(dialog for dialog in self.sip.dialogs if dialog.call_id == call_id)
        self._acknowledged_or_repeated(request)
        if self._random.random() < 0.5:
            self._clock.after(40.0 * self._random.random(), self.hang_up, call_id)

    def _acknowledged_or_repeated(self, request: Request) -> None:
        """The 2xx again until its ACK comes (RFC 3261 §13.3.1.4)."""
        call_id, number = request.header("call-id"), request.cseq()[0]

        def acknowledged() -> bool:
            return any(
                each.method == "ACK" and each.header("call-id") == call_id and each.cseq()[0] == number
                for each in self.sip.requests
            )

        replies = self.sip._answered[request.branch() or "", "INVITE"][-1:]
        self._clock.after(
            T1, self._repeat, [Reply(each.data, each.destination) for each in replies], acknowledged, 2 * T1,
            self._clock.now + GIVE_UP,
        )  # fmt: skip

    def _subscribed(self, request: Request, inside: bool) -> None:
        """Somebody subscribes here, refreshes or ends that: a NOTIFY follows (RFC 6665 §4.2.1)."""
        call_id = request.header("call-id") or ""
        dialog = next((each for each in self.sip.dialogs if each.call_id == call_id), None)
        if dialog is None:
            return
        expires = request.header("expires") or "600"
        if not inside:
            self._knows(call_id, request, "SUBSCRIBE")
        if expires == "0":
            self._deaths.ended(self.name, call_id)
        state = "terminated;reason=timeout" if expires == "0" else f"active;expires={expires}"
        event = request.header("event") or ""
        headers = [("Event", event), ("Subscription-State", state)]
        self._clock.after(0.1, self._in_dialog, "NOTIFY", dialog, headers)

    def _published(self, request: Request, tag: str, over: bool) -> None:
        """Something is published here, refreshed or taken back (RFC 3903)."""
        if over:
            self._deaths.ended(self.name, tag)
        else:
            self._knows(tag, request, "PUBLISH")

    def _responded(self, response: Response) -> None:
        call_id, method = response.header("call-id") or "", response.cseq()[1]
        exchange = self._asked.get((call_id, method))
        if exchange is None or response.status == 100:
            return
        outside = not any(name == MEANT for name, _ in exchange.headers)
        tag = tag_of(response.header("to"))
        if response.status < 300 and method in ("INVITE", "SUBSCRIBE") and outside and tag in exchange.dialogs:
            self._knows(call_id, response, method)
            if response.status >= 200 and call_id not in self.calls and (call_id, "done") not in self._heard:
                self._heard.add((call_id, "done"))
                kept = self.calls if method == "INVITE" else self.subscriptions
                kept[call_id] = exchange.dialogs[tag]
                if method == "INVITE" and self._random.random() < 0.5:
                    self._clock.after(40.0 * self._random.random(), self.hang_up, call_id)
        elif response.status == 481 or (response.status >= 300 and outside):
            self.calls.pop(call_id, None)
            self.subscriptions.pop(call_id, None)
            self._deaths.ended(self.name, call_id)


def _is_heard(exchange: Exchange) -> bool:
    """Whether the request need not be sent again."""
    return bool(exchange.responses) if exchange.method == "INVITE" else exchange.final is not None
