"""The line of a registered profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registration.line import Line, Way
from ..registration.registrations import Registrations
from ..sip.dialog import Dialog
from ..sip.message import Response

if TYPE_CHECKING:
    from .agent import UserAgent


class ProfileLine:
    """A registered profile as a :class:`~sipprofile.registration.line.Line`."""

    def __init__(self, profile: int) -> None:
        self.profile = profile

    def way(self, room: Registrations, dialog: Dialog, now: float, size: int) -> Way | str:
        """The best flow with a binding."""
        registration = room.by_profile.get(self.profile)
        for flow in registration.flows if registration is not None else ():
            transport = room.transports.get(flow.bound) if flow.bound is not None else None
            if flow.lease_end > 0 and transport is not None and transport.local is not None:
                return Way(transport.key, transport.local, flow.service_route, flow.contact, flow.id)
        return "not_registered"

    def authorizations(self, room: Registrations, way: Way, uri: str, method: str, body: bytes) -> str:
        """None."""
        return ""

    def challenged(self, room: Registrations, way: Way, number: int, response: Response, now: float) -> str:
        """None is answered."""
        return "foreign_challenge"


def profile_line(agent: UserAgent, profile: int) -> Line:
    """The line of ``profile``."""
    return ProfileLine(profile)
