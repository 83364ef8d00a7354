"""The first answer after a silence: no lease ends for want of asking, and older silence says little.

A request over UDP is sent again every T2 = 4 s in the end (RFC 3261 §17.1.2.2, timer E). A registrar that comes back in
between would see leases end that live now, and the time-out of a request (timer F) half a second after its last
retransmission says little about a registrar that came back meanwhile.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .actions import TransportKey
from .registration import SENT, Flow

if TYPE_CHECKING:
    from .registrations import Registrations

SOON = 5.0  # seconds in which those try again whose last retransmission came too early


def retransmit(room: Registrations, key: TransportKey, now: float) -> None:
    """``key`` answers again: who has no lease, or would lose it before the next retransmission, retransmits now.

    At the rate of the bucket, the earliest lease end first. No request gets more turns than it had, only one sooner.
    """
    transport = room.transports.get(key)
    if transport is None:
        return
    active = [room.flows[identity] for identity in transport.active if identity in room.flows]
    asking = [flow for flow in active if flow.phase == SENT and flow.retransmitted]
    late = [flow for flow in asking if flow.lease_end <= flow.retransmit_at]
    late.sort(key=lambda flow: flow.lease_end or inf)
    for place, flow in enumerate(late):
        at = now + place / room.settings.rate
        if at < flow.retransmit_at:  # which is 0 on a connection
            flow.retransmit_at = at
            room.arm(flow, at)


def came_back(room: Registrations, flow: Flow) -> bool:
    """Whether the target of a request that timed out answered somebody after the last retransmission; believed once."""
    assert flow.key is not None
    if not flow.retransmit_at or flow.failures:
        return False
    return room.health_of(flow.key).answered_at > flow.retransmit_at - flow.interval
