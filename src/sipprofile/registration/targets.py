"""The addresses of a plan's first hops, in order of preference (RFC 3263 §4)."""

from __future__ import annotations

import msgspec

from ..agents.base import Hop, Plan
from .actions import TransportKey


class Target(msgspec.Struct, frozen=True, gc=False):
    """One resolved address to send to, with the hop it came from."""

    key: TransportKey
    hop: int
    """Index of the hop in the plan."""


class Host:
    """One name and what it resolved to."""

    __slots__ = ("addresses", "asked_at", "expires_at", "failure", "waiting")

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.expires_at = 0.0
        self.asked_at = 0.0
        """When the query under way was made; 0 = none is."""
        self.failure = ""
        """Error code of the last query, or empty."""
        self.waiting: set[int] = set()


def targets_of(hops: tuple[Hop, ...], hosts: dict[str, Host], dscp: int | None) -> list[Target]:
    """All targets of a plan that are known, in order of preference."""
    found = []
    for index, hop in enumerate(hops):
        host = hosts.get(hop.host)
        for address in host.addresses if host is not None else ():
            found.append(Target(TransportKey(hop.protocol, address, hop.port, dscp, hop.identity), index))
    return found


def hop_of(plan: Plan, hosts: dict[str, Host], key: TransportKey, otherwise: int) -> int:
    """The index of the hop that ``key`` belongs to; ``otherwise`` when that is no longer known."""
    for target in targets_of(plan.hops, hosts, key.dscp):
        if target.key == key:
            return target.hop
    for index, hop in enumerate(plan.hops):
        if (hop.host.strip("[]"), hop.port, hop.protocol) == (key.host, key.port, key.protocol):
            return index
    return otherwise if otherwise < len(plan.hops) else 0
