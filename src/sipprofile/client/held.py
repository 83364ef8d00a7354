"""The records of held profiles: each kept once, encoded, with a count of the instances that show it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..errors import SipProfileError
from ..events import Event
from .document import ProfileDocument, decode, identify, newer, revision_of, with_state


class HeldRecords:
    """What one registry holds, by id. A profile with one instance costs a dictionary entry beyond its content."""

    def __init__(self) -> None:
        self._records: dict[int, bytes] = {}
        self._more: dict[int, int] = {}  # instances beyond the first, where there are any
        self._latest: tuple[bytes, ProfileDocument] | None = None

    def __contains__(self, id_: int) -> bool:
        return id_ in self._records

    def ids(self) -> list[int]:
        """The ids of all held profiles."""
        return list(self._records)

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self._more.clear()
        self._latest = None

    def add(self, id_: int, record: bytes) -> None:
        """Keep ``record``, the newest one, for one more instance."""
        if id_ in self._records:
            self._more[id_] = self._more.get(id_, 0) + 1
        self._records[id_] = record

    def drop(self, id_: int) -> bool:
        """One instance less; true when it was the last one and the record is gone."""
        if id_ not in self._records:
            return False
        more = self._more.pop(id_, 0)
        if more > 1:
            self._more[id_] = more - 1
        elif not more:
            del self._records[id_]
        return not more

    def record(self, id_: int) -> bytes:
        """The record as received; raises ``closed`` when it is not held any more."""
        try:
            return self._records[id_]
        except KeyError:
            raise SipProfileError("closed", "The registry of this profile is closed.") from None

    def document(self, id_: int) -> ProfileDocument:
        """The record decoded; the latest one asked for is remembered, so reading several fields decodes once."""
        record = self.record(id_)
        latest = self._latest
        if latest is None or latest[0] is not record:
            self._latest = latest = (record, decode(record))
        return latest[1]

    def replace(self, id_: int, record: bytes) -> None:
        """What a new connection says counts; a restarted service may have begun its revisions anew."""
        if id_ in self._records:
            self._records[id_] = record

    def set_state(self, id_: int, state: msgspec.Raw) -> None:
        """The service sent a registration state; an answer may be older than an event that overtook it."""
        current = self._records.get(id_)
        if current is not None and revision_of(state) >= identify(current).registration.revision:
            self._records[id_] = with_state(current, state)

    def renew(self, record: bytes) -> None:
        """The service sent a record; the settings or the state that are held may be newer already."""
        id_ = identify(record).id
        if id_ in self._records:
            self._records[id_] = newer(record, self._records[id_])


def meanwhile(old: ProfileDocument, new: ProfileDocument) -> Iterable[Event]:
    """The events that tell what happened to a profile between two records of it."""
    state = new.registration
    if new.revision != old.revision:
        yield Event("updated", new.id, new.name, state, msgspec.to_builtins(new))
    if state.status != old.registration.status:
        if state.registered:
            yield Event("registered", new.id, new.name, state)
        else:
            yield Event("deregistered" if old.registration.registered else "status", new.id, new.name, state)
