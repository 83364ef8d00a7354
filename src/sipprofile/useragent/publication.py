"""One publication of an owner (RFC 3903 §4), and the table of them."""

from __future__ import annotations

import msgspec

from ..registration.line import Line
from .draft import Draft
from .outgoing import Outgoing
from .owner import Owner
from .refreshing import Grant


class Publication(msgspec.Struct, eq=False):
    """One piece of event state that a server holds for an owner. Times are CLOCK_BOOTTIME seconds, 0 = not set."""

    owner: Owner
    line: Line
    draft: Draft
    """The PUBLISH as its owner gave it, for the case that the server has forgotten it."""
    first: Outgoing
    """The request by whose number the owner knows it."""
    grant: Grant
    etag: str = ""
    owners_etag: str = ""
    """The entity tag that the owner was told; it stands for the one in force."""
    outgoing: Outgoing | None = None
    refresh_at: float = 0.0
    troubled: bool = False
    """The owner was told that a refresh failed."""
    ending: bool = False
    changes: Publication | None = None
    """The one that this is to take the place of; it goes on when the change is refused."""
    paused: float = 0.0
    """When the next refresh was due, while a change is on its way."""

    def __repr__(self) -> str:
        return f"Publication(number={self.first.number}, troubled={self.troubled}, ending={self.ending}, …)"


class Publications:
    """The publications that are refreshed, by what is asked about them."""

    __slots__ = ("by_number", "by_request", "waiting")

    def __init__(self) -> None:
        self.by_number: dict[int, Publication] = {}
        """By the number of the request that its owner sent."""
        self.by_request: dict[int, Publication] = {}
        """By that of a PUBLISH on its way."""
        self.waiting: dict[int, set[int]] = {}
        """Numbers of those that wait for their profile to be registered, by profile."""

    def by_etag(self, owner: Owner, etag: str) -> Publication | None:
        """The owner's publication that it knows by this tag."""
        for known in self.by_number.values():
            if known.owner is owner and etag in (known.owners_etag, known.etag):
                return known
        return None
