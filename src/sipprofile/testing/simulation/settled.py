"""What must be true once faults have stopped and time has passed: everything is as it was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sipprofile.service.registry import Entry
from sipprofile.testing.simulation.applications import Application
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.ledger import Ledger
from sipprofile.testing.simulation.promises import Promises
from sipprofile.testing.simulation.sites import Site


class Settled:
    """Compares what is with what operators and applications have asked for."""

    def __init__(
        self,
        promises: Promises,
        computer: Computer,
        ledger: Ledger,
        applications: Sequence[Application],
        sites: Mapping[str, Site],
    ) -> None:
        self._promises = promises
        self._computer = computer
        self._ledger = ledger
        self._applications = applications
        self._sites = sites

    def unregistered(self) -> list[str]:
        """Every profile that must be registered and is not."""
        if self._computer.service is None:
            return ["the service is down"]
        registry = self._promises.registry
        entries = [entry for number in registry.ids if (entry := registry.get(number)) is not None]
        states = [(entry, registry.state(entry)) for entry in entries if self.wanted(entry)]
        return [f"{entry.name} ({entry.id}): {state}" for entry, state in states if state.status != "registered"]

    def unsettled(self) -> list[str]:
        """Everything that is not yet, or no longer, as it must be in the end."""
        if self._computer.service is None:
            return ["the service is down"]
        found: list[str] = []
        expected: set[tuple[str, str]] = set()
        if self._promises.registry.ids != sorted(self._ledger.profiles):
            found.append(f"the profiles are {self._promises.registry.ids} and not {sorted(self._ledger.profiles)}")
        for number in self._promises.registry.ids:
            entry = self._promises.registry.get(number)
            assert entry is not None
            site, aor = self._promises.place(entry)
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
        state = self._promises.registry.state(entry)
        bindings = site.bindings(aor)
        contacts = [binding.contact for binding in bindings]
        if state.users != self.users(entry):
            found.append(f"{self.users(entry)} applications use it, the service says {state.users}")
        if self.wanted(entry):
            if state.status != "registered":
                found.append(f"is wanted and {state.status}: {state.reason.text}")
            if contacts != [state.registered_contact]:
                found.append(f"the registrar holds {contacts} and not {state.registered_contact}")
            plan = self._promises.plan(entry)
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
            entry = self._promises.registry.get(number)
            if entry is None:
                found.append(f"{application.name} was not told that {number} is gone")
                continue
            state = self._promises.registry.state(entry)
            if seen.get("status", "unregistered") != state.status or seen.get("revision", 0) != state.revision:
                found.append(f"{application.name} believes that {number} is {seen}, it is {state}")
        return found
