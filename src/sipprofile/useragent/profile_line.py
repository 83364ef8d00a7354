"""A profile as a line to send by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registration.profile_line import ProfileLine

if TYPE_CHECKING:
    from .agent import UserAgent


FEW = 100  # lines of removed profiles that do not matter


def profile_line(agent: UserAgent, profile: int) -> ProfileLine:
    """The line of a profile: the same object each time."""
    lines = agent.profile_lines
    line = lines.get(profile)
    if line is None:
        if len(lines) > 2 * len(agent.room.by_profile) + FEW:  # most are of profiles that are gone
            agent.profile_lines = lines = {each: lines[each] for each in lines if each in agent.room.by_profile}
        line = lines[profile] = ProfileLine(profile)
    return line
