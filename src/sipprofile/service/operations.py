"""What can be asked of the service, one struct for each operation of the HTTP interface."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Reference = int | str
"""A profile by its id or its name; :data:`DEFAULT` is the default profile."""

DEFAULT = "default"
"""No profile can have this name."""

Verb = Literal["force-disable", "pause", "resume", "retry-now", "default"]


class Create(msgspec.Struct, frozen=True):
    """Store a new profile; ``document`` has no id."""

    document: Any


class Replace(msgspec.Struct, frozen=True):
    """Store another version of a profile; what the document leaves out gets its default, secrets are kept."""

    profile: Reference
    document: Any
    if_match: int | None = None


class Patch(msgspec.Struct, frozen=True):
    """Change a profile by a JSON merge patch (RFC 7396)."""

    profile: Reference
    patch: Any
    if_match: int | None = None


class Remove(msgspec.Struct, frozen=True):
    """Remove a profile that nobody uses."""

    profile: Reference
    if_match: int | None = None


class Get(msgspec.Struct, frozen=True):
    """One profile."""

    profile: Reference


class List(msgspec.Struct, frozen=True):
    """The profiles that match every filter, in order of id, from the one after ``after``."""

    type: str | None = None
    aor: str | None = None
    label: str | None = None
    status: str | None = None
    after: int = 0
    limit: int = 100


class History(msgspec.Struct, frozen=True):
    """A profile's last transitions."""

    profile: Reference


class Control(msgspec.Struct, frozen=True):
    """An operator's word about a registration, or the choice of the default profile."""

    profile: Reference
    verb: Verb


class Test(msgspec.Struct, frozen=True):
    """Try a profile and explain the result step by step."""

    __test__ = False  # not a test case

    profile: Reference


class SendMessage(msgspec.Struct, frozen=True):
    """Send one MESSAGE through a profile and wait for its final response."""

    profile: Reference
    document: Any


class Types(msgspec.Struct, frozen=True):
    """The profile types that can be used."""


class StatusReport(msgspec.Struct, frozen=True):
    """The state of the service."""


Operation = (
    Create | Replace | Patch | Remove | Get | List | History | Control | Test | SendMessage | Types | StatusReport
)
