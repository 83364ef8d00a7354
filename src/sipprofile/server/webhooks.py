"""Webhooks: operators' servers are told of events, in order, and asked about requests that are claimed for them.

An event is posted again until it arrives or there is no hope; while it waits, those behind it wait too. Nothing is
kept over a restart. What a request is answered is wanted at once or not at all, so it is posted once.
"""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import random
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..events import Event, EventName
from ..service.effects import PostWebhook, WebhookUnusable
from ..service.service import Service
from . import clock
from .logging import RateBound
from .webhook_client import Webhook, WebhookClient, WebhookFailed

QUEUE = 1_000
"""Events that wait for one webhook; the oldest is dropped for another one."""
ATTEMPTS = 10
"""Times that an event is posted; with the pauses between them about five minutes."""
FIRST_PAUSE = 1.0  # seconds
LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 300.0
AT_ONCE = 16
"""Requests that one webhook is asked about at the same time."""
WAITING = 256
"""Requests that wait for their turn; what comes beyond has failed."""
CLOSE_LIMIT = 2.0
"""Seconds that the end of the service waits for events that are under way."""


class Outbox:
    """The events for one webhook."""

    def __init__(self, hook: Webhook) -> None:
        self.hook = hook
        self.waiting: deque[tuple[str, str, bytes]] = deque()
        """Number, name and body of each, the oldest first."""
        self.delivered = 0
        self.failed = 0
        """Attempts."""
        self.dropped = 0
        self.under_way = 0
        """1 while one of them is being posted, which waits no more."""
        self.worker: asyncio.Task[None] | None = None
        pattern = "|".join(fnmatch.translate(each) for each in hook.section.profiles)
        self._wanted = re.compile(pattern or r"(?!)").match

    def wants(self, name: EventName, profile: str) -> bool:
        """Whether the webhook is told of this event of the profile with this name."""
        return name in self.hook.section.events and self._wanted(profile) is not None


class Inquiries:
    """The requests that one webhook is asked about."""

    def __init__(self, hook: Webhook) -> None:
        self.hook = hook
        self.waiting: deque[tuple[int, bytes, float]] = deque()
        """Token, body and the end of the time for it."""
        self.workers = 0
        self.answered = 0
        self.failed = 0


