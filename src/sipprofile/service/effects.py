"""What the core asks of its shell. The shell performs the effects in their order and reports back where it says so."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..errors import SipProfileError
from ..events import Event
from ..records import ConfigurationWrite, Query, RuntimeWrite
from ..registration.actions import Action


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The result of the request ``token``: plain JSON data, or the error."""

    token: int
    result: Any | SipProfileError


class Commit(msgspec.Struct, frozen=True, gc=False):
    """Write in one transaction; answer with ``committed``."""

    token: int
    writes: tuple[ConfigurationWrite, ...]


class Save(msgspec.Struct, frozen=True, gc=False):
    """Write some time soon; answer with ``saved``. Those that are not ``pressing`` may wait longer for others."""

    rows: tuple[RuntimeWrite, ...]
    pressing: bool = True


class ReadProfiles(msgspec.Struct, frozen=True, gc=False):
    """Read profiles in order of id; answer with ``read_done`` and a list of ``ProfileRecord``."""

    token: int
    query: Query


class ReadHistory(msgspec.Struct, frozen=True, gc=False):
    """Read a profile's transitions, oldest first; answer with ``read_done`` and a list of ``TransitionRecord``."""

    token: int
    profile: int


class Wake(msgspec.Struct, frozen=True, gc=False):
    """Frames wait for this session: call ``frames`` until it returns none."""

    session: int


class EndSession(msgspec.Struct, frozen=True, gc=False):
    """Tell the session why and close it; the core has forgotten it already."""

    session: int
    error: SipProfileError


class Publish(msgspec.Struct, frozen=True, gc=False):
    """An event, once, for the log and for event streams, if any of them listens."""

    event: Event


class Activate(msgspec.Struct, frozen=True, gc=False):
    """Start the application ``name`` of the configuration, unless it runs; answer with ``activation_ended``, or with
    ``activation_failed`` when that fails."""

    name: str


class PostWebhook(msgspec.Struct, frozen=True, gc=False):
    """Post ``payload`` to the webhook ``name``; answer with ``webhook_answered`` or ``webhook_failed``."""

    token: int
    name: str
    payload: bytes


class WebhookUnusable(msgspec.Struct, frozen=True, gc=False):
    """Tell the operator that what the webhook ``name`` has answered cannot be sent."""

    name: str
    detail: str


class Audit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A line of the audit log: a request that went out or was answered has ended. ``at`` is UTC."""

    at: float
    who: str
    app: str
    profile: int
    direction: Literal["out", "in"]
    method: str
    uri: str
    """Its target, or that of an incoming one its sender's."""
    status: int = 0
    code: str = ""
    """Why it has no final response, or why it was refused before it was sent."""


class Stopped(msgspec.Struct, frozen=True, gc=False):
    """After a stop: nothing is outstanding any more."""


Effect = (
    Reply
    | Commit
    | Save
    | ReadProfiles
    | ReadHistory
    | Wake
    | EndSession
    | Publish
    | Activate
    | PostWebhook
    | WebhookUnusable
    | Audit
    | Stopped
    | Action
)
