"""A profile as a line to send by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registration.profile_line import ProfileLine

if TYPE_CHECKING:
    from .agent import UserAgent


def profile_line(agent: UserAgent, profile: int) -> ProfileLine:
    """The line of a profile: the same object each time."""
    line = agent.profile_lines.get(profile)
    if line is None:
        line = agent.profile_lines[profile] = ProfileLine(profile)
    return line
