"""The bridges of all profiles: each takes the requests of one local program at a port of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...records import ProfileRecord
from ...registration import bridge_port, transactions
from ...registration.actions import Action, TransportKey
from ...useragent.profile_line import profile_line
from ..timers import Timers
from .bridge import Bridge
from .sockets import Sockets

if TYPE_CHECKING:
    from ...useragent.agent import UserAgent
    from ...useragent.owner import Owner
    from ..audit import Auditor
    from ..delivery import Delivery
    from ..registry import Entry, Registry


class Bridges:
    """By profile. ``act`` performs Listen and StopListening."""

    def __init__(
        self,
        registry: Registry,
        agent: UserAgent,
        delivery: Delivery,
        act: Callable[[Action], None],
        timers: Timers,
        auditor: Auditor,
    ) -> None:
        self._by_port: dict[int, Bridge] = {}
        """By the port that their programs send to."""
        self._registry = registry
        self._agent = agent
        self._delivery = delivery
        self._auditor = auditor
        self._bridges: dict[int, Bridge] = {}
        self._sockets = Sockets(act, timers, lambda profile: bridge_port.remembered(registry.registrations, profile))

    def owner(self, profile: int, _: str) -> Owner:
        """Who gets what a profile's bridge has claimed; see :class:`~sipprofile.service.standing.Standing`."""
        return self._bridges[profile]

    def configured(self, entry: Entry, record: ProfileRecord, now: float) -> None:
        """The profile is stored like this from now on."""
        profile = record.profile
        if profile.bridge is None:
            self.removed(entry, now)
            return
        bridge = self._bridges.get(entry.id)
        if bridge is None:
            line = profile_line(self._agent, entry.id)
            self._bridges[entry.id] = Bridge(self._agent, profile, line, self._delivery.respond, self._auditor)
        else:
            bridge.configure(profile)
        if self._sockets.want(entry.id, profile.bridge.host, profile.bridge.port):
            self._lost(entry)

    def removed(self, entry: Entry, now: float) -> None:
        """The profile has no bridge any more, or is gone."""
        bridge = self._bridges.pop(entry.id, None)
        if bridge is not None:
            self._delivery.owners_gone([bridge], now)
            self._sockets.unwant(entry.id)
            self._lost(entry)

    def admits(self, key: TransportKey) -> bool:
        """Whether what comes in over ``key`` is from where the program of that port may be."""
        bridge = self._by_port.get(key.local_port)
        return bridge is not None and bridge.local.admits(key.host)

    def listening(self, profile: int, port: int, now: float) -> None:
        """:class:`~sipprofile.registration.actions.Listen` succeeded."""
        entry, bridge = self._registry.get(profile), self._bridges.get(profile)
        if not self._sockets.listening(profile, port) or entry is None or bridge is None:
            return
        bridge.local.port = port
        self._by_port[port] = self._delivery.programs[port] = bridge
        self._agent.local_lines[port] = bridge.local
        bridge_port.remember(self._registry.registrations, profile, port)
        entry.bridge_port = port
        self._registry.announce("status", entry)

    def not_listening(self, profile: int, now: float) -> None:
        """:class:`~sipprofile.registration.actions.Listen` failed."""
        self._sockets.not_listening(profile, now)

    def unreachable(self, key: TransportKey, code: str, now: float) -> None:
        """An ICMP error names the program: nobody listens there."""
        transactions.transport_lost(self._registry.registrations, key, code, now)

    def counts(self) -> dict[str, int]:
        """Under way in all bridges."""
        bridges = self._bridges.values()
        return {"legs": sum(bridge.legs for bridge in bridges), "requests": sum(bridge.requests for bridge in bridges)}

    def _lost(self, entry: Entry) -> None:
        """The socket is closed; calls go on with what the new one brings."""
        bridge = self._by_port.pop(entry.bridge_port, None)
        if bridge is not None:
            self._delivery.programs.pop(entry.bridge_port, None)
            self._agent.local_lines.pop(entry.bridge_port, None)
            bridge.local.port = 0
        entry.bridge_port = 0
