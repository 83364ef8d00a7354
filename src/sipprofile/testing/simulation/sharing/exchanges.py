"""The server transactions of the service as the wire shows them: each has exactly one final answer, in time."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import MalformedMessage, Request, Response, parse
from sipprofile.testing.simulation.promise import Promise, Violation

EXCHANGE = "X-Exchange"
"""The header that tells one request of a simulation from all others."""
WITHIN = 32.0  # seconds: 64·T1, when whoever has asked stops listening (RFC 3261 §17.1.2.2)
RINGING = 181.0  # seconds: timer C of a proxy, from the last provisional of the called (RFC 3261 §16.6)
AT_ONCE = 1.0  # seconds
REMEMBERED = 100.0  # seconds after the final answer; everything that repeats itself has stopped


def exchange_of(number: str, call_id: str) -> str:
    """One request: a subscription or publication that is begun anew has the number of the first; '' without one."""
    return f"{number} in {call_id}" if number else ""


class Served(msgspec.Struct, eq=False):
    """One request that the service got, and what it has answered."""

    method: str
    exchange: str
    at: float
    progress: bytes = b""
    progress_at: float = 0.0
    """When another provisional response than before was sent last."""
    final: bytes = b""
    status: int = 0
    answered_at: float = 0.0
    cancelled_at: float = 0.0
    """When its CANCEL was answered with 200."""
    unwanted: bool = False
    """Nobody has claimed it: it is refused without a transaction (RFC 3261 §8.2.7), and a copy is looked at anew."""


class Exchanges:
    """Watches requests for the service and its responses. ``now`` is simulated time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.served = 0
        """How many requests came in, without retransmissions."""
        self._now = now
        self._by_transaction: dict[tuple[str, str], Served] = {}
        self._by_exchange: dict[str, Served] = {}

    def restarted(self) -> None:
        """A service that was killed may owe answers."""
        self._by_transaction.clear()
        self._by_exchange.clear()

    def received(self, data: bytes, key: TransportKey) -> Request | None:
        """A message for the service; the request, unless it has come before."""
        try:
            message = parse(data)
        except MalformedMessage:
            return None
        if not isinstance(message, Request) or message.method == "ACK":
            return None
        transaction = message.branch() or "", message.method
        known = self._by_transaction.get(transaction)
        # Over a connection a late copy is a request again too: nothing is kept for retransmissions there.
        if known is not None and (not known.final or (key.protocol == "udp" and not known.unwanted)):
            return None
        self.served += 1
        served = Served(
            message.method,
            exchange_of(message.header(EXCHANGE.lower()) or "", message.header("call-id") or ""),
            self._now(),
        )
        self._by_transaction[transaction] = served
        first = self._by_exchange.get(served.exchange)
        if served.exchange and message.method != "CANCEL" and (first is None or first.unwanted):
            self._by_exchange[served.exchange] = served
        return message

    def sent(self, data: bytes) -> None:
        """A message of the service."""
        if not data.startswith(b"SIP/2.0 "):
            return
        response = parse(data)
        assert isinstance(response, Response)
        served = self._by_transaction.get((response.branch() or "", response.cseq()[1]))
        if served is None:
            raise Violation(Promise.ONE_ANSWER, f"a response to nothing: {response.start_line}")
        if response.status < 200:
            if served.final:
                raise Violation(Promise.ONE_ANSWER, f"{response.status} after the final answer {served.status}")
            if data != served.progress:
                served.progress, served.progress_at = data, self._now()
        elif not served.final:
            served.final, served.status, served.answered_at = data, response.status, self._now()
            invite = self._by_transaction.get((response.branch() or "", "INVITE"))
            if served.method == "CANCEL" and response.status == 200 and invite is not None:
                invite.cancelled_at = self._now()
        elif data != served.final:
            text = f"{served.method} {served.exchange} got {served.status} and then {response.status}, another answer"
            raise Violation(Promise.ONE_ANSWER, text)

    def of(self, exchange: str) -> Served | None:
        """The request with this number, if the service that runs got it."""
        return self._by_exchange.get(exchange)

    def check(self) -> None:
        """Nobody waits too long."""
        now = self._now()
        for transaction, served in list(self._by_transaction.items()):
            if served.final:
                if now > served.answered_at + REMEMBERED:
                    del self._by_transaction[transaction]
            elif now > self._due(served):
                waited = now - served.at
                raise Violation(Promise.ONE_ANSWER, f"{served.method} {served.exchange} waits for {waited:.0f} s")

    def _due(self, served: Served) -> float:
        if served.method != "INVITE":
            return served.at + WITHIN
        if served.cancelled_at:
            return served.cancelled_at + AT_ONCE  # RFC 3261 §9.2
        return max(served.at, served.progress_at) + RINGING
