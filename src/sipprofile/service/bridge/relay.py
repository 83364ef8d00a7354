"""One request on its way through a bridge, and the pairs of legs that its calls are made of."""

from __future__ import annotations

import msgspec

from ...sip.message import Response
from ...useragent.incoming import Incoming
from ...useragent.leg import Leg
from ...useragent.outgoing import Outgoing

MOST_HELD = 16  # responses that wait for a PRACK, or requests that wait for a leg


class Relay(msgspec.Struct, eq=False):
    """A request that came in on one side, and the one that went out on the other."""

    incoming: Incoming
    outgoing: Outgoing
    acknowledges: dict[int, str] = {}
    """By the RSeq of a reliable provisional of ours: the RAck that it wants on the other side (RFC 3262 §7.2)."""
    held: list[tuple[Response, Leg | None]] = []
    """Responses that wait until a reliable provisional before them is acknowledged."""
    wanted: bool = True
    """Somebody waits for the answer."""

    def __repr__(self) -> str:
        return f"Relay(incoming={self.incoming!r}, …)"


class Pairs:
    """Which leg is the other one of a call. Of a forked call several legs have the same one, which has the last."""

    def __init__(self) -> None:
        self._others: dict[int, Leg] = {}
        self._referrals: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._others)

    def join(self, one: Leg, other: Leg) -> None:
        """They are the two sides of a call or subscription."""
        self._others[one.number] = other
        self._others[other.number] = one

    def other(self, leg: Leg) -> Leg | None:
        """The leg on the other side."""
        return self._others.get(leg.number)

    def part(self, leg: Leg) -> Leg | None:
        """``leg`` has ended; returns the other one if that has no other partner."""
        other = self._others.pop(leg.number, None)
        for key in [key for key in self._referrals if key[0] == leg.number] if self._referrals else ():
            del self._referrals[key]
        if other is None or self._others.get(other.number) is not leg:
            return None
        del self._others[other.number]
        return other

    def refer(self, one: Leg, number: int, other: Leg, other_number: int) -> None:
        """A REFER has these CSeq numbers, which name its subscription (RFC 3515 §2.4.6)."""
        if len(self._referrals) < 4 * max(len(self._others), MOST_HELD):
            self._referrals[one.number, number] = other_number
            self._referrals[other.number, other_number] = number

    def referral(self, leg: Leg, number: int) -> int | None:
        """The CSeq on the other side of the REFER with this one in ``leg``."""
        return self._referrals.get((leg.number, number))
