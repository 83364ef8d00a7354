"""Requests outside of dialogs go to whom they are for, and answers come back from whoever may give them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..errors import SipProfileError
from ..sip.headers import parse_params
from ..sip.syntax import LWS, SipSyntaxError
from ..useragent.agent import UserAgent
from ..useragent.draft import Answer
from ..useragent.incoming import Incoming
from ..useragent.leg import Leg
from ..useragent.owner import Owner
from ..useragent.unowned import UNOWNED
from .activation import Activation
from .claims import Claims, Held
from .contest import Contest
from .criteria import Facts
from .nobody import answer_of

Respond = Callable[[Incoming, Answer, float], Leg | None]
"""Send a response (:func:`sipprofile.useragent.server.respond`)."""
NAMING = (
    ("replaces", "to-tag", "from-tag"),
    ("join", "to-tag", "from-tag"),
    ("target-dialog", "remote-tag", "local-tag"),
)
"""Headers that name a dialog of ours: which parameter is our tag, and which the other side's (RFC 3891 §3, RFC 3911
§3, RFC 4538 §7)."""


class Delivery:
    """Between the user agent and the owners. ``gone`` ends all that the user agent has of an owner."""

    def __init__(
        self,
        agent: UserAgent,
        claims: Claims,
        activation: Activation,
        respond: Respond,
        decline: Callable[[Incoming, Answer, float], None],
        gone: Callable[[Collection[Owner], float], None],
    ) -> None:
        """``respond`` and ``decline`` answer for an owner, and for want of one."""
        self.programs: dict[int, Owner] = {}
        """Who gets what local programs send, by the local port that they send it to."""
        self._agent = agent
        self._claims = claims
        self._activation = activation
        self._respond = respond
        self._decline = decline
        self._gone = gone
        self._contests: dict[int, Contest] = {}
        activation.again = self._again
        claims.claimed = activation.claimed

    def deliver(self, incoming: Incoming, now: float) -> None:
        """Give a request to its owner, to several, or answer it because there is none."""
        port = incoming.key.local_port
        if port:
            program = self.programs.get(port)
            if program is None:
                self._decline(incoming, Answer(404), now)
            else:
                self._give(incoming, program, 0, now)
            return
        leg = named_leg(self._agent, incoming)
        if leg is not None:
            self._give(incoming, leg.owner, 0, now)
            return
        facts = Facts(incoming.request)
        profile = incoming.line.profile
        chosen = self._claims.find(profile, facts)
        if not chosen:
            self._decline(incoming, answer_of(self._claims, profile, facts, now), now)
        elif chosen[0].reserve:
            answer = self._activation.hold(incoming, chosen[0], now)
            if answer is not None:
                self._decline(incoming, answer, now)
        else:
            self._hand_out(incoming, chosen, now)

    def respond(self, owner: Owner, number: int, answer: Answer, now: float) -> Leg | None:
        """An owner answers a request that it was given; the leg it is in, or that the answer has made.

        Raises ``invalid_state`` for one that is not, or no longer, its to answer, and what is wrong with the answer.
        """
        incoming = self._agent.incoming.get(number)
        if incoming is not None:
            if incoming.owner is owner:
                return self._respond(incoming, answer, now)
            contest = self._contests.get(number)
            if contest is not None and contest.waiting_for([owner]):
                return contest.answer(owner, answer, now)
        raise SipProfileError("invalid_state", "No answer of yours to this request is waited for.", value=number)

    def turn_away(self, owner: Owner, incoming: Incoming, answer: Answer, now: float) -> None:
        """An owner has no room for a request that it was just given. Of several the others may have it."""
        contest = self._contests.get(incoming.number)
        if contest is not None and contest.waiting_for((owner,)):
            contest.refuses(owner, answer, now)
        elif incoming.owner is owner and not incoming.final:
            self._respond(incoming, answer, now)

    def owners_gone(self, owners: Collection[Owner], now: float, *, lost: bool = True) -> None:
        """Owners end: their claims, their part in contests, and everything that the user agent has of them. Callers of
        some that were ``lost`` are told when to try again."""
        for owner in owners:
            self._claims.owner_gone(owner, now, lost=lost)
        gone = frozenset(owners)
        for contest in list(self._contests.values()):
            for owner in contest.waiting_for(gone):
                contest.leaves(owner, now)
        self._gone(owners, now)

    def counts(self) -> dict[str, Any]:
        """Figures for metrics."""
        return {"contests": len(self._contests), "held": len(self._activation)}

    def _again(self, incoming: Incoming, chosen: list[Held], now: float) -> None:
        """Somebody has come for a request that was held."""
        self._hand_out(incoming, chosen, now)

    def _hand_out(self, incoming: Incoming, chosen: list[Held], now: float) -> None:
        if incoming.request.method == "NOTIFY" and not chosen[0].claim.exclusive:
            # Nobody decides for the others whether it was welcome; all may know.
            incoming.owner = chosen[0].owner
            self._respond(incoming, Answer(200), now)
            for held in chosen:
                incoming.claim = held.number
                held.owner.requested(incoming, now)
        elif len(chosen) == 1:
            self._give(incoming, chosen[0].owner, chosen[0].number, now)
        else:
            contest = self._contests[incoming.number] = Contest(incoming, chosen, self._respond, self._decided)
            contest.begin(now)

    def _give(self, incoming: Incoming, owner: Owner, claim: int, now: float) -> None:
        incoming.owner = owner
        incoming.claim = claim
        owner.requested(incoming, now)

    def _decided(self, number: int) -> None:
        self._contests.pop(number, None)


def named_leg(agent: UserAgent, incoming: Incoming) -> Leg | None:
    """The dialog of the same profile that a request outside of it is about: to replace or join it, or by its rights."""
    request = incoming.request
    for name, ours, theirs in NAMING:
        value = request.header(name)
        if value is None:
            continue
        leg = _leg(agent, value, ours, theirs)
        if leg is not None and leg.owner is not UNOWNED and leg.line.profile == incoming.line.profile:
            return leg
    return None


def _leg(agent: UserAgent, value: str, ours: str, theirs: str) -> Leg | None:
    call_id, _, rest = value.partition(";")
    try:
        params = parse_params(rest)
    except SipSyntaxError:
        return None
    return agent.legs_by_dialog.get((call_id.strip(LWS), params.get(ours) or "", params.get(theirs) or ""))
