"""The port of a profile's bridge, kept with its registration: local programs are configured with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state import store

if TYPE_CHECKING:
    from .registrations import Registrations


def remembered(room: Registrations, profile: int) -> int:
    """The port that the bridge had last; 0 = it has never had one."""
    registration = room.by_profile.get(profile)
    return 0 if registration is None else registration.bridge_port


def remember(room: Registrations, profile: int, port: int) -> None:
    """Store the port, so that a restart takes the same one."""
    registration = room.by_profile.get(profile)
    if registration is not None and registration.bridge_port != port:
        registration.bridge_port = port
        store(room, registration, registration.first)
