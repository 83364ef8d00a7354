"""Places where the service is broken on purpose: a simulation that notices nothing of these would prove nothing.

Each mutation patches one function inside the process that simulates, in Python: the compiled quick path is not used
meanwhile. ``seeds`` is within how many seeds it must be noticed, ``promise`` what must be found broken by one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from sipprofile import profile
from sipprofile.registration import (
    acceptance,
    failures,
    health,
    keepalive,
    machine,
    network,
    plain,
    rejection,
    restart,
)
from sipprofile.registration import registration as memory
from sipprofile.registration.pacing import Pacer
from sipprofile.service import registry
from sipprofile.service.registry import Entry
from sipprofile.service.usage import Usage
from sipprofile.store.store import Store
from sipprofile.testing.simulation.outage import outlast
from sipprofile.testing.simulation.promise import Promise
from sipprofile.testing.simulation.run import simulate

Patch = pytest.MonkeyPatch


class Mutation(NamedTuple):
    """One way to break the service."""

    name: str
    breaks: Callable[[Patch], None]
    promise: Promise | None
    """``None``: the simulation may as well end in an error."""
    seeds: int
    quick: bool = False
    """It is tried whenever the tests run, not only in the long ones."""
    run: Callable[[int], object] = simulate
    """What is run with each seed."""


def no_refresh(patch: Patch) -> None:
    for module in (acceptance, plain):
        patch.setattr(module, "refresh_at", lambda room, flow, granted: flow.sent_at + granted + 1e9)


def lease_end_ignored(patch: Patch) -> None:
    def hope(room: Any, registration: Any, flow: Any, now: float) -> None:
        flow.lease_end = now + 1e6

    patch.setattr(machine, "_lease_ended", hope)


def no_deregistration(patch: Patch) -> None:
    def skip(room: Any, registration: Any, flow: Any, now: float) -> None:
        acceptance.removed(room, registration, flow, now, None)

    patch.setattr(machine, "deregister", skip)


def cseq_from_the_start(patch: Patch) -> None:
    restored = restart.restored_flow

    def forgetful(*arguments: Any) -> Any:
        flow = restored(*arguments)
        flow.cseq = 0
        return flow

    patch.setattr(restart, "restored_flow", forgetful)


def cseq_block_used_again(patch: Patch) -> None:
    restored = restart.restored_flow

    def careless(*arguments: Any) -> Any:
        flow = restored(*arguments)
        flow.cseq = max(0, flow.cseq - restart.RESERVED_BLOCK)
        return flow

    patch.setattr(restart, "restored_flow", careless)


def no_bucket(patch: Patch) -> None:
    patch.setattr(Pacer, "draw", lambda self, now: True)


def no_breaker(patch: Patch) -> None:
    patch.setattr(memory, "BREAKER", 10**9)


def endless_back_off(patch: Patch) -> None:
    patch.setattr(failures, "backoff", lambda count, base, maximum, fraction: 1e6)


def old_contact_kept(patch: Patch) -> None:
    patch.setattr(acceptance, "left_behind", lambda plan, flow, contacts: "")


def stale_is_rejection(patch: Patch) -> None:
    answer = rejection.answer

    def strict(flow: Any, plan: Any, challenges: Any) -> str:
        stale = any(challenge.stale for challenge in challenges)
        return "rejected_credentials" if stale else answer(flow, plan, challenges)

    patch.setattr(rejection, "answer", strict)


def no_canary(patch: Patch) -> None:
    patch.setattr(health, "canary_due", lambda *arguments: None)


def nobody_woken(patch: Patch) -> None:
    patch.setattr(health, "wake", lambda room, waiting, now: None)


def users_dropped_at_failure(patch: Patch) -> None:
    wait = failures.wait

    def drop(room: Any, registration: Any, *arguments: Any) -> None:
        wait(room, registration, *arguments)
        registration.wanted = False

    patch.setattr(failures, "wait", drop)


def users_lost(patch: Patch) -> None:
    disable = Usage.disable

    def everybody(self: Usage, entry: Entry, now: float) -> None:
        entry.users = 1
        disable(self, entry, now)

    patch.setattr(Usage, "disable", everybody)


def saves_lost(patch: Patch) -> None:
    patch.setattr(Store, "commit", lambda self, writes: None)


def passwords_shown(patch: Patch) -> None:
    def careless(shown: profile.Profile) -> dict[str, Any]:
        document = public(shown)
        if shown.registrar is not None:
            document["registrar"]["password"] = shown.registrar.password
        return document

    public = profile.public
    patch.setattr(registry, "public", careless)


def moves_ignored(patch: Patch) -> None:
    patch.setattr(network, "changed", lambda room, addresses, now: None)


def sleep_ignored(patch: Patch) -> None:
    patch.setattr(network, "resumed", lambda room, slept, now: None)


def no_keepalives(patch: Patch) -> None:
    patch.setattr(keepalive, "join", lambda room, flow, now: None)


def silence_ignored(patch: Patch) -> None:
    def hope(room: Any, connection: Any, code: str, now: float) -> None:
        connection.sent_at = 0.0
        keepalive._plan_next(room, connection, now)

    patch.setattr(keepalive, "_fail", hope)


MUTATIONS = (
    Mutation("a refresh is never scheduled", no_refresh, Promise.CALM, 3, quick=True),
    Mutation("the end of a lease is ignored", lease_end_ignored, Promise.NO_SILENT_LOSS, 20),
    Mutation("nothing is de-registered", no_deregistration, Promise.PROMPT, 3),
    Mutation("CSeq begins at 0 after a restart", cseq_from_the_start, Promise.CSEQ, 3, quick=True),
    Mutation("a block of CSeq is used again", cseq_block_used_again, Promise.CSEQ, 20),
    Mutation("the pacer always grants", no_bucket, Promise.BUCKET, 40),
    Mutation("the breaker never opens", no_breaker, Promise.BREAKER, 40),
    Mutation("a failure backs off forever", endless_back_off, Promise.BACK_TOGETHER, 5),
    Mutation("old contacts are kept", old_contact_kept, Promise.ONE_BINDING, 60),
    Mutation("a stale nonce counts as a rejection", stale_is_rejection, Promise.CALM, 5),
    Mutation("no canary is sent", no_canary, Promise.BACK_IN_TIME, 40),
    Mutation("nobody is told that a target is back", nobody_woken, Promise.BACK_TOGETHER, 5, run=outlast),
    Mutation("a failure drops the users", users_dropped_at_failure, Promise.NEXT_TRY, 10),
    Mutation("one disable counts for all users", users_lost, None, 6),
    Mutation("saves are lost", saves_lost, None, 3),
    Mutation("another address is not noticed", moves_ignored, Promise.FOLLOWED, 4, quick=True),
    Mutation("a long sleep is not noticed", sleep_ignored, Promise.FOLLOWED, 10),
    Mutation("no keepalive is sent", no_keepalives, Promise.REACHED, 10),
    Mutation("a way that loses everything is not noticed", silence_ignored, Promise.NOTICED, 10),
    Mutation("passwords are shown", passwords_shown, Promise.SECRETS, 3, quick=True),
)
