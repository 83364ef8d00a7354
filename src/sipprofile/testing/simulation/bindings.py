"""One flow has one binding: what the registrars hold of one Call-ID, and for how long it may be more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sipprofile.testing.location import Binding
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sites import Site

if TYPE_CHECKING:
    from sipprofile.testing.simulation.faults import Outages
    from sipprofile.testing.simulation.wire import Wire

HANDOVER = 60.0  # seconds: removing the old contact is one transaction, 32 s at most, and its challenge


class Bindings:
    """Checks :attr:`Promise.ONE_BINDING`.

    Whoever was told in calm times, by the answer to the REGISTER that made the new binding, that an old one of the same
    Call-ID is still there has removed it a little later. What a killed process made and did not write down is excused.
    """

    def __init__(self, sites: Iterable[Site], wire: Wire, outages: Outages) -> None:
        self._sites = list(sites)
        self._wire = wire
        self._outages = outages
        self._seen: dict[tuple[str, str, str, str], int] = {}
        """The start of the service in which each contact was first seen, by site, AOR, Call-ID and contact."""

    def check(self, starts: int) -> None:
        """``starts``: how often the service was started."""
        for site in self._sites:
            for aor, bindings in site.all_bindings().items():
                of_one: dict[str, list[Binding]] = {}
                for binding in bindings:
                    self._seen.setdefault((site.name, aor, binding.call_id, binding.contact), starts)
                    of_one.setdefault(binding.call_id, []).append(binding)
                for call_id, several in of_one.items():
                    if len(several) > 1:
                        self._check(site, aor, call_id, several, starts)

    def _check(self, site: Site, aor: str, call_id: str, bindings: list[Binding], starts: int) -> None:
        granted = site.granted.get(aor)
        newest = max(bindings, key=lambda binding: binding.cseq)
        if granted is None or granted.call_id != call_id or granted.cseq != newest.cseq:
            return
        told = self._wire.accepted.get(call_id, 0) >= newest.cseq
        calm = not self._outages.active and self._outages.changed_at < granted.now
        if not told or not calm or site.now < granted.now + HANDOVER:
            return
        old = [
            binding.contact
            for binding in bindings
            if binding is not newest and self._seen[site.name, aor, call_id, binding.contact] == starts
        ]
        if old:
            raise Violation(
                Promise.ONE_BINDING,
                f"{site.name} holds {old} beside {newest.contact} for {aor} since {granted.now:.1f}",
            )
