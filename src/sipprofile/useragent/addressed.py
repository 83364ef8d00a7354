"""Whom a request outside of dialogs is for: the profile that has the contact or the identity it is addressed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registration.actions import TransportKey
from ..registration.line import Line
from ..sip.message import Request
from ..sip.uri import user_of
from .profile_line import profile_line

if TYPE_CHECKING:
    from .agent import UserAgent


def line_of(agent: UserAgent, request: Request, key: TransportKey) -> Line | None:
    """The line that a valid ``request`` is for, ``None`` when it is for nobody here.

    Never by the source's address alone: a registrar serves many.
    """
    if key.local_port:
        return agent.local_lines.get(key.local_port)
    user = user_of(request.uri)
    profile = agent.room.profile_of_contact(user) if user is not None else None
    return profile_line(agent, profile) if profile is not None else None
