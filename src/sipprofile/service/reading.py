"""What can be asked without changing anything: profiles, their history, the types, the state of the service."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, get_args

import msgspec

from .. import __version__
from ..errors import SipProfileError
from ..events import PROTOCOL_VERSION, Status
from ..records import Query
from ..registration import native
from .operations import Get, History, List
from .pages import documents, others_first
from .registry import Registry
from .steps import Past, Read, Steps

MAXIMUM_PAGE = 1_000  # profiles
MAXIMUM_LOOKS = 20_000
"""Profiles looked at for one page; a page can be short although more follow."""
LOOKS_AT_ONCE = 500  # half a millisecond
STATUSES: tuple[str, ...] = get_args(Status)


class Reading:
    """The operations that only read."""

    def __init__(self, registry: Registry, now: float) -> None:
        self._registry = registry
        self._started = now
        self.store_failing: str | None = None
        """What the shell says about its store."""

    def get(self, operation: Get) -> Steps:
        """One profile's document."""
        entry = self._registry.find(operation.profile)
        records, _ = yield Read(Query(ids=(entry.id,), limit=1))
        return self._registry.document(self._registry.only(entry, records))

    def list(self, operation: List) -> Steps:
        """A page of documents, and the cursor of the next one."""
        limit = operation.limit
        if not 1 <= limit <= MAXIMUM_PAGE:
            raise SipProfileError(
                "invalid_value", f"A page has 1 to {MAXIMUM_PAGE} profiles.", field="limit", value=limit
            )
        if operation.status is not None and operation.status not in STATUSES:
            raise SipProfileError(
                "invalid_value",
                f"A status is one of {', '.join(STATUSES)}.",
                field="status",
                value=operation.status,
            )
        registry = self._registry
        ids: tuple[int, ...] | None = None
        last: int | None = None
        if operation.status is not None:
            ids, last = yield from self._with_status(operation)
        query = Query(
            ids=ids,
            type=operation.type,
            aor=operation.aor,
            label=operation.label,
            after=operation.after,
            limit=limit if ids is not None else limit + 1,
        )
        page: list[msgspec.Raw] = []
        if ids is None or ids:
            records, now = yield Read(query)
            if ids is None and len(records) > limit:
                records = records[:limit]
                last = records[-1].profile.id
            page = yield from documents(registry, records, now)
        return {"profiles": page, "cursor": None if last is None else str(last)}

    def _with_status(self, operation: List) -> Steps:
        """Ids of a page of profiles with the status, and the last id looked at if more follow."""
        registry = self._registry
        now = registry.now
        found: list[int] = []
        last, left = operation.after, MAXIMUM_LOOKS
        while left:
            ids = registry.ids
            position = start = bisect_right(ids, last)
            end = min(start + min(LOOKS_AT_ONCE, left), len(ids))
            while position < end and len(found) < operation.limit:
                entry = registry.get(ids[position])
                if entry is not None and registry.status(entry) == operation.status:
                    found.append(entry.id)
                position += 1
            if position >= len(ids):
                return tuple(found), None
            last = ids[position - 1]
            if len(found) == operation.limit:
                break
            left -= position - start
            if left:
                _, now = yield others_first(now)
        return tuple(found), last

    def history(self, operation: History) -> Steps:
        """A profile's transitions, oldest first."""
        entry = self._registry.find(operation.profile)
        transitions, _ = yield Past(entry.id)
        return {"history": [msgspec.to_builtins(transition) for transition in transitions]}

    def types(self) -> dict[str, Any]:
        """Every type with an agent (``SupportedProfileTypesL``)."""
        return {"types": [agent.describe() for agent in self._registry.agents.values()]}

    def status(self, now: float, ready: bool, sessions: int) -> dict[str, Any]:
        """The state of the service."""
        registry = self._registry
        by_status = dict.fromkeys(STATUSES, 0)
        for (status, _, _), number in registry.registrations.counts().items():
            by_status[status] += number
        by_status["unregistered"] += len(registry) - sum(by_status.values())  # those without an agent
        return {
            "version": __version__,
            "native": native.usable(),
            "protocol": PROTOCOL_VERSION,
            "uptime": now - self._started,
            "started_at": self._started + registry.wall_offset,
            "profiles": len(registry),
            "by_status": by_status,
            "sessions": sessions,
            "queues": [msgspec.to_builtins(queue) for queue in registry.registrations.queues()],
            "store": {"failing": self.store_failing},
            "ready": ready,
        }
