"""Places where sharing is broken on purpose; see :mod:`mutations`."""

from __future__ import annotations

from typing import Any

from mutations import Mutation, Patch

from sipprofile.service.claims import Claims, Held
from sipprofile.service.contest import Contest
from sipprofile.service.hub import Hub, Outbox
from sipprofile.testing.simulation.promise import Promise
from sipprofile.testing.simulation.sharing.run import share
from sipprofile.useragent import answering, client, ending, legs, notifying, server
from sipprofile.useragent.server_transactions import ServerTransactions


def left_unanswered(patch: Patch) -> None:
    patch.setattr(server, "give_up", lambda agent, incoming, status, now: None)


def never_late(patch: Patch) -> None:
    patch.setattr(answering, "late", lambda agent, incoming, now: None)


def cancel_not_followed(patch: Patch) -> None:
    give_up = answering.give_up

    def forgetful(agent: Any, incoming: Any, status: int, code: str, now: float) -> None:
        if code != "cancelled":
            give_up(agent, incoming, status, code, now)

    patch.setattr(answering, "give_up", forgetful)


def everybody_gets_everything(patch: Patch) -> None:
    def all_of_them(self: Claims, profile: int, facts: Any) -> list[Held]:
        return list({held.owner: held for held in self._taking(profile, facts.method)}.values())

    patch.setattr(Claims, "find", all_of_them)


def oldest_claim_wins(patch: Patch) -> None:
    patch.setattr(Held, "rank", lambda self, score: (self.claim.exclusive,))


def claims_outlive_owners(patch: Patch) -> None:
    patch.setattr(Claims, "owner_gone", lambda self, owner, now, lost=True: None)


def first_in_contest_alone(patch: Patch) -> None:
    begin = Contest.begin

    def unfair(self: Contest, now: float) -> None:
        others = list(self._claims)[1:]
        for other in others:
            self._waiting.discard(other)
        begin(self, now)

    patch.setattr(Contest, "begin", unfair)


def newest_first(patch: Patch) -> None:
    tell = Outbox.tell

    def backwards(self: Outbox, profile: int, frame: bytes, now: float) -> None:
        tell(self, profile, frame, now)
        self._queue.rotate(1)

    patch.setattr(Outbox, "tell", backwards)


def slow_one_holds_up_all(patch: Patch) -> None:
    tell = Hub.tell

    def together(self: Hub, outbox: Outbox, profile: int, frame: bytes, now: float) -> None:
        if all(each.unread < 2 for each in self.outboxes.values()):
            tell(self, outbox, profile, frame, now)

    patch.setattr(Hub, "tell", together)


def no_bye(patch: Patch) -> None:
    patch.setattr(ending, "_bye", lambda agent, leg, now: None)


def no_cancel(patch: Patch) -> None:
    patch.setattr(client, "abandon", lambda agent, outgoing, now: None)


def no_last_notify(patch: Patch) -> None:
    def silent(agent: Any, notifier: Any, reason: str, code: str, now: float) -> None:
        agent.notifiers.by_usage.pop((notifier.leg.number, notifier.event), None)
        legs.usage_ended(agent, notifier.leg, notifier.event, code, "", now)

    patch.setattr(notifying, "terminate", silent)


def dialogs_kept(patch: Patch) -> None:
    patch.setattr(legs, "detach", lambda agent, leg: None)


def merged_kept(patch: Patch) -> None:
    patch.setattr(ServerTransactions, "_forget", lambda self, item, now: self.by_key.pop(item[0], None))


SHARING = (
    Mutation("what an application leaves is not answered", left_unanswered, Promise.ONE_ANSWER, 5, True, share),
    Mutation("no request is ever late", never_late, Promise.ONE_ANSWER, 10, run=share),
    Mutation("a cancelled call is not answered", cancel_not_followed, Promise.ONE_ANSWER, 20, run=share),
    Mutation("everybody gets everything", everybody_gets_everything, Promise.CLAIMED_ONLY, 5, True, share),
    Mutation("the order of claims is ignored", oldest_claim_wins, Promise.CLAIMED_ONLY, 10, run=share),
    Mutation("of several the first alone is told", first_in_contest_alone, None, 20, run=share),
    Mutation("what happened last is told first", newest_first, None, 5, run=share),
    Mutation("one that does not read holds up all", slow_one_holds_up_all, Promise.ORDER, 20, True, share),
    Mutation("calls of the dead go on", no_bye, Promise.DEAD_DIALOGS, 10, True, share),
    Mutation("calls of the dead ring on", no_cancel, Promise.DEAD_DIALOGS, 20, run=share),
    Mutation("subscribers of the dead are not told", no_last_notify, Promise.DEAD_DIALOGS, 20, run=share),
    Mutation("claims outlive their owners", claims_outlive_owners, Promise.NO_LEAKS, 3, True, share),
    Mutation("dialogs that have ended are kept", dialogs_kept, Promise.NO_LEAKS, 5, run=share),
    Mutation("copies of old requests are kept", merged_kept, Promise.NO_LEAKS, 5, run=share),
)
