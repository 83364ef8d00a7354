"""Where events go that leave the service other than through sessions: the event stream, the log, webhooks."""

from __future__ import annotations

from ..events import Event, EventName
from .events import EventRing
from .logging import EventLog
from .webhooks import Webhooks


class Publishing:
    """Tells all of them, and says beforehand whether any listens: an event costs much more than the question."""

    def __init__(self, ring: EventRing, log: EventLog, webhooks: Webhooks) -> None:
        self._ring = ring
        self._log = log
        self._webhooks = webhooks

    def listens(self, name: EventName, profile: int, profile_name: str, users: int, now: float) -> bool:
        """Whether the event is to be published; one that is not gets its number and its place in the log's count."""
        ring = self._ring
        if (
            ring.keeps
            or self._webhooks.wants(name, profile_name)
            or self._log.wants(name, profile, users, now)  # the last one: it counts
        ):
            return True
        ring.count()
        return False

    def publish(self, event: Event, now: float) -> None:
        """Publish ``event``, once."""
        self._ring.append(event)
        self._log.publish(event, now)
        self._webhooks.publish(event)
