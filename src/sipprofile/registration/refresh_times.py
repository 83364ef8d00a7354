"""Refreshes share times, since beginning with something else is most of what a few of them cost (measured: 90 µs each
where 8 are sent together, 40 where 128 are).

But what is sent at one time must fit into the receive buffer of a registrar, and leave others something in the bucket:
where a time has enough of them, an earlier one on a finer grid is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .refresh import FINEST_GRID, grid_of, refresh_delay
from .settings import RegistrationSettings

if TYPE_CHECKING:
    from .registration import Flow
    from .registrations import Registrations

MOST = 128
"""Refreshes that share a time: a socket with the receive buffer that Linux gives it (212,992 bytes) holds more."""
WHILE_SENT = 0.01  # seconds in which those are sent, and in which the bucket gets further tokens
KEPT = 20_000  # times
FEW = 4  # refreshes at one time, whose objects take less memory than finding one for all of them


class RefreshTimes:
    """How many refreshes were given each time."""

    __slots__ = ("_given", "_most", "_shared")

    def __init__(self, settings: RegistrationSettings) -> None:
        self._most = min(MOST, (settings.burst + settings.rate * WHILE_SENT) / 2)
        self._given: dict[float, int] = {}
        self._shared: dict[float, float] = {}
        """The times that many have, as one object for each."""

    def __len__(self) -> int:
        return len(self._given)

    def next(self, since: float, granted: float, fraction: float) -> float:
        """When to refresh what was granted ``since``: never later than alone; see :func:`~.refresh.refresh_delay`."""
        given = self._given
        alone = since + refresh_delay(granted, fraction)
        grid = grid_of(granted)
        at = alone - alone % grid
        before = given.get(at, 0)
        while before >= self._most and grid > FINEST_GRID:
            grid /= 2
            at = alone - alone % grid
            before = given.get(at, 0)
        if not before and len(given) >= KEPT:
            self._forget(since)
        self._given[at] = before + 1
        return at if before < FEW else self._shared.setdefault(at, at)

    def _forget(self, now: float) -> None:
        """Times that have passed; all of them where too many are still to come, as with leases of years."""
        self._shared = {}
        self._given = {at: count for at, count in self._given.items() if at > now}
        if len(self._given) > KEPT // 2:
            self._given = {}


def refresh_at(room: Registrations, flow: Flow, granted: float) -> float:
    """When to renew the lease that was granted to the request which ``flow`` has sent."""
    if 0 < flow.refresh_at <= flow.sent_at:
        # It was woken for this refresh, so no entry of its timers is left for later: it need not wait for the one of a
        # retransmission, which has become pointless.
        flow.wake_at = 0.0
    return room.refresh_times.next(flow.sent_at, granted, room.random.random())
