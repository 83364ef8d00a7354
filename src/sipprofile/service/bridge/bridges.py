"""The bridges of all profiles: each takes the requests of one local program at a port of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...agents.bridge import admits
from ...profile import Bridge
from ...records import ProfileRecord
from ...registration import bridge_port
from ...registration.actions import Action
from ..timers import Timers
from .sockets import Sockets

if TYPE_CHECKING:
    from ..registry import Entry, Registry


class Bridges:
    """By profile. ``act`` performs Listen and StopListening."""

    def __init__(self, registry: Registry, act: Callable[[Action], None], timers: Timers) -> None:
        self._registry = registry
        self._bridges: dict[int, Bridge] = {}
        self._by_port: dict[int, int] = {}
        self._sockets = Sockets(act, timers, lambda profile: bridge_port.remembered(registry.registrations, profile))

    def configured(self, entry: Entry, record: ProfileRecord, now: float) -> None:
        """The profile is stored like this from now on."""
        bridge = record.profile.bridge
        if bridge is None:
            self.removed(entry)
            return
        self._bridges[entry.id] = bridge
        if self._sockets.want(entry.id, bridge.host, bridge.port):
            self._lost(entry)

    def removed(self, entry: Entry) -> None:
        """The profile has no bridge any more, or is gone."""
        if self._bridges.pop(entry.id, None) is not None:
            self._sockets.unwant(entry.id)
            self._lost(entry)

    def admits(self, port: int, host: str) -> bool:
        """Whether ``host`` may send requests to the bridge at ``port``."""
        profile = self._by_port.get(port)
        return profile is not None and admits(self._bridges[profile], host)

    def listening(self, profile: int, port: int, now: float) -> None:
        """:class:`~sipprofile.registration.actions.Listen` succeeded."""
        entry = self._registry.get(profile)
        if not self._sockets.listening(profile, port) or entry is None:
            return
        self._by_port[port] = profile
        bridge_port.remember(self._registry.registrations, profile, port)
        entry.bridge_port = port
        self._registry.announce("status", entry)

    def not_listening(self, profile: int, now: float) -> None:
        """:class:`~sipprofile.registration.actions.Listen` failed."""
        self._sockets.not_listening(profile, now)

    def _lost(self, entry: Entry) -> None:
        if entry.bridge_port:
            del self._by_port[entry.bridge_port]
            entry.bridge_port = 0
