"""A response to a request of the application (``CSIPResponseElements``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .content import Content

if TYPE_CHECKING:
    from .arrival import Arrival


class Response(msgspec.Struct, Content, frozen=True):
    """Status, reason phrase, headers and body; ``header(name)`` and ``text`` read them."""

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str | None = None

    @classmethod
    def of(cls, arrival: Arrival) -> Response:
        """The response that a frame brings."""
        headers = tuple((name, value) for name, value in arrival.headers)
        return cls(arrival.status, arrival.reason or "", headers, arrival.content(), arrival.content_type)

    @property
    def ok(self) -> bool:
        """A 2xx."""
        return 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Not a provisional one (1xx)."""
        return self.status >= 200
