"""The addresses of a first hop and their health (RFC 3263 §4.3; a failed target is remembered for everybody)."""

from __future__ import annotations

import msgspec

from ..agents.base import Hop
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


class Health:
    """What is known about one address, over all profiles.

    A target is down after a failure, unless it answered somebody else since the failed attempt began: then the
    failure is that one profile's. While it is down a canary tries it, another profile each time.
    """

    __slots__ = ("answered_at", "canary", "canary_at", "down_since", "waiting")

    def __init__(self) -> None:
        self.answered_at = -1.0
        self.down_since = 0.0
        """0 = up."""
        self.canary = 0
        """The flow that is trying it now; 0 = none."""
        self.canary_at = 0.0
        self.waiting: set[int] = set()

    @property
    def down(self) -> bool:
        """Whether it is to be avoided."""
        return self.down_since > 0.0


def targets_of(hops: tuple[Hop, ...], hosts: dict[str, Host], dscp: int | None) -> list[Target]:
    """All targets of a plan, in order of preference."""
    found = []
    for index, hop in enumerate(hops):
        for address in hosts[hop.host].addresses:
            found.append(Target(TransportKey(hop.protocol, address, hop.port, dscp), index))
    return found
