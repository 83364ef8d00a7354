"""What must be true of every REGISTER that the service sends, judged by its bytes alone."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable

import msgspec

from sipprofile.registration.actions import TransportKey
from sipprofile.registration.ghosts import GHOST_CSEQS
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import MalformedMessage, Request, Response, parse
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.trace import Trace

FOLLOW_UP = 6.0  # seconds after a challenge or 423 within which the next request obeys it; a reservation may take 5

OPENING = 0.1  # seconds for which a drawn request may have waited for its connection
SERVED_KEPT = 1000
AT_ONCE = frozenset((401, 407, 420, 421, 423, 439))  # answers that the next request obeys without a new attempt

_nonce = re.compile(r'\bnonce="([^"]*)"').search
_count = re.compile(r"\bnc=([0-9a-f]{8})").search


class _Sequence(msgspec.Struct):
    """The last request of one Call-ID to one registrar about one AOR."""

    cseq: int
    data: bytes


class Wire:
    """Watches the messages between the service and the network.

    ``overdrawn()`` is how many refreshes the service says it sent beyond its rate since it started.
    """

    def __init__(
        self, trace: Trace, settings: RegistrationSettings, now: Callable[[], float], overdrawn: Callable[[], int]
    ) -> None:
        self.registers = 0
        """REGISTER requests sent, retransmissions not counted."""
        self.attempts: dict[str, int] = {}
        """New attempts, by AOR."""
        self.tried_at: dict[str, float] = {}
        """When the last REGISTER was sent, by AOR."""
        self.accepted: dict[str, int] = {}
        """The highest CSeq that was answered with 200, by Call-ID."""
        self._trace = trace
        self._settings = settings
        self._now = now
        self._overdrawn = overdrawn
        self._sequences: dict[tuple[str, str, str], _Sequence] = {}
        self._counts: dict[str, int] = {}
        self._challenged: dict[str, float] = {}
        self._over: dict[str, str] = {}
        """The protocol of the last REGISTER of each Call-ID that has not been granted."""
        self._replacing: set[str] = set()
        """Call-IDs whose last request removes an old contact with the same stroke."""
        self._senders: set[str] = set()
        """The From headers, with the tags of their flows, since the service started."""
        self._served: dict[str, list[float]] = {}
        self._levels: dict[str, tuple[float, float]] = {}

    def restarted(self) -> None:
        """A service started: its buckets are full."""
        self._levels.clear()
        self._senders.clear()

    def received(self, data: bytes, key: TransportKey) -> None:
        """A message for the service has come in."""
        self._trace.note(f"received {_first_line(data)}", data)
        try:
            message = parse(data)
        except MalformedMessage:
            return
        if isinstance(message, Response):
            call_id = message.header("call-id") or ""
            # Who refuses two contacts at a time gets one at a time, at once.
            if message.status in AT_ONCE or (message.status >= 400 and call_id in self._replacing):
                self._challenged[call_id] = self._now()
            elif message.status == 200:
                served = self._served.setdefault(f"{key.protocol}:{key.host}:{key.port}", [])
                served.append(self._now())
                del served[:-SERVED_KEPT]
                self._over.pop(call_id, None)
                self.accepted[call_id] = max(self.accepted.get(call_id, 0), _cseq(message))

    def sent(self, key: TransportKey, data: bytes) -> None:
        """A message leaves the service."""
        self._trace.note(f"sent {key.protocol}:{key.host}:{key.port} {_first_line(data)}", data)
        if not data.startswith(b"REGISTER "):
            return
        request = parse(data)
        assert isinstance(request, Request)
        call_id, aor = request.header("call-id") or "", request.header("to") or ""
        if self._in_sequence(call_id, aor, request, data):
            self.registers += 1
            replaces = len(request.headers("contact")) > 1 and request.header("expires") != "0"
            (self._replacing.add if replaces else self._replacing.discard)(call_id)
            self.tried_at[aor] = self._now()
            self._check_nonces(request)
            if self._is_attempt(call_id, request):
                self.attempts[aor] = self.attempts.get(aor, 0) + 1
                # What TCP did not bring goes by UDP at once.
                self._draw(request.uri, waits=not (key.protocol == "udp" and self._over.get(call_id) == "tcp"))
            self._over[call_id] = key.protocol

    def first_served(self, target: str, after: float) -> float | None:
        """When the first 200 after ``after`` came from ``target``, as far as that is remembered."""
        served = self._served.get(target, [])
        place = bisect.bisect_right(served, after)
        return served[place] if place < len(served) else None

    def _in_sequence(self, call_id: str, aor: str, request: Request, data: bytes) -> bool:
        """RFC 3261 §10.2: CSeq rises for every REGISTER with the same Call-ID. False for a retransmission."""
        cseq, _ = request.cseq()
        place = (call_id, request.uri, aor)
        last = self._sequences.get(place)
        if last is not None and cseq <= last.cseq:
            if data == last.data:
                return False
            removes = request.header("expires") == "0" and request.header("from") in self._senders
            if removes and last.cseq - cseq < 2 * GHOST_CSEQS:
                return True  # numbers set aside to remove a moved profile's old binding; a redirection made both one
            raise Violation(Promise.CSEQ, f"CSeq went back from {last.cseq} to {cseq} for {place}")
        self._senders.add(request.header("from") or "")
        self._sequences[place] = _Sequence(cseq, data)
        return True

    def _check_nonces(self, request: Request) -> None:
        """RFC 7616 §3.4: the nonce count rises with every request that uses the nonce."""
        for name in ("authorization", "proxy-authorization"):
            for line in request.headers(name):
                nonce, count = _nonce(line), _count(line)
                if nonce is None or count is None:
                    continue
                used = int(count[1], 16)
                last = self._counts.get(nonce[1], 0)
                if used <= last:
                    raise Violation(Promise.NONCE_COUNT, f"nonce count went from {last} to {used}")
                self._counts[nonce[1]] = used

    def _is_attempt(self, call_id: str, request: Request) -> bool:
        """Whether it begins something: de-registrations and answers to challenges do not wait for the bucket."""
        challenged = self._challenged.pop(call_id, None)
        if challenged is not None and self._now() - challenged <= FOLLOW_UP:
            return False
        return request.header("expires") not in (None, "0")

    def _draw(self, uri: str, waits: bool) -> None:
        settings = self._settings
        now = self._now()
        level, at = self._levels.get(uri, (settings.burst, now))
        level = min(settings.burst, level + (now - at) * settings.rate) - 1.0
        self._levels[uri] = level, now
        late = settings.rate * OPENING  # a request that waits for its connection was drawn before
        if waits and level < -self._overdrawn() - late - 1e-6:
            raise Violation(Promise.BUCKET, f"more attempts at {uri} than the bucket has: level {level:.2f}")


def _cseq(response: Response) -> int:
    try:
        return response.cseq()[0]
    except MalformedMessage:
        return 0


def _first_line(data: bytes) -> str:
    return data[:200].partition(b"\r\n")[0].decode("ascii", "backslashreplace") or "keepalive"
