"""Responses of a server transaction, and what becomes of requests that nobody answers (RFC 3261 §8.2.6, §17.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..sip.message import build_response
from ..sip.transaction import State, Step
from . import in_dialog, inviting, legs

if TYPE_CHECKING:
    from .agent import UserAgent
    from .incoming import Incoming

UNAVAILABLE = 480


def transmit(
    agent: UserAgent,
    incoming: Incoming,
    status: int,
    now: float,
    *,
    reason: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> None:
    """Send a response and keep it for retransmissions. Raises ValueError for a line break in any part.

    What is not wanted any more is not sent: a second final response, or one to a request that is forgotten.
    """
    served = agent.server.by_key.get(incoming.transaction)
    if served is None or served.number != incoming.number:
        return
    data = build_response(
        incoming.request,
        status,
        reason,
        to_tag=incoming.tag,
        source=incoming.source,
        headers=headers,
        body=body,
    )
    if served.machine.response(status, now) is not Step.SEND:
        return
    incoming.status = status
    served.data = data
    agent.room.send(served.back, data)
    if incoming.invitation is not None:
        inviting.answered(agent, incoming, status, now)
    elif status >= 200:
        agent.server.answered(incoming, served.machine.state is State.TERMINATED, now)
    if status >= 200:
        legs.settled(agent, incoming)
        if incoming.request.method == "BYE" and incoming.leg is not None and incoming.leg.manual:
            in_dialog.hang_up(agent, incoming.leg, now)


def trying(agent: UserAgent, incoming: Incoming, now: float) -> None:
    """Nothing was said for a while: 100, so that it is not sent again (RFC 3261 §17.2.1, RFC 4320 §4.1)."""
    if not incoming.status:
        transmit(agent, incoming, 100, now)


def late(agent: UserAgent, incoming: Incoming, now: float) -> None:
    """A request other than INVITE has no answer, and soon none would be heard.

    The answer is 480. It must not be 408 (RFC 4320 §4.2), and silence would have every proxy on the way, and the
    sender, wait for its own time-out and think worse of the path than it deserves.
    """
    give_up(agent, incoming, UNAVAILABLE, "timed_out", now)


def give_up(agent: UserAgent, incoming: Incoming, status: int, code: str, now: float) -> None:
    """Answer in the owner's place, and tell it why its answer is not wanted any more."""
    if incoming.final:
        return
    transmit(agent, incoming, status, now)
    if incoming.owner is not None:
        incoming.owner.withdrawn(incoming, code, now)