class Webhooks:
    """All webhooks of the configuration.

    ``answered(token, body)`` and ``failed(token)`` are told what became of :meth:`ask`; :meth:`serve` sets them.
    """

    answered: Callable[[int, bytes], Any]
    failed: Callable[[int], Any]

    def __init__(self, hooks: Mapping[str, Webhook], log: Any) -> None:
        self._log = log
        self._complaints = RateBound(log, 10)
        self._client = WebhookClient()
        self._outboxes: Final = {name: Outbox(hook) for name, hook in hooks.items()}
        self._inquiries: Final = {name: Inquiries(hook) for name, hook in hooks.items()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._epoch = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._encode = msgspec.json.Encoder().encode
        self._closed = False
        for name, hook in hooks.items():
            if hook.in_clear:
                log.warning("what is posted to a webhook can be read on its way: use https", webhook=name)

    def serve(self, service: Service, tell: Callable[..., Any]) -> dict[type, Callable[[Any], None]]:
        """How effects of ``service`` are performed, by their type; ``tell`` gives it an input."""
        self.answered = lambda token, body: tell(service.webhook_answered, token, body)
        self.failed = lambda token: tell(service.webhook_failed, token)
        return {
            PostWebhook: lambda effect: self.ask(effect.token, effect.name, effect.payload),
            WebhookUnusable: lambda effect: self._complain(
                "a webhook's answer cannot be sent", effect.name, effect.detail
            ),
        }

    def wants(self, name: EventName, profile: str) -> bool:
        """Whether a webhook is told of this event of the profile with this name."""
        return bool(self._outboxes) and any(outbox.wants(name, profile) for outbox in self._outboxes.values())

    def publish(self, event: Event) -> None:
        """Have the webhooks that want ``event`` told of it."""
        body = b""
        for outbox in self._outboxes.values():
            if self._closed or not outbox.wants(event.event, event.name):
                continue
            body = body or self._encode(event)
            if len(outbox.waiting) >= QUEUE:
                outbox.waiting.popleft()
                self._dropped(outbox, "too many events wait")
            outbox.waiting.append((self._number(), event.event, body))
            if outbox.worker is None:
                outbox.worker = self._begin(self._deliver(outbox))

    def ask(self, token: int, name: str, payload: bytes) -> None:
        """Post what somebody must answer; ``answered`` or ``failed`` follows, within the webhook's ``timeout``."""
        inquiries = self._inquiries.get(name)
        if inquiries is None or self._closed or len(inquiries.waiting) >= WAITING:
            if inquiries is not None:
                inquiries.failed += 1
            asyncio.get_running_loop().call_soon(self.failed, token)
            return
        inquiries.waiting.append((token, payload, clock.now() + inquiries.hook.section.timeout))
        if inquiries.workers < AT_ONCE:
            inquiries.workers += 1
            self._begin(self._inquire(inquiries))

    def counts(self) -> dict[str, dict[str, int]]:
        """By webhook: events delivered and dropped, attempts that failed, events that wait; requests it answered or
        did not."""
        return {
            name: {
                "delivered": outbox.delivered,
                "failed": outbox.failed,
                "dropped": outbox.dropped,
                "waiting": outbox.under_way + len(outbox.waiting),
                "answered": self._inquiries[name].answered,
                "unanswered": self._inquiries[name].failed,
            }
            for name, outbox in self._outboxes.items()
        }

    async def close(self) -> None:
        """Let events that are under way arrive, for a short time, and end."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_LIMIT)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        left = sum(counts["waiting"] for counts in self.counts().values())
        if left:
            self._log.warning("webhooks were not told of the last events", events=left)
        await self._client.close()

    async def _deliver(self, outbox: Outbox) -> None:
        """Post what waits, one after the other, until nothing does."""
        try:
            while outbox.waiting:
                outbox.under_way = 1
                reason = await self._post_event(outbox, *outbox.waiting.popleft())
                outbox.under_way = 0
                if reason is not None:
                    self._dropped(outbox, reason)
        finally:
            outbox.worker = None

    async def _post_event(self, outbox: Outbox, number: str, name: str, body: bytes) -> str | None:
        """Why the event could not be delivered; ``None`` when it was."""
        pause = FIRST_PAUSE
        reason = ""
        for attempt in range(ATTEMPTS):
            try:
                await self._client.post(outbox.hook, number, name, body, outbox.hook.section.timeout)
            except WebhookFailed as error:
                outbox.failed += 1
                reason = str(error)
                if not error.again:
                    return reason
                wait = max(pause * random.uniform(0.5, 1.0), min(error.retry_after, LONGEST_RETRY_AFTER))
            else:
                outbox.delivered += 1
                return None
            if attempt + 1 < ATTEMPTS:
                await asyncio.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE)
        return reason

    async def _inquire(self, inquiries: Inquiries) -> None:
        """Ask about what waits until nothing does."""
        hook = inquiries.hook
        try:
            while inquiries.waiting:
                token, payload, end = inquiries.waiting.popleft()
                left = end - clock.now()
                try:
                    if left <= 0:
                        raise WebhookFailed("it is too slow for the requests that come in", again=True)
                    answer = await self._client.post(hook, self._number(), "request", payload, left)
                except WebhookFailed as error:
                    inquiries.failed += 1
                    self._complain("a webhook did not answer a request", hook.name, str(error))
                    self.failed(token)
                else:
                    inquiries.answered += 1
                    self.answered(token, answer)
        finally:
            inquiries.workers -= 1

    def _number(self) -> str:
        return f"{self._epoch}-{next(self._numbers)}"

    def _dropped(self, outbox: Outbox, reason: str) -> None:
        outbox.dropped += 1
        self._complain("a webhook was not told of an event", outbox.hook.name, reason)

    def _complain(self, words: str, name: str, reason: str) -> None:
        if self._complaints.passes(clock.now()):
            self._log.warning(words, webhook=name, reason=reason)

    def _begin(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
