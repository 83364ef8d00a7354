"""The addresses of a plan's first hops, in order of preference (RFC 3263 §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..agents.base import Hop, Plan
from ..profile import Identity
from ..sip.locating import Candidate
from .actions import TransportKey

if TYPE_CHECKING:
    from .registrations import Registrations


class Target(msgspec.Struct, frozen=True, gc=False):
    """One resolved address to send to, with the hop it came from."""

    key: TransportKey
    hop: int
    """Index of the hop in the plan."""


def targets_of(room: Registrations, hops: tuple[Hop, ...], dscp: int | None) -> list[Target]:
    """All targets of a plan that are known, in the order of one attempt; those of equal priority differ in it."""
    found = []
    for index, hop in enumerate(hops):
        for protocol, address, port in room.locations.candidates(hop.server, room.random):
            key = TransportKey(protocol, address, port, dscp, identity_of(hop, protocol))
            found.append(Target(room.network.current(key), index))
    return found


def identity_of(hop: Hop, protocol: str) -> Identity | None:
    """Whom a connection to ``hop`` must lead to: the configured domain, whatever DNS makes of it (RFC 5922 §4)."""
    if protocol in ("udp", "tcp"):
        return None
    return hop.identity or Identity(hop.server.host.strip("[]"))


def hop_of(room: Registrations, plan: Plan, key: TransportKey, otherwise: int, now: float) -> int:
    """The index of the hop that ``key`` belongs to; ``otherwise`` when that is no longer known."""
    candidate = Candidate(key.protocol, key.host, key.port)
    for index, hop in enumerate(plan.hops):
        room.locations.known(hop.server, now)
        if room.locations.contains(hop.server, candidate) and identity_of(hop, key.protocol) == key.identity:
            return index
    return otherwise if otherwise < len(plan.hops) else 0
