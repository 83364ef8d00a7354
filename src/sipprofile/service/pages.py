"""Much that is looked at for one answer is done a little at a time: the loop turns to others in between."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..records import ProfileRecord
from .registry import Registry
from .steps import Steps, Until

AT_ONCE = 16  # documents: half a millisecond
PASSES = 4  # over documents that go on changing; then all that have changed are made at once
PAUSE = 1e-6
"""Seconds; any time after now is another turn of the loop."""


def others_first(now: float) -> Until:
    """Wait for the next turn."""
    return Until(("turn", 0), now + PAUSE)


def documents(registry: Registry, records: Sequence[ProfileRecord], now: float) -> Steps:
    """The documents of ``records`` as JSON, each as it is when it is made, without those that are removed by then."""
    made: list[msgspec.Raw] = []
    for place, record in enumerate(records):
        if place and place % AT_ONCE == 0:
            _, now = yield others_first(now)
        if registry.get(record.profile.id) is not None:
            made.append(msgspec.Raw(registry.encoded(record)))
    return made


def present_documents(registry: Registry, records: Sequence[ProfileRecord], now: float) -> Steps:
    """The same, all as they are at the end: what was made and has changed since is made again."""
    made: dict[int, msgspec.Raw] = {}
    marks: dict[int, tuple[object, ...]] = {}
    passes = 0
    while changed := [
        record for record in records if marks.get(record.profile.id, ()) != registry.mark(record.profile.id)
    ]:
        passes += 1
        for place, record in enumerate(changed):
            if place and place % AT_ONCE == 0 and passes <= PASSES:
                _, now = yield others_first(now)
            number = record.profile.id
            marks[number] = registry.mark(number)
            made[number] = msgspec.Raw(registry.encoded(record))
    return [made[record.profile.id] for record in records if record.profile.id in made]
