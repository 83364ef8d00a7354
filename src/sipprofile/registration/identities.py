"""One copy of each certificate, key and server name, however many profiles have the same."""

from __future__ import annotations

import msgspec

from ..agents.base import Hop, Plan
from ..profile import Identity
from .kept_plan import Plans

KEPT = 10_000
"""Identities remembered; beyond it they begin anew, and later profiles share among themselves."""


class Identities:
    """Makes equal identities the same object: a plan costs a pointer, and comparing keys does not compare PEM."""

    def __init__(self) -> None:
        self._known: dict[Identity, Identity] = {}
        self._plans = Plans()

    def shared(self, plan: Plan) -> Plan:
        """``plan`` with the identities, and all else, that others have already."""
        hops = plan.hops
        if hops[0].identity is None and (len(hops) == 1 or all(hop.identity is None for hop in hops)):
            return self._plans.kept(plan)
        if len(self._known) >= KEPT:
            self._known.clear()
        return self._plans.kept(msgspec.structs.replace(plan, hops=tuple(self._hop(hop) for hop in hops)))

    def _hop(self, hop: Hop) -> Hop:
        if hop.identity is None:
            return hop
        return msgspec.structs.replace(hop, identity=self._known.setdefault(hop.identity, hop.identity))
