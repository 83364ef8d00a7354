"""Try a profile and say step by step what works: settings, DNS, transport, answer, digest, lease, reachable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..agents.base import Agent
from ..errors import SipProfileError
from ..events import Reason, RegistrationState
from ..profile import Profile
from ..records import Query
from ..registration.actions import Resolve
from ..registration.request import bracketed
from ..sip.locating import Question, Record, locate
from .operations import Test
from .policy import Actor
from .registry import Entry, Registry
from .remedies import UNREACHABLE, remedy
from .steps import Read, Steps, Until
from .usage import Usage

RESOLVE_LIMIT = 15.0  # seconds
ATTEMPT_LIMIT = 40.0  # seconds; timer F alone is 32 (RFC 3261 §17.1.2.2)
REACHABLE_LIMIT = 36.0  # seconds; an OPTIONS and the time in which it may still arrive

STEPS = ("transport", "answer", "digest", "lease")
FAILED_STEP = {
    "resolve": "dns",
    "transport": "transport",
    "tls": "transport",
    "websocket": "transport",
    "target_down": "transport",
    "timeout": "answer",
    "no_credentials": "digest",
    "rejected_credentials": "digest",
    "credentials_needed": "digest",
    "challenge_unsupported": "digest",
    "token_unavailable": "digest",
    "bearer_needs_tls": "digest",
    "too_many_challenges": "digest",
    "server_unproven": "digest",
    "zero_grant": "lease",
    "contact_missing": "lease",
    "lease_expired": "lease",
    "lease_unknown": "lease",
}
"""At which step a reason, or a family of reasons by its first word, stops us; all others at the answer."""


class Explanation:
    """The operation ``test``. Only who may use or control profiles causes a REGISTER; others see the present state."""

    def __init__(self, registry: Registry, usage: Usage, act: Callable[[Resolve], None]) -> None:
        self._registry = registry
        self._usage = usage
        self._act = act

    def test(self, operation: Test, actor: Actor) -> Steps:
        """Go from step to step until one fails."""
        registry = self._registry
        entry = registry.find(operation.profile)
        records, now = yield Read(Query(ids=(entry.id,), limit=1))
        profile = registry.only(entry, records).profile
        found = [self._settings(profile, entry)]
        agent = registry.agents.get(profile.type)
        if agent is None or not found[0]["ok"]:
            return {"steps": found}
        resolved, now = yield from self._dns(profile, agent, now)
        found.append(resolved)
        if not resolved["ok"]:
            return {"steps": found}
        if not entry.held and not actor.capabilities.isdisjoint(("use", "control")):
            before, state = yield from self._attempt(entry, "control" in actor.capabilities, now)
        else:
            before = state = registry.state(entry)
        return {"steps": [*found, *explained(state, before)]}

    def _settings(self, profile: Profile, entry: Entry) -> dict[str, Any]:
        try:
            agent = self._registry.agent(profile.type)
            agent.validate(profile)
            self._registry.check_served(entry)
        except SipProfileError as error:
            return step("settings", False, error.detail, error.remedy)
        advice = " ".join(advice.detail for advice in agent.advice(profile))
        return step("settings", True, advice or "The settings are valid.")

    def _dns(self, profile: Profile, agent: Agent, now: float) -> Steps:
        """Find the first hop as a registration does, one question after the other."""
        server = agent.plan(profile, "test").hops[0].server
        answers: dict[Question, tuple[Record, ...]] = {}
        failure = "resolve_not_found"
        end = now + RESOLVE_LIMIT
        while (missing := locate(server, answers.get).missing) and now < end:
            self._act(Resolve(missing[0]))
            answer, now = yield Until(("resolved", missing[0]), end)
            if not isinstance(answer, tuple):
                failure, answer = answer or "resolve_timeout", ()
            answers[missing[0]] = answer
        tiers = locate(server, lambda question: answers.get(question, ())).tiers
        choices = [choice for tier in tiers for choice in tier]
        places = [f"{protocol}:{bracketed(host)}:{port}" for _, found in choices for protocol, host, port in found]
        if not places:
            detail = f"{server.host} cannot be resolved ({failure})."
            return step("dns", False, detail, remedy(Reason(failure))), now
        return step("dns", True, f"{server.host} is {', '.join(places)}."), now

    def _attempt(self, entry: Entry, operator: bool, now: float) -> Steps:
        """One REGISTER, if need be with a use of our own: the state before it and the state after it.

        Who is registered already is looked for first: the REGISTER may repair what is wrong.
        """
        registry = self._registry
        self._usage.borrow(entry, now)
        try:
            before = registry.state(entry)
            if before.status == "registered":
                before, now = yield from self._reach(entry, now)
            registry.registrations.retry_now(entry.id, now, operator=operator)
            state = registry.state(entry)
            if state.status == "unregistered" and state.reason.code == "credentials_needed":
                return before, state  # the breaker is open, and only an operator may try again
            end = now + ATTEMPT_LIMIT
            while True:
                change, now = yield Until(("changed", entry.id), end)
                if change is None or change.event == "error" or change.status != "registering":
                    break
            state = registry.state(entry) if change is None else change.state
            if state.status == "registered" and state.last_error is None and before.reachable is not True:
                state, now = yield from self._reach(entry, now)
            return before, state
        finally:
            self._usage.give_back(entry, now)

    def _reach(self, entry: Entry, now: float) -> Steps:
        """One OPTIONS to the address-of-record, which should come back to us."""
        registry = self._registry
        asked_at = now + registry.wall_offset
        registry.registrations.probe(entry.id, now)
        state, end = registry.state(entry), now + REACHABLE_LIMIT
        while (state.reachable_at or 0.0) < asked_at and state.status == "registered" and now < end:
            _, now = yield Until(("changed", entry.id), end)
            state = registry.state(entry)
        return state, now


def explained(state: RegistrationState, before: RegistrationState | None = None) -> list[dict[str, Any]]:
    """What a state says about the steps on the wire, up to the first that failed; ``before`` is what was true first."""
    if state.held:
        return [step("transport", False, "Nothing is sent: an operator holds the profile down.", "Resume it.")]
    failure = state.last_error if state.status == "registered" else state.reason
    if state.status != "registered" and failure is not None and failure.code in ("none", "disabled", "stopped"):
        if state.status == "unregistered":
            return [step("transport", False, "Nobody uses the profile, so nothing was sent.", "Use it.")]
        return [step("transport", False, f"Still {state.status}.", "Ask again in a moment.")]
    failed = "" if failure is None else failed_step(failure.code)
    said = {
        "transport": f"The registrar is reached over {state.target}.",
        "answer": "The registrar answers.",
        "digest": "The registrar accepts who we are.",
        "lease": f"Registered for {state.expires_granted} s as {', '.join(state.registered_aors)}.",
    }
    found = []
    for name in STEPS:
        if name == failed and failure is not None:
            found.append(step(name, False, failure.text or failure.code, remedy(failure)))
            break
        if failed == "dns" and failure is not None:
            return [step("transport", False, failure.text or failure.code, remedy(failure))]
        found.append(step(name, True, said[name]))
    else:
        if state.status == "registered" and state.reachable_at is not None:
            found.append(_reachable(state, before))
    return found


def _reachable(state: RegistrationState, before: RegistrationState | None) -> dict[str, Any]:
    unknown = "" if state.reachable is not None else "Not known: "
    told = unknown + state.reachable_reason
    if before is not None and before.reachable is False and state.reachable is not False:
        return step("reachable", False, f"{before.reachable_reason} After another REGISTER: {told}")
    return step("reachable", False, told, UNREACHABLE) if state.reachable is False else step("reachable", True, told)


def failed_step(code: str) -> str:
    """The step at which a reason stops us."""
    return FAILED_STEP.get(code) or FAILED_STEP.get(code.partition("_")[0]) or "answer"


def step(name: str, ok: bool, detail: str, what_to_do: str = "") -> dict[str, Any]:
    """One line of an explanation; ``remedy`` is there when it failed and there is something to do."""
    line: dict[str, Any] = {"step": name, "ok": ok, "detail": detail}
    return {**line, "remedy": what_to_do} if what_to_do else line
