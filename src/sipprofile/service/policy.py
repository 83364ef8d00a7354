"""Who may do what."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..errors import SipProfileError
from .operations import Control, Create, Operation, Patch, Remove, Replace, SendMessage

Capability = Literal["read", "write", "use", "control"]

CAPABILITIES: dict[str, str] = {
    "read": "list and read profiles, and be told of new ones",
    "write": "create, change and remove profiles, and choose the default one",
    "use": "hold and enable profiles, and send and receive through them",
    "control": "force-disable, pause, resume, retry now and watch everything",
}


class Actor(msgspec.Struct, frozen=True):
    """Who asks: ``label`` is shown to operators, ``uid`` is that of the peer of a Unix socket."""

    label: str
    capabilities: frozenset[str]
    uid: int | None = None
    groups: frozenset[int] = frozenset()
    """Those of the peer of a Unix socket."""
    token: str | None = None
    """The name of the token it came with."""


def needed(operation: Operation) -> Capability:
    """The capability that ``operation`` needs."""
    if isinstance(operation, (Create, Replace, Patch, Remove)):
        return "write"
    if isinstance(operation, Control):
        return "write" if operation.verb == "default" else "control"
    if isinstance(operation, SendMessage):
        return "use"
    return "read"


def require(actor: Actor, *capabilities: Capability) -> None:
    """Raise ``permission_denied`` unless ``actor`` has one of ``capabilities``."""
    if actor.capabilities.isdisjoint(capabilities):
        names = " or ".join(repr(name) for name in capabilities)
        raise SipProfileError(
            "permission_denied",
            f"{actor.label} lacks the capability {names} ({CAPABILITIES[capabilities[0]]}).",
            capability=capabilities[0],
        )
