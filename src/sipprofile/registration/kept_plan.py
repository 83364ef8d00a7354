"""A plan as a registration keeps it: what many profiles have in common is one object for all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import TypeVar, cast

import msgspec

from ..agents.base import Credentials, Hop, Plan

T = TypeVar("T")

KEPT = 10_000
"""Different plans remembered; beyond it they begin anew, and later profiles share among themselves."""


def _in_common(read: Callable[[Plan], T]) -> T:
    (name,) = read.__code__.co_names
    return cast(T, property(attrgetter(f"common.{name}")))


class KeptPlan(msgspec.Struct, frozen=True, gc=False):
    """What :class:`~sipprofile.agents.base.Plan` says, under the same names; it is read like one."""

    aor: str
    contact_user: str
    credentials: Credentials | None
    instance_id: str
    hops: tuple[Hop, ...]
    common: Plan
    """The rest."""

    registrar = _in_common(lambda plan: plan.registrar)
    contact_uri = _in_common(lambda plan: plan.contact_uri)
    outbound = _in_common(lambda plan: plan.outbound)
    gruu = _in_common(lambda plan: plan.gruu)
    request_uri = _in_common(lambda plan: plan.request_uri)
    domain = _in_common(lambda plan: plan.domain)
    contact_params = _in_common(lambda plan: plan.contact_params)
    expires = _in_common(lambda plan: plan.expires)
    headers = _in_common(lambda plan: plan.headers)
    dscp = _in_common(lambda plan: plan.dscp)
    token_source = _in_common(lambda plan: plan.token_source)
    reg_event = _in_common(lambda plan: plan.reg_event)
    reachable_interval = _in_common(lambda plan: plan.reachable_interval)
    allowed_identities = _in_common(lambda plan: plan.allowed_identities)
    note = _in_common(lambda plan: plan.note)


class Plans:
    """Makes what equal plans have in common the same object."""

    def __init__(self) -> None:
        self._known: dict[Plan, Plan] = {}
        self._last: Plan | None = None

    def kept(self, plan: Plan) -> Plan:
        """``plan`` in less memory. An agent of others may have lists in it, or fields of its own."""
        if type(plan.headers) is not tuple or type(plan.allowed_identities) is not tuple:
            lists = {"headers": tuple(plan.headers), "allowed_identities": tuple(plan.allowed_identities)}
            plan = msgspec.structs.replace(plan, **lists)
        common = msgspec.structs.replace(plan, aor="", contact_user="", credentials=None, instance_id="", hops=())
        if common == self._last:  # as it is where thousands are loaded
            common = self._last
        else:
            if len(self._known) >= KEPT:
                self._known.clear()
            with suppress(TypeError):  # its own fields cannot be hashed
                common = self._known.setdefault(common, common)
            self._last = common
        kept = KeptPlan(plan.aor, plan.contact_user, plan.credentials, plan.instance_id, plan.hops, common)
        return cast(Plan, kept)


def whole(plan: Plan) -> Plan:
    """``plan`` as its agent made it, for the agent."""
    if not isinstance(plan, KeptPlan):
        return plan
    return msgspec.structs.replace(
        plan.common,
        aor=plan.aor,
        contact_user=plan.contact_user,
        credentials=plan.credentials,
        instance_id=plan.instance_id,
        hops=plan.hops,
    )
