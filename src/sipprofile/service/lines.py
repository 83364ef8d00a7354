"""What a registration's coming and going means for the requests and dialogs on its line."""

from __future__ import annotations

from ..events import StateChanged
from ..useragent import ending
from ..useragent.agent import UserAgent


class Lines:
    """Collects the changes of one input, and passes them on at its end: many profiles may be lost together."""

    __slots__ = ("_agent", "_back", "_down", "_lost")

    def __init__(self, agent: UserAgent) -> None:
        self._agent = agent
        self._down: set[int] = set()
        self._lost: dict[int, str] = {}
        self._back: dict[int, None] = {}

    def changed(self, change: StateChanged) -> None:
        """A registration has another state, perhaps another contact."""
        profile = change.profile
        if change.status == "registered":
            self._down.discard(profile)
            if not self._down:
                self._down.clear()  # gives back the memory of the most there have ever been
            self._back[profile] = None
        elif profile not in self._down:
            self._down.add(profile)
            self._back.pop(profile, None)
            self._lost[profile] = change.reason.code

    def removed(self, profile: int) -> None:
        """Nothing of the profile is remembered."""
        self._down.discard(profile)
        self._lost.pop(profile, None)
        self._back.pop(profile, None)

    @property
    def unsettled(self) -> bool:
        """Whether :meth:`settle` has something to do."""
        return bool(self._lost or self._back)

    def settle(self, now: float) -> None:
        """Tell the user agent."""
        lost, self._lost = self._lost, {}
        back, self._back = self._back, {}
        if lost:
            ending.lines_lost(self._agent, lost, now)
        if back and ending.lines_matter(self._agent):
            for profile in back:
                ending.line_changed(self._agent, profile, now)
