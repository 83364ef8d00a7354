"""The last words along a way that is given up: an ACK and a BYE that are owed when the registration ends."""

from __future__ import annotations

from ..registration.line import Line, Way
from ..registration.registrations import Registrations
from ..sip.dialog import Dialog
from ..sip.message import Response


class KeptLine:
    """``line``, or while that has no way the one that was used last, if anything can still be sent there."""

    def __init__(self, line: Line, way: Way) -> None:
        self.profile = line.profile
        self._line = line
        self._way = way

    def way(self, room: Registrations, dialog: Dialog, now: float, size: int) -> Way | str:
        """See :class:`~..registration.line.Line`."""
        found = self._line.way(room, dialog, now, size)
        if isinstance(found, Way):
            return found
        key = self._way.key
        transport = room.transports.get(key)
        opened = transport is not None and transport.local is not None
        return self._way if opened or key.protocol == "udp" else found

    def authorizations(self, room: Registrations, way: Way, uri: str, method: str, body: bytes) -> str:
        """See :class:`~..registration.line.Line`."""
        return self._line.authorizations(room, way, uri, method, body)

    def challenged(self, room: Registrations, way: Way, number: int, response: Response, now: float) -> str:
        """See :class:`~..registration.line.Line`."""
        return self._line.challenged(room, way, number, response, now)


def kept(line: Line, way: Way | str | None) -> Line:
    """``line``, which keeps ``way`` if that is one."""
    return KeptLine(line, way) if isinstance(way, Way) else line
