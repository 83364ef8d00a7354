"""A request that has come in, as applications and webhooks get it; ``docs/session-protocol.md`` describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .content import body_of, headers_of

if TYPE_CHECKING:
    from ..useragent.incoming import Incoming


def request_members(profile: int, incoming: Incoming, wall_offset: float) -> dict[str, Any]:
    """The members of a ``request`` event. ``wall_offset``: UTC minus ``now``."""
    request = incoming.request
    header = request.header
    content_type = header("content-type")
    return {
        "event": "request",
        "profile": profile,
        "request": incoming.number,
        "dialog": None if incoming.leg is None else incoming.leg.number,
        "claim": incoming.claim or None,
        "method": request.method,
        "uri": request.uri,
        "from": header("from"),
        "to": header("to"),
        "call_id": header("call-id"),
        "headers": headers_of(request),
        "body": body_of(request, content_type),
        "content_type": content_type,
        "answered": incoming.final,
        "at": incoming.received_at + wall_offset,
    }
