"""What the service has promised about stored profiles: every answered save, and what is in doubt after a crash."""

from __future__ import annotations

from typing import Any

import msgspec

from sipprofile.profile import public
from sipprofile.records import ProfileRecord
from sipprofile.testing.simulation.promise import Promise, Violation

_NOT_STORED = ("registration", "warnings", "default", "revision")


class Known(msgspec.Struct):
    """One profile as the last answer about it said."""

    revision: int
    content: dict[str, Any]
    password: str
    held: str | None = ""
    """``None`` while somebody may be changing it."""
    touched: int = 0
    """How often somebody may have begun to change ``held``."""
    doubt: list[str] = []
    """Passwords in saves that were asked for and not answered."""
    removing: bool = False
    """A removal was asked for and not answered."""


class Ledger:
    """The profiles that must be in the store, and those that must not."""

    def __init__(self) -> None:
        self.profiles: dict[int, Known] = {}
        self.removed: set[int] = set()
        self.creating: dict[str, str] = {}
        """Name and password of creations without an answer."""

    def adopt(self, records: list[ProfileRecord]) -> None:
        """These were stored before anything began."""
        for record in records:
            self.profiles[record.profile.id] = _known(record)

    def saved(self, document: dict[str, Any], password: str | None) -> None:
        """A save was answered with ``document``; ``password`` is the new one, ``None`` if it stays."""
        number = document["id"]
        known = self.profiles.get(number)
        if known is None:
            self.creating.pop(document["name"], None)
            self.profiles[number] = Known(document["revision"], _content(document), password or "")
        elif document["revision"] > known.revision:
            known.revision = document["revision"]
            known.content = _content(document)
            known.password = known.password if password is None else password

    def gone(self, number: int) -> None:
        """A removal was answered."""
        self.profiles.pop(number, None)
        self.removed.add(number)

    def check(self, records: list[ProfileRecord]) -> None:
        """Compare with what is stored. What was in doubt is settled by what is found."""
        found = {record.profile.id: record for record in records}
        for number in found.keys() & self.removed:
            raise Violation(Promise.SAVED, f"the removed profile {number} is back")
        for number, known in list(self.profiles.items()):
            record = found.get(number)
            if record is None:
                if not known.removing:
                    raise Violation(Promise.SAVED, f"profile {number} is lost")
                self.gone(number)
            else:
                self._check(number, known, record)
        for number in found.keys() - self.profiles.keys():
            record = found[number]
            password = self.creating.pop(record.profile.name, None)
            if password is None or password != _password(record):
                raise Violation(Promise.SAVED, f"nobody created profile {number}")
            self.profiles[number] = _known(record)
        self.creating.clear()
        defaults = [number for number, record in found.items() if record.profile.default]
        if len(defaults) != (1 if found else 0):
            raise Violation(Promise.SAVED, f"the default profiles are {defaults}")

    def _check(self, number: int, known: Known, record: ProfileRecord) -> None:
        content = _content(public(record.profile))
        if record.revision < known.revision:
            raise Violation(
                Promise.SAVED, f"profile {number} is at revision {record.revision}, answered was {known.revision}"
            )
        if record.revision == known.revision:
            if content != known.content or _password(record) != known.password:
                raise Violation(
                    Promise.SAVED, f"profile {number} was saved as {known.content} and is stored as {content}"
                )
        elif _password(record) not in (known.password, *known.doubt):
            raise Violation(Promise.SAVED, f"profile {number} has a password that nobody saved")
        if known.held is not None and known.held != record.held:
            raise Violation(Promise.SAVED, f"profile {number} is held {record.held!r} and not {known.held!r}")
        known.revision, known.content, known.held = record.revision, content, record.held
        known.password, known.doubt, known.removing = _password(record), [], False


def _known(record: ProfileRecord) -> Known:
    return Known(record.revision, _content(public(record.profile)), _password(record), record.held)


def _password(record: ProfileRecord) -> str:
    registrar = record.profile.registrar
    return "" if registrar is None or registrar.password is None else registrar.password


def _content(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _NOT_STORED}
