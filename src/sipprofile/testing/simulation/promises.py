"""What the service promises about registrations at any time, compared with what the registrars hold."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from sipprofile.agents.base import Plan
from sipprofile.events import RegistrationState
from sipprofile.records import ProfileRecord
from sipprofile.registration.actions import TransportKey
from sipprofile.service.effects import Publish
from sipprofile.service.registry import Entry, Registry
from sipprofile.service.service import Service
from sipprofile.sip.uri import Uri
from sipprofile.testing.location import canonical_aor
from sipprofile.testing.simulation.bindings import Bindings
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.faults import Outages
from sipprofile.testing.simulation.ledger import Ledger
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.reached import Reached
from sipprofile.testing.simulation.recovery import Recovery, check_lapse
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.simulation.wire import Wire
from sipprofile.testing.virtual_network import VirtualNetwork

RESUMED = 1.0  # seconds for which everything happens that a suspension has held up
UNDISTURBED = 90.0  # seconds
LONGEST_ATTEMPT = 900.0  # seconds; every target's transaction takes 32 s, a queue at the bucket some more


@functools.lru_cache(maxsize=1024)
def _host(uri: str) -> str:
    return Uri.parse(uri).host


class Promises:
    """Watches the service; see :class:`~sipprofile.testing.simulation.computer.Watcher`."""

    def __init__(self, sites: Mapping[str, Site], places: Mapping[str, Site], wire: Wire) -> None:
        """``places``: the sites by everything that a registrar's URI may name."""
        self.told: list[tuple[str, int]] = []
        """(event, profile) of every event since somebody emptied it."""
        self._sites = sites
        self._places = places
        self._wire = wire
        self._computer: Computer
        self._ledger: Ledger
        self._bindings: Bindings
        self._recovery: Recovery
        self.reached: Reached
        self._service: Service | None = None

    def watch(self, computer: Computer, ledger: Ledger, outages: Outages, network: VirtualNetwork) -> None:
        """Who takes part."""
        self._computer = computer
        self._ledger = ledger
        self._bindings = Bindings(self._sites.values(), self._wire, outages)
        self._recovery = Recovery(self.place, self._wire, computer.settings.registration)
        self.reached = Reached(self.place, computer, network, outages)

    # What the computer tells

    def started(self, records: list[ProfileRecord], service: Service) -> None:
        """See Watcher."""
        self._ledger.check(records)
        self._wire.restarted()
        self._service = service

    def sent(self, key: TransportKey, data: bytes) -> None:
        """See Watcher."""
        self._wire.sent(key, data)

    def received(self, data: bytes, key: TransportKey) -> None:
        """See Watcher."""
        self._wire.received(data, key)

    def published(self, effect: Publish) -> None:
        """See Watcher."""
        event = effect.event
        self._recovery.told(event.profile, self._computer.clocks.now)
        self.told.append((event.event, event.profile))
        suspended = self._computer.clocks.now <= self._computer.resumed_at + RESUMED  # then it may have ended meanwhile
        expired = event.state is not None and event.state.reason.code == "lease_expired"
        if event.event == "deregistered" and expired and not suspended:
            check_lapse(self.registry.registrations.by_profile[event.profile])

    def overdrawn(self) -> int:
        """How many refreshes the running service sent beyond its rate."""
        service = self._service
        return 0 if service is None else sum(pacer.overdrawn for pacer in service._registrations.pacers.values())

    # At any time

    @property
    def registry(self) -> Registry:
        """The running service's."""
        assert self._service is not None
        return self._service._registry

    def check_now(self) -> None:
        """No silent loss: what is not registered says so, and says what happens next."""
        if not self._computer.at_work:
            return
        registry = self.registry
        now = self._computer.clocks.now
        offset = registry.wall_offset
        for number in registry.ids:
            entry = registry.get(number)
            assert entry is not None
            if registry.registrations.by_profile[number].status == "registered":
                self._check_registered(entry)
            elif registry.wanted(entry) and not entry.held:
                self._check_planned(entry, registry.state(entry), now + offset)
        self._bindings.check(self._computer.starts)
        self._recovery.check(registry, self._computer.clocks)
        self.reached.check(registry)
        for site in self._sites.values():
            aor = site.too_many_refusals(self._computer.settings.registration.probe_interval)
            if aor is not None:
                raise Violation(
                    Promise.BREAKER, f"refused credentials of {aor} were tried in the attempts {site.refusals[aor]}"
                )

    def _check_registered(self, entry: Entry) -> None:
        site, aor = self.place(entry)
        granted = site.granted.get(aor)
        if site.bindings(aor):
            return
        if granted is not None and (
            site.restarted_at > granted.now  # it was lost behind the service's back
            or granted.cseq > self._wire.accepted.get(granted.call_id, 0)  # the answer that shortened it was lost
        ):
            return
        raise Violation(
            Promise.NO_SILENT_LOSS,
            f"silent loss: {entry.name} ({entry.id}) is registered, {site.name} has no binding of {aor}",
        )

    def _check_planned(self, entry: Entry, state: RegistrationState, utc: float) -> None:
        if state.status == "unregistered":
            if state.next_try is None:
                raise Violation(
                    Promise.NEXT_TRY, f"{entry.name} ({entry.id}) is wanted and nothing is planned: {state}"
                )
            if state.next_try < utc - 5.0:
                raise Violation(
                    Promise.NEXT_TRY, f"{entry.name} ({entry.id}) should have been tried before: {state}, now {utc}"
                )
        elif utc - state.since > LONGEST_ATTEMPT:
            raise Violation(Promise.NEXT_TRY, f"{entry.name} ({entry.id}) is stuck: {state}")

    def place(self, entry: Entry) -> tuple[Site, str]:
        """The registrar that a profile is registered at, and its AOR there."""
        plan = self.plan(entry)
        return self._places[_host(plan.request_uri)], canonical_aor(plan.aor)

    def places(self) -> dict[int, str]:
        """The AOR of every profile."""
        entries = [entry for number in self.registry.ids if (entry := self.registry.get(number)) is not None]
        return {entry.id: self.place(entry)[1] for entry in entries}

    def moved_away(self) -> set[str]:
        """The AORs registered at an address where nothing is any more; the next refresh finds the other one."""
        found = set()
        for number in self.registry.ids:
            entry = self.registry.get(number)
            assert entry is not None
            site, aor = self.place(entry)
            target = self.registry.state(entry).target
            if target is not None and target.split(":")[1] not in site.addresses:
                found.add(aor)
        return found

    def plan(self, entry: Entry) -> Plan:
        """What the profile says about registering."""
        return self.registry.registrations.by_profile[entry.id].plan

    def undisturbed(self, *protocols: str) -> list[str]:
        """The AORs registered over these protocols whose refresh is not near."""
        found = []
        for number in self.registry.ids:
            entry = self.registry.get(number)
            assert entry is not None
            state = self.registry.state(entry)
            soon = self._computer.clocks.now + self.registry.wall_offset + UNDISTURBED
            over = state.target is not None and state.target.partition(":")[0] in protocols
            if state.status == "registered" and over and state.refresh_at is not None and state.refresh_at > soon:
                found.append(self.place(entry)[1])
        return found
