"""What makes one registration many applications': the user agent, who claims what of it, and who is given what."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ..useragent import ending, server
from ..useragent.agent import UserAgent
from ..useragent.draft import Answer
from ..useragent.incoming import Incoming
from ..useragent.leg import Leg
from ..useragent.owner import Owner
from .activation import Activation
from .audit import Auditor
from .claims import Claims
from .delivery import Delivery
from .effects import Effect
from .lines import Lines
from .registry import Registry
from .standing import Standing
from .timers import Timers
from .webhooks import Webhooks

if TYPE_CHECKING:
    from random import Random


class Sharing:
    """Puts them together."""

    def __init__(
        self, registry: Registry, timers: Timers, act: Callable[[Effect], None], random: Random, auditor: Auditor
    ) -> None:
        settings = registry.settings
        self.agent = agent = UserAgent(
            registry.registrations,
            lambda incoming, now: self.delivery.deliver(incoming, now),
            random.randbytes(16),
            answers=settings.answers,
            requests=settings.requests,
        )

        def name_of(profile: int) -> str:
            entry = registry.get(profile)
            return "" if entry is None else entry.name

        def lingers(profile: int) -> float:
            entry = registry.get(profile)
            return 0.0 if entry is None else entry.linger_lost

        def respond(incoming: Incoming, answer: Answer, now: float) -> Leg | None:
            return server.respond(agent, incoming, answer, now)

        def decline(incoming: Incoming, answer: Answer, now: float) -> None:
            server.decline(agent, incoming, answer.status, answer.headers, now)

        self.lines = Lines(agent)
        self.claims = Claims(settings.claim_rules, name_of, lingers)
        self.activation = Activation(dict(settings.activate), self.claims, timers, act, respond)
        self.delivery = Delivery(agent, self.claims, self.activation, respond, decline, self._owners_gone)
        self.standing = Standing(self.claims, settings)
        self.standing.targets["activate"] = self.activation.owner
        self.webhooks = Webhooks(self.delivery.respond, act, name_of, lambda: registry.wall_offset, auditor)
        self.standing.targets["webhook"] = self.webhooks.owner

    def _owners_gone(self, owners: Collection[Owner], now: float) -> None:
        ending.owners_gone(self.agent, owners, now)
