"""The sockets at which local programs find their bridges: one UDP port for each profile with a bridge."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...registration.actions import Action, Listen, StopListening
from ..timers import Timers

TRY_AGAIN = 30.0  # seconds until a port that is taken, or an address that is gone, is tried once more


class Socket(msgspec.Struct):
    """What one profile wants and has."""

    host: str
    wanted: int | None
    """The configured port, 0 = any, ``None`` = no socket at all."""
    asked: int | None = None
    """The port of the :class:`Listen` under way; ``None`` = there is none."""
    port: int = 0
    """Where it listens; 0 = nowhere."""
    obsolete: bool = False
    """What was asked for is not wanted any more."""


class Sockets:
    """By profile. ``remembered``: the port that a profile had last, 0 = none."""

    def __init__(self, act: Callable[[Action], None], timers: Timers, remembered: Callable[[int], int]) -> None:
        self._act = act
        self._timers = timers
        self._remembered = remembered
        self._sockets: dict[int, Socket] = {}

    def want(self, profile: int, host: str, port: int) -> bool:
        """The profile's program comes to this address; ``port`` 0: the one it had last, else any. False if that is how
        it is already."""
        socket = self._sockets.get(profile)
        if socket is not None and (socket.host, socket.wanted) == (host, port):
            return False
        if socket is None:
            socket = self._sockets[profile] = Socket(host, port)
        else:
            socket.host, socket.wanted = host, port
            self._close(socket)
        if socket.asked is None:
            self._ask(profile, socket, port or self._remembered(profile))
        return True

    def unwant(self, profile: int) -> None:
        """The profile has no bridge any more."""
        socket = self._sockets.get(profile)
        if socket is None:
            return
        socket.wanted = None
        self._close(socket)
        if socket.asked is None:
            del self._sockets[profile]

    def listening(self, profile: int, port: int) -> bool:
        """A :class:`Listen` was performed; whether that is still wanted."""
        socket = self._sockets.get(profile)
        if socket is not None and not socket.obsolete:
            socket.asked = None
            socket.port = port
            return True
        self._act(StopListening(port))
        if socket is not None:
            self._reconsider(profile, socket)
        return False

    def not_listening(self, profile: int, now: float) -> None:
        """A :class:`Listen` failed."""
        socket = self._sockets.get(profile)
        if socket is None:
            return
        if socket.obsolete:
            self._reconsider(profile, socket)
            return
        asked, socket.asked = socket.asked, None
        if asked and not socket.wanted:  # somebody has taken the port of the last time
            self._ask(profile, socket, 0)
        else:
            self._timers.at(now + TRY_AGAIN, self._again, profile)

    def _again(self, profile: int, now: float) -> None:
        socket = self._sockets.get(profile)
        if socket is not None and socket.asked is None and not socket.port:
            self._ask(profile, socket, socket.wanted or 0)

    def _reconsider(self, profile: int, socket: Socket) -> None:
        """What was asked for before the settings changed has its answer."""
        socket.asked = None
        socket.obsolete = False
        if socket.wanted is None:
            del self._sockets[profile]
        else:
            self._ask(profile, socket, socket.wanted or self._remembered(profile))

    def _ask(self, profile: int, socket: Socket, port: int) -> None:
        socket.asked = port
        self._act(Listen(profile, socket.host, port))

    def _close(self, socket: Socket) -> None:
        if socket.port:
            self._act(StopListening(socket.port))
            socket.port = 0
        if socket.asked is not None:
            socket.obsolete = True
