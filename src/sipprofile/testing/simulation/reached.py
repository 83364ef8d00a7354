"""Whether what a registrar sends to a binding would arrive: through the NAT, or over the connection it was made on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from sipprofile.registration.actions import TransportKey
from sipprofile.service.registry import Entry, Registry
from sipprofile.sip.uri import Uri
from sipprofile.testing.location import Binding
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.virtual_nat import Address
from sipprofile.testing.virtual_network import VirtualNetwork

if TYPE_CHECKING:
    from sipprofile.testing.simulation.computer import Computer
    from sipprofile.testing.simulation.faults import Outages

NOTICED = 60.0  # seconds; a keepalive and its answer are due in that time


class Reached:
    """Checks :attr:`Promise.REACHED`."""

    def __init__(
        self, place: Callable[[Entry], tuple[Site, str]], computer: Computer, network: VirtualNetwork, outages: Outages
    ) -> None:
        self._place = place
        self._computer = computer
        self._network = network
        self._outages = outages

    def check(self, registry: Registry) -> None:
        """Every binding that was made in calm times and that nothing has disturbed since can be reached."""
        outages, computer = self._outages, self._computer
        disturbed = max(outages.changed_at, computer.disturbed_at)
        calm = not outages.active and self._network.clock.now > disturbed + NOTICED
        if calm and (lost := self.unreached(registry, since=disturbed)):
            raise Violation(Promise.REACHED, "; ".join(lost))

    def unreached(self, registry: Registry, since: float = 0.0, sites: Collection[Site] = ()) -> list[str]:
        """The bindings of live flows, made after ``since``, to which nothing gets through; at ``sites`` or at any."""
        found = []
        for number in registry.ids:
            entry = registry.get(number)
            assert entry is not None
            site, aor = self._place(entry)
            if sites and site not in sites:
                continue
            bindings = site.bindings(aor)
            for flow in registry.registrations.by_profile[number].flows:
                if flow.lease_end <= 0 or flow.bound is None or site.bound_at.get(flow.call_id, 0.0) < since:
                    continue
                ours = [each for each in bindings if (each.call_id, each.contact) == (flow.call_id, flow.contact)]
                where = self._where(ours[0], flow.bound, flow.call_id in site.detours) if ours else None
                if where is not None and not self._network.reaches(flow.bound.host, where):
                    found.append(f"{entry.name} ({number}) is not reached at {where} of {site.name}")
        return found

    def _where(self, binding: Binding, bound: TransportKey, over_tcp: bool) -> Address | None:
        """Where the registrar sends to; ``None`` when nobody can tell.

        A request too large for UDP goes over TCP and asks for a binding on UDP; behind a NAT its address is not known.
        """
        if bound.protocol != "udp" or not over_tcp:
            return binding.received
        uri = Uri.parse(binding.contact)
        return (uri.host, uri.port or 5060) if self._network.is_direct(uri.host) else None
