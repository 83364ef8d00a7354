"""A line: as whom, and by which way, SIP requests go out (RFC 3261 §8.1.1, §8.1.2).

A registered profile is one, the local side of a bridge another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from ..sip.dialog import Dialog
from ..sip.message import Response
from .actions import TransportKey

if TYPE_CHECKING:
    from .registrations import Registrations


class Way(msgspec.Struct, frozen=True, gc=False):
    """The way of one request."""

    key: TransportKey
    local: tuple[str, int]
    """The address and port that Via shows."""
    routes: tuple[str, ...]
    """The pre-loaded Route values of a request outside of dialogs: the outbound proxy and Service-Route."""
    contact: str
    """The URI in our Contact."""
    flow: int = 0
    """The registration's flow, 0 where there is none."""


class Line(Protocol):
    """What the client side of transactions needs to know about who sends."""

    profile: int

    def way(self, room: Registrations, dialog: Dialog, now: float, size: int) -> Way | str:
        """The way of a request in (or to begin) ``dialog``, or the code of the reason why there is none:
        ``not_registered``, or that of a transport. ``size``: 0, or the bytes of a request that is too large for the
        way given first: the way may be a connection then, which need not be open yet."""

    def authorizations(self, room: Registrations, way: Way, uri: str, method: str, body: bytes) -> str:
        """The header lines, each with its CRLF, that answer challenges which are known already."""

    def challenged(self, room: Registrations, way: Way, number: int, response: Response, now: float) -> str:
        """Take the challenges of a 401 or 407 to request ``number``. Empty: send it again; else the code of the reason
        why not: ``foreign_challenge`` hands the challenge to who asked."""
