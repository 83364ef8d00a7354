"""The local side of a bridge as a line: requests go to the program over UDP, and nowhere else."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from ...agents.bridge import admits
from ...profile import Bridge
from ...registration.actions import TransportKey
from ...registration.line import Way
from ...registration.request import bracketed
from ...sip.dialog import Dialog
from ...sip.headers import parse_name_addr
from ...sip.message import Response
from ...sip.syntax import SipSyntaxError
from ...sip.uri import Uri

if TYPE_CHECKING:
    from ...registration.registrations import Registrations
    from .bridge import Bridge as BridgeOwner

LARGEST_DATAGRAM = 65_507  # bytes: what IP leaves to UDP


class LocalLine:
    """The program of ``profile``, at a port of its own. ``owner`` gets everything that comes in there."""

    __slots__ = ("_program", "_settings", "_user", "owner", "port", "profile")

    def __init__(self, profile: int, settings: Bridge, user: str, owner: BridgeOwner) -> None:
        """``user``: the user part of our Contact."""
        self.profile = profile
        self.owner = owner
        self.port = 0
        self.configure(settings, user)

    def configure(self, settings: Bridge, user: str) -> None:
        """The profile was changed."""
        self._settings = settings
        self._user = user

    @property
    def contact(self) -> str:
        """The URI at which the program reaches the bridge."""
        return f"sip:{self._user}@{bracketed(self._settings.host.strip('[]'))}:{self.port}"

    def admits(self, host: str) -> bool:
        """Whether the program may be there."""
        return admits(self._settings, host)

    def way(self, room: Registrations, dialog: Dialog, now: float, size: int) -> Way | str:
        """To the next hop of the dialog, where the program may be."""
        if not self.port or size > LARGEST_DATAGRAM:
            return "too_large" if self.port else "transport_closed"
        host, port = self._next_hop(dialog)
        if not host:
            return "transport_unreachable"
        settings = self._settings
        key = TransportKey("udp", host, port, local_port=self.port)
        return Way(key, (settings.host.strip("[]"), self.port), (), self.contact)

    def authorizations(self, room: Registrations, way: Way, uri: str, method: str, body: bytes) -> str:
        """The program gets no credentials."""
        return ""

    def challenged(self, room: Registrations, way: Way, number: int, response: Response, now: float) -> str:
        """And no answer to a challenge."""
        return "foreign_challenge"

    def _next_hop(self, dialog: Dialog) -> tuple[str, int]:
        """The program's address, empty when it names one that it may not have, or the bridge itself (RFC 3261
        §12.2.1.1)."""
        try:
            uri = Uri.parse(parse_name_addr(dialog.route_set[0]).uri if dialog.route_set else dialog.target)
        except SipSyntaxError:
            return "", 0
        host, port = uri.host.strip("[]"), uri.port or 5060
        if not admits(self._settings, host):
            return "", 0
        loops = port == self.port and (host == self._settings.host.strip("[]") or ip_address(host).is_loopback)
        return ("", 0) if loops else (host, port)
