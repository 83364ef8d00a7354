"""The server transactions of all profiles, and how many of them there may be (RFC 3261 §17.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ..registration.actions import TransportKey
from ..sip.transaction.invite_server import InviteServerTransaction
from ..sip.transaction.server import ServerTransaction
from .delays import Delays
from .incoming import Incoming
from .rate import Rate
from .ringing import Ringing

if TYPE_CHECKING:
    from ..registration.registrations import Registrations

MAXIMUM_OPEN = 20_000
"""Requests without a final answer, and INVITEs until their transaction ends."""
MAXIMUM_HELD = 64 << 20
"""Bytes of these requests: their bodies are strangers' too."""
LARGE = 4096
"""Bytes; larger requests have half of that, so that there is always room for the others."""
MAXIMUM_ANSWERED = 65_536
"""Answers kept for retransmissions: 64·T1 of more than 2,000 a second. Beyond it the oldest go early, when whoever has
got an answer has long stopped asking."""
MAXIMUM_AGAIN = 32
"""How often an answer goes out again because its request does: a client repeats one 10 times (RFC 3261 §17.1), and a
stranger with the address of somebody else must not have long answers sent there for ever."""
TRYING_AFTER = 0.2  # seconds, RFC 3261 §17.2.1
ANSWER_WITHIN = 0.9
"""Of 64·T1: a final answer to another request than INVITE that goes out later is not heard (RFC 4321 §1.2)."""

Due = Callable[[Incoming, float], None]


class Served(msgspec.Struct, gc=False):
    """A server transaction with what it has sent last."""

    machine: ServerTransaction | InviteServerTransaction
    number: int
    """Of the :class:`~.incoming.Incoming`."""
    back: TransportKey
    """Where the responses go."""
    data: bytes = b""
    size: int = 0
    """Bytes of the request."""
    again: int = 0
    """How often something went out because the request came again."""

    def __repr__(self) -> str:
        return f"Served(number={self.number}, state={self.machine.state}, …)"


class ServerTransactions:
    """The tables. ``trying`` and ``late`` are called for a request that has waited for an answer for a while, and
    ``rung`` for an INVITE, see :class:`~.ringing.Ringing`."""

    def __init__(
        self,
        room: Registrations,
        find: Callable[[int], Incoming | None],
        answers: int,
        requests: int,
        trying: Due,
        late: Due,
        rung: Due,
    ) -> None:
        """``answers``: how many requests a second that nobody wants are answered, those of strangers and those for
        profiles each; ``requests``: how many others. ``find``: a request that is being answered, by its number."""
        self._find = find
        self._trying = trying
        self._late = late
        self.by_key: dict[str, Served] = {}
        self.merged: dict[str, str] = {}
        """Transactions by what the copies of a forked request have in common (RFC 3261 §8.2.2.2)."""
        self.unacknowledged: dict[tuple[int, int], Incoming] = {}
        """INVITEs whose 2xx waits for its ACK, by number of the leg and CSeq."""
        self.open = 0
        """Transactions that count against :data:`MAXIMUM_OPEN`."""
        self.held = 0
        """Bytes that count against :data:`MAXIMUM_HELD`."""
        self.unwanted = Rate(answers)
        self.unclaimed = Rate(answers)
        """Of requests for a profile, and from where one is registered: no stranger uses that up."""
        self.wanted = Rate(requests)
        t1, t2 = room.settings.t1, room.settings.t2
        # Numbers: what is answered meanwhile is not kept for its deadline.
        self.ringing = Ringing(room, rung)
        self.invited = Delays[int](room, TRYING_AFTER, 0.0, self._still_invited)
        trying_after, interval = 0.0, t1
        while interval < t2:  # RFC 4320 §4.1: no 100 before timer E has come to T2
            trying_after += interval
            interval *= 2
        self.requested = Delays[int](room, trying_after, 0.1, self._still_open)
        self._lates = Delays[int](room, ANSWER_WITHIN * 64 * t1 - trying_after, 0.1, self._too_late)
        self._answered = Delays(room, 64 * t1, 0.5, self._forget)

    @property
    def refused(self) -> int:
        """Requests that nobody wanted and that were not answered, because there were too many."""
        return self.unwanted.refused + self.unclaimed.refused

    def begin(self, served: Served, incoming: Incoming, now: float) -> None:
        """A transaction begins."""
        self.by_key[incoming.transaction] = served
        self.merged[incoming.merged] = incoming.transaction
        self.open += 1
        served.size = incoming.request.head_size + len(incoming.request.body)
        self.held += served.size
        if incoming.request.method == "INVITE":
            self.invited.add(incoming.number, now)
        else:
            self.requested.add(incoming.number, now)

    def answered(self, incoming: Incoming, reliable: bool, now: float) -> None:
        """A request other than INVITE got its final answer, which is kept for retransmissions (timer J).

        Over a connection there are none, but copies of it may still come (RFC 3261 §8.2.2.2).
        """
        served = self.by_key.get(incoming.transaction)
        if served is not None:
            self._closed(served)
        if reliable:
            self.by_key.pop(incoming.transaction, None)
        if len(self._answered) >= MAXIMUM_ANSWERED:
            self._answered.hurry(now)
        self._answered.add(("" if reliable else incoming.transaction, incoming.merged), now)

    def acknowledged(self, transaction: str) -> None:
        """The refusal of an INVITE was acknowledged on a connection, where it does not come again (timer I)."""
        served = self.by_key.pop(transaction, None)
        if served is not None:
            self._closed(served)

    def end(self, incoming: Incoming) -> None:
        """The transaction is over and nothing of it is kept."""
        served = self.by_key.get(incoming.transaction)
        if served is not None and served.number == incoming.number:
            del self.by_key[incoming.transaction]
            self._closed(served)
        self.merged.pop(incoming.merged, None)
        self.ringing.stop(incoming.number)

    def has_room(self, size: int, share: float) -> bool:
        """Whether a request of ``size`` bytes may be kept; ``share``: of the limits, for this kind of request."""
        most = share * (MAXIMUM_HELD if size <= LARGE else MAXIMUM_HELD // 2)
        return self.open < share * MAXIMUM_OPEN and self.held + size <= most

    def _closed(self, served: Served) -> None:
        self.open -= 1
        self.held -= served.size

    def _still_invited(self, number: int, now: float) -> None:
        incoming = self._find(number)
        if incoming is not None:
            self._trying(incoming, now)

    def _still_open(self, number: int, now: float) -> None:
        incoming = self._find(number)
        if incoming is not None and not incoming.final:
            self._trying(incoming, now)
            self._lates.add(number, now)

    def _too_late(self, number: int, now: float) -> None:
        incoming = self._find(number)
        if incoming is not None:
            self._late(incoming, now)

    def _forget(self, item: tuple[str, str], now: float) -> None:
        transaction, merged = item
        self.by_key.pop(transaction, None)
        self.merged.pop(merged, None)
