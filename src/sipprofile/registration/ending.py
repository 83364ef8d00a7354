"""The end of the service: bindings are given back in turns, and it is known when nothing is under way any more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from . import machine, turns
from .registration import IDLE, Registration

if TYPE_CHECKING:
    from .registrations import Registrations


class Ending:
    """What a stop waits for. That is asked after every input, so all registrations must not be looked at each time."""

    __slots__ = ("_busy", "_to_give_back")

    def __init__(self) -> None:
        self._busy: list[int] = []
        """Profiles that had something under way when all were looked at last."""
        self._to_give_back = 0
        """Profiles whose turn has not come."""

    def give_back(self, room: Registrations, now: float) -> None:
        """Remove every binding."""
        profiles = []
        for registration in room.by_profile.values():
            if _is_down(registration):
                registration.wanted = registration.kept = False
            else:
                profiles.append(registration.profile)
        self._to_give_back += len(profiles)
        turns.each(room, profiles, partial(self._give_back, room), now)

    def _give_back(self, room: Registrations, profile: int, now: float) -> None:
        self._to_give_back -= 1
        registration = room.by_profile.get(profile)
        if registration is None:
            return
        registration.wanted = False
        registration.kept = False
        for flow in reversed(registration.flows):
            machine.unwanted(room, registration, flow, now, "stopped")

    def is_over(self, room: Registrations) -> bool:
        """Whether nothing is under way."""
        if room.ghosts or self._to_give_back:
            return False
        busy = self._busy
        while busy:
            if _is_busy(room, busy[-1]):
                return False
            busy.pop()
        self._busy = [profile for profile in room.by_profile if _is_busy(room, profile)]  # one may have begun again
        return not self._busy


def _is_down(registration: Registration) -> bool:
    """Whether there is nothing to remove and nothing to tell."""
    flow = registration.flows[0]
    return (
        registration.status == "unregistered"
        and len(registration.flows) == 1
        and flow.phase == IDLE
        and flow.lease_end == 0
        and not flow.predecessor
        and not flow.unknown_until
    )


def _is_busy(room: Registrations, profile: int) -> bool:
    registration = room.by_profile.get(profile)
    return registration is not None and any(flow.phase != IDLE for flow in registration.flows)
