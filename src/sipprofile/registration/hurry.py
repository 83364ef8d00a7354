"""The first answer after a silence: no lease ends for want of asking, and older silence says little.

A request over UDP is sent again every T2 = 4 s in the end (RFC 3261 §17.1.2.2, timer E). A registrar that comes back in
between would see leases end that live now, and the time-out of a request (timer F) half a second after its last
retransmission says little about a registrar that came back meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .actions import TransportKey
from .registration import SENT, Flow

if TYPE_CHECKING:
    from .registrations import Registrations

SOON = 5.0  # seconds in which those try again whose last retransmission came too early


def retransmit(room: Registrations, key: TransportKey, now: float) -> None:
    """``key`` answers again: who would lose a lease before the next retransmission retransmits now, at the rate of the
    bucket, the earliest lease end first. No request is sent more often than its turns allow, only sooner."""
    transport = room.transports.get(key)
    if transport is None:
        return
    waiting = [room.flows[identity] for identity in transport.active if identity in room.flows]
    late = [flow for flow in waiting if flow.phase == SENT and now < flow.lease_end <= flow.retransmit_at]
    late.sort(key=lambda flow: flow.lease_end)
    for place, flow in enumerate(late):
        at = now + place / room.settings.rate
        if at < flow.retransmit_at:
            flow.retransmit_at = at
            room.arm(flow, at)


def came_back(room: Registrations, flow: Flow) -> bool:
    """Whether the target of a request that timed out answered somebody after the last retransmission; believed once."""
    assert flow.key is not None
    if not flow.retransmit_at or flow.failures:
        return False
    return room.health_of(flow.key).answered_at > flow.retransmit_at - flow.interval
