"""One request for several owners whose shared claims fit it equally well (RFC 3261 §16.7 has the rules of a fork)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..sip.headers import split_list
from ..useragent import responses
from ..useragent.draft import Answer
from ..useragent.incoming import Incoming
from ..useragent.leg import Leg
from ..useragent.owner import Owner
from ..useragent.unowned import Deaf
from .claims import Held

if TYPE_CHECKING:
    from .delivery import Respond

RINGING = 180
UNAVAILABLE = 480
UNWANTED_IN_EARLY_DIALOG = Answer(500, headers=(("Retry-After", "5"),))
"""To a request in the early dialog of a call that nobody has taken yet (RFC 3311 §5.2)."""
WAS_DECIDED = "Another application has answered it, or nobody waits for the answer any more."


class Contest(Deaf):
    """The owner of the request until one of them wins it: the first final answer, of an INVITE the first 2xx or 6xx.

    The caller of an INVITE hears one 180 without a body and one To tag: what several would say at once, no caller
    could understand.
    """

    def __init__(self, incoming: Incoming, held: Sequence[Held], respond: Respond, over: Callable[[int], None]) -> None:
        self.label = " and ".join(one.owner.label for one in held[:3]) + (" and others" if len(held) > 3 else "")
        self._incoming = incoming
        self._claims = {one.owner: one.number for one in held}
        self._waiting = set(self._claims)
        self._told: set[Owner] = set()
        self._best: Answer | None = None
        self._respond = respond
        self._over = over

    def begin(self, now: float) -> None:
        """Tell them all."""
        incoming = self._incoming
        incoming.owner = self
        for owner, claim in self._claims.items():
            if owner in self._waiting and incoming.owner is self and not incoming.final:
                incoming.claim = claim
                self._told.add(owner)
                owner.requested(incoming, now)
        # Only now: what comes with a dialog is for who has it.
        if incoming.request.method == "INVITE" and incoming.owner is self and not incoming.final:
            required = [option.lower() for line in incoming.request.headers("require") for option in split_list(line)]
            with contextlib.suppress(SipProfileError):  # who cannot be told that it rings may still be answered
                self._respond(incoming, Answer(RINGING, reliable="100rel" in required), now)

    def waiting_for(self, owners: Collection[Owner]) -> list[Owner]:
        """Those of ``owners`` whose answer is waited for."""
        return [owner for owner in self._claims if owner in self._waiting and owner in owners]

    def answer(self, owner: Owner, answer: Answer, now: float) -> Leg | None:
        """One of them answers. Raises ``invalid_state`` and what is wrong with the answer."""
        if owner not in self._waiting or self._incoming.final:
            raise SipProfileError("invalid_state", WAS_DECIDED)
        responses.check(self._incoming, answer)
        if answer.status < 200:
            return None
        if self._incoming.request.method != "INVITE" or not 300 <= answer.status < 600:
            return self._won(owner, answer, now)
        self.refuses(owner, answer, now)
        return None

    def refuses(self, owner: Owner, answer: Answer, now: float) -> None:
        """One of them does not take it; ``answer`` is told if nobody does."""
        self._best = better(self._best, answer)
        self.leaves(owner, now)

    def leaves(self, owner: Owner, now: float) -> None:
        """One of them does not want it, or is gone. When nobody is left the best refusal is told."""
        if owner not in self._waiting:
            return
        self._waiting.discard(owner)
        if not self._waiting and not self._incoming.final:
            self._over(self._incoming.number)
            self._respond(self._incoming, self._best or Answer(UNAVAILABLE), now)

    def _won(self, owner: Owner, answer: Answer, now: float) -> Leg | None:
        incoming = self._incoming
        early = incoming.leg
        incoming.owner, incoming.claim = owner, self._claims[owner]
        if early is not None:
            early.owner = owner
        try:
            leg = self._respond(incoming, answer, now)
        except SipProfileError:
            incoming.owner = self
            if early is not None:
                early.owner = self
            raise
        self._waiting.discard(owner)
        self._tell_withdrawn("answered_elsewhere", now)
        return leg

    def _tell_withdrawn(self, code: str, now: float) -> None:
        others = [one for one in self._claims if one in self._waiting and one in self._told]
        self._waiting.clear()
        self._over(self._incoming.number)
        for other in others:
            other.withdrawn(self._incoming, code, now)

    # As the owner: what concerns all of them. That the early dialog has ended is told by withdrawn.

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        """The caller gave up, or nobody answered in time."""
        self._tell_withdrawn(code, now)

    def requested(self, incoming: Incoming, now: float) -> None:
        """Something in the early dialog that the 180 made, which nobody has taken yet."""
        if not incoming.final:
            self._respond(incoming, UNWANTED_IN_EARLY_DIALOG, now)


def better(one: Answer | None, other: Answer) -> Answer:
    """The refusal that says more to the caller: of the lower class; among 4xx one that can be mended
    (RFC 3261 §16.7 step 6)."""
    if one is None:
        return other
    return min(one, other, key=_order)


def _order(answer: Answer) -> tuple[int, bool]:
    return answer.status // 100, answer.status not in (401, 407, 415, 420, 484)
