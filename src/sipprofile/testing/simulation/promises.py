"""What the service promises about registrations, compared with what the registrars hold."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from sipprofile.agents.base import Plan
from sipprofile.events import RegistrationState
from sipprofile.records import ProfileRecord
from sipprofile.registration.actions import TransportKey
from sipprofile.service.effects import Publish
from sipprofile.service.registry import Entry, Registry
from sipprofile.service.service import Service
from sipprofile.sip.uri import Uri
from sipprofile.testing.location import canonical_aor
from sipprofile.testing.simulation.applications import Application
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.ledger import Ledger
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.simulation.trace import Violation
from sipprofile.testing.simulation.wire import Wire

LONGEST_ATTEMPT = 900.0  # seconds; every target's transaction takes 32 s, a queue at the bucket some more


@functools.lru_cache(maxsize=1024)
def _host(uri: str) -> str:
    return Uri.parse(uri).host


class Promises:
    """Watches the service; see :class:`~sipprofile.testing.simulation.computer.Watcher`."""

    def __init__(self, sites: Mapping[str, Site], wire: Wire) -> None:
        self.told: list[tuple[str, int]] = []
        """(event, profile) of every event since somebody emptied it."""
        self._sites = sites
        self._wire = wire
        self._computer: Computer
        self._ledger: Ledger
        self._applications: Sequence[Application] = ()
        self._service: Service | None = None

    def watch(self, computer: Computer, ledger: Ledger, applications: Sequence[Application]) -> None:
        """Who takes part."""
        self._computer = computer
        self._ledger = ledger
        self._applications = applications

    # What the computer tells

    def started(self, records: list[ProfileRecord], service: Service) -> None:
        """See Watcher."""
        self._ledger.check(records)
        self._wire.restarted()
        self._service = service

    def sent(self, key: TransportKey, data: bytes) -> None:
        """See Watcher."""
        self._wire.sent(key, data)

    def received(self, data: bytes) -> None:
        """See Watcher."""
        self._wire.received(data)

    def published(self, effect: Publish) -> None:
        """See Watcher."""
        self.told.append((effect.event.event, effect.event.profile))

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
        if self._computer.service is None or self._computer.stopping:
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
        for site in self._sites.values():
            aor = site.too_many_refusals(self._computer.settings.registration.probe_interval)
            if aor is not None:
                raise Violation(f"refused credentials of {aor} were tried in the attempts {site.refusals[aor]}")

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
        raise Violation(f"silent loss: {entry.name} ({entry.id}) is registered, {site.name} has no binding of {aor}")

    def _check_planned(self, entry: Entry, state: RegistrationState, utc: float) -> None:
        if state.status == "unregistered":
            if state.next_try is None:
                raise Violation(f"{entry.name} ({entry.id}) is wanted and nothing is planned: {state}")
            if state.next_try < utc - 5.0:
                raise Violation(f"{entry.name} ({entry.id}) should have been tried before: {state}, now {utc}")
        elif utc - state.since > LONGEST_ATTEMPT:
            raise Violation(f"{entry.name} ({entry.id}) is stuck: {state}")

    def place(self, entry: Entry) -> tuple[Site, str]:
        """The registrar that a profile is registered at, and its AOR there."""
        plan = self._plan(entry)
        return self._sites[_host(plan.request_uri)], canonical_aor(plan.aor)

    def undisturbed(self) -> list[str]:
        """The AORs registered over UDP whose refresh is not near."""
        found = []
        for number in self.registry.ids:
            entry = self.registry.get(number)
            assert entry is not None
            state = self.registry.state(entry)
            soon = self._computer.clocks.now + self.registry.wall_offset + 60.0
            over_udp = state.target is not None and state.target.startswith("udp:")
            if state.status == "registered" and over_udp and state.refresh_at is not None and state.refresh_at > soon:
                found.append(self.place(entry)[1])
        return found

    def _plan(self, entry: Entry) -> Plan:
        return self.registry.registrations.by_profile[entry.id].plan

    # When faults have stopped and time has passed

    def unsettled(self) -> list[str]:
        """Everything that is not yet, or no longer, as it must be in the end."""
        if self._computer.service is None:
            return ["the service is down"]
        found: list[str] = []
        expected: set[tuple[str, str]] = set()
        if self.registry.ids != sorted(self._ledger.profiles):
            found.append(f"the profiles are {self.registry.ids} and not {sorted(self._ledger.profiles)}")
        for number in self.registry.ids:
            entry = self.registry.get(number)
            assert entry is not None
            site, aor = self.place(entry)
            expected.add((site.name, aor))
            found.extend(f"{entry.name} ({number}): {text}" for text in self._wrong(entry, site, aor))
        for site in self._sites.values():
            for aor, bindings in site.all_bindings().items():
                if (site.name, aor) not in expected:
                    found.append(f"{site.name} holds {[binding.contact for binding in bindings]} for {aor}")
        for application in self._applications:
            found.extend(self._behind(application))
        return found

    def wanted(self, entry: Entry) -> bool:
        """Whether a profile must be registered, as applications and operators see it."""
        return not entry.held and (entry.always or self.users(entry) > 0)

    def users(self, entry: Entry) -> int:
        """How many applications have enabled it."""
        return sum(entry.id in application.enabled for application in self._applications)

    def _wrong(self, entry: Entry, site: Site, aor: str) -> list[str]:
        found = []
        state = self.registry.state(entry)
        bindings = site.bindings(aor)
        contacts = [binding.contact for binding in bindings]
        if state.users != self.users(entry):
            found.append(f"{self.users(entry)} applications use it, the service says {state.users}")
        if self.wanted(entry):
            if state.status != "registered":
                found.append(f"is wanted and {state.status}: {state.reason.text}")
            if contacts != [state.registered_contact]:
                found.append(f"the registrar holds {contacts} and not {state.registered_contact}")
            plan = self._plan(entry)
            told = "".join(f";{name}={value}" for name, value in bindings[0].params[-1:]) if bindings else ""
            if bindings and plan.contact_params and told != plan.contact_params:
                found.append(f"the registrar was told {told} and not {plan.contact_params}")
        else:
            if state.status != "unregistered":
                found.append(f"is not wanted and {state.status}")
            if contacts:
                found.append(f"is not wanted and the registrar holds {contacts}")
        return found

    def _behind(self, application: Application) -> list[str]:
        """What an application was told last must be what is true."""
        if not application.connected:
            return [f"{application.name} is not connected"] if application.running else []
        found = []
        for number, seen in application.states.items():
            entry = self.registry.get(number)
            if entry is None:
                found.append(f"{application.name} was not told that {number} is gone")
                continue
            state = self.registry.state(entry)
            if seen.get("status", "unregistered") != state.status or seen.get("revision", 0) != state.revision:
                found.append(f"{application.name} believes that {number} is {seen}, it is {state}")
        return found
