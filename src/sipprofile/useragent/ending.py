"""The right end of a dialog, of everything an owner has, and of everything a profile has (RFC 3261 §15, RFC 5057)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import msgspec

from ..errors import SipProfileError
from ..sip.message import Request
from . import client, legs, notifying, publications, resubscribing, server, usages
from .draft import Draft
from .incoming import Incoming
from .kept_line import kept
from .leg import Leg
from .outgoing import Outgoing
from .owner import Owner
from .unowned import UNOWNED, Deaf

if TYPE_CHECKING:
    from .agent import UserAgent

UNAVAILABLE = 480  # RFC 3261 §21.4.18
TERMINATED = 487  # RFC 3261 §15.1.2
KEPT = frozenset(("SUBSCRIBE", "REFER", "PUBLISH"))
"""Requests whose answer makes something that must be ended then."""


def end_leg(agent: UserAgent, leg: Leg, now: float, code: str) -> None:
    """End ``leg`` and all its usages: BYE, CANCEL, 480, Expires: 0 or a last NOTIFY, whatever each is.

    The owner hears of it when it has ended: at once, or when the last NOTIFY, the answer to the CANCEL or the ACK that
    a BYE must wait for (RFC 3261 §15) has come or is overdue. Raises ``invalid_state`` when it has ended before.
    """
    if leg.state == "terminated":
        raise SipProfileError("invalid_state", "The dialog has ended.", dialog=leg.number, state=leg.state)
    for notifier in agent.notifiers.of_leg(leg):
        notifying.terminate(agent, notifier, "noresource", code, now)
    for subscription in agent.subscriptions.of_leg(leg):
        resubscribing.unsubscribe(agent, subscription, now)
    waits = any(not subscription.over for subscription in agent.subscriptions.of_leg(leg))
    if leg.invite:
        _end_call(agent, leg, code, now)
    elif not waits and leg.number in agent.legs:
        legs.close(agent, leg, code)
        leg.owner.leg_changed(leg, code, now)


def _end_call(agent: UserAgent, leg: Leg, code: str, now: float) -> None:
    """How depends on who began it and how far it is (RFC 3261 §15)."""
    outgoing = agent.outgoing.get(leg.invite)
    pending = [agent.incoming[number] for number in leg.pending if number in agent.incoming]
    if leg.state == "early" and outgoing is not None:
        if outgoing.owner is UNOWNED:
            client.abandon(agent, outgoing, now)
        else:
            _cancel(agent, outgoing, now)
        return  # it ends with the answer
    for incoming in pending:
        if not incoming.final:
            status = UNAVAILABLE if leg.state == "early" else TERMINATED
            owner, incoming.owner = incoming.owner, UNOWNED
            server.give_up(agent, incoming, status, now)
            if owner is not None and leg.state == "confirmed":
                owner.withdrawn(incoming, "dialog_ended", now)
    if leg.state == "confirmed":
        unacknowledged = [each for each in pending if each.request.method == "INVITE" and 200 <= each.status < 300]
        if unacknowledged and leg.code != "no_ack" and code != "no_ack":
            leg.line = kept(leg.line, leg.line.way(agent.room, leg.dialog, now, 0))
            unacknowledged[-1].owner = _Acknowledged(agent, leg, code)
            return
        _bye(agent, leg, now)
    if leg.number not in agent.legs:  # the refusal has ended it
        leg.code = code
        leg.owner.leg_changed(leg, code, now)
    else:
        legs.usage_ended(agent, leg, "", code, "", now)


class _Acknowledged(Deaf):
    """Waits for an ACK before the BYE (RFC 3261 §15); when none comes the server side ends the dialog."""

    def __init__(self, agent: UserAgent, leg: Leg, code: str) -> None:
        self._agent = agent
        self._leg = leg
        self._code = code

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        """Now the BYE may go out."""
        if ack is not None and self._leg.state != "terminated":
            _bye(self._agent, self._leg, now)
            legs.usage_ended(self._agent, self._leg, "", self._code, "", now)


def _cancel(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    try:
        client.cancel(agent, outgoing, now)
    except SipProfileError:
        return  # it is answered, or cancelled already


def _bye(agent: UserAgent, leg: Leg, now: float) -> None:
    try:
        if leg.ack_cseq and leg.ack is None:  # the owner has not acknowledged the answer to its call
            client.acknowledge(agent, leg, (), b"", None, now)
        client.send(agent, UNOWNED, leg.line, Draft("BYE"), now, leg=leg)
    except SipProfileError:
        return  # without a way to the other side its own timers end it


# -- everything of an owner --------------------------------------------------------------------------------------------


def owners_gone(agent: UserAgent, owners: Collection[Owner], now: float) -> None:
    """``owners`` are dead: what waits for them is answered 480, their requests are abandoned, their dialogs ended. They
    are told nothing any more. One look at the tables is enough for all of them: a session has an owner per profile."""
    dead = {id(owner) for owner in owners}
    for incoming in [each for each in agent.incoming.values() if id(each.owner) in dead]:
        incoming.owner = UNOWNED
        if not incoming.final:
            server.give_up(agent, incoming, UNAVAILABLE, now)
    for outgoing in [each for each in agent.outgoing.values() if id(each.owner) in dead]:
        outgoing.owner = UNOWNED
        if outgoing.method not in KEPT:
            client.abandon(agent, outgoing, now)
    for publication in [each for each in agent.publications.by_number.values() if id(each.owner) in dead]:
        publications.end(agent, publication, now)
    mine = [each for each in agent.subscriptions.all() if id(each.owner) in dead]
    for subscription in mine:
        agent.subscriptions.give(subscription, UNOWNED)
    for leg in [each for each in agent.legs.values() if id(each.owner) in dead]:
        leg.owner = UNOWNED
        end_leg(agent, leg, now, "owner_gone")
    for subscription in mine:
        if not subscription.over and not subscription.ending:
            resubscribing.unsubscribe(agent, subscription, now)


# -- everything of a profile -------------------------------------------------------------------------------------------


def profile_gone(agent: UserAgent, profile: int, code: str, now: float) -> None:
    """The profile is removed or forcibly disabled: everything on its line ends, and each owner is told ``code``.

    To be called while its binding still lives, else the other sides do not hear of it.
    """
    for incoming in [each for each in agent.incoming.values() if each.line.profile == profile and not each.final]:
        owner, incoming.owner = incoming.owner, UNOWNED
        server.give_up(agent, incoming, UNAVAILABLE, now)
        if owner is not None:
            owner.withdrawn(incoming, code, now)
    for outgoing in [each for each in agent.outgoing.values() if each.line.profile == profile]:
        _fail(agent, outgoing, code, now)
    for publication in list(agent.publications.by_number.values()):
        if publication.line.profile == profile and not publication.ending:
            publication_owner, first = publication.owner, publication.first
            publications.end(agent, publication, now)
            publication_owner.failed(first, code, now)
    for leg in [each for each in agent.legs.values() if each.line.profile == profile]:
        leg_owner, leg.owner = leg.owner, UNOWNED
        for subscription in agent.subscriptions.of_leg(leg):
            agent.subscriptions.give(subscription, UNOWNED)
        end_leg(agent, leg, now, code)
        # The last NOTIFY may be awaited still, which is nothing to its owner.
        ended = msgspec.structs.replace(leg, owner=leg_owner, state="terminated", code=code, usages=(), invite=0)
        leg_owner.leg_changed(ended, code, now)
    for subscription in list(agent.subscriptions.by_profile.get(profile, ())):
        if not subscription.over and not subscription.ending:
            agent.subscriptions.give(subscription, UNOWNED)
            resubscribing.unsubscribe(agent, subscription, now)


def lines_lost(agent: UserAgent, codes: Mapping[int, str], now: float) -> None:
    """Registrations have ended, perhaps not for good: requests under way fail, dialogs stay, and their owners are told.

    Subscriptions and publications are refreshed when the line is back, see :func:`line_changed`.
    """
    for outgoing in [each for each in agent.outgoing.values() if each.line.profile in codes]:
        _fail(agent, outgoing, codes[outgoing.line.profile], now)
    for leg in [each for each in agent.legs.values() if each.line.profile in codes]:
        if leg.state != "terminated":
            leg.owner.leg_changed(leg, codes[leg.line.profile], now)


def lines_matter(agent: UserAgent) -> bool:
    """Whether :func:`line_changed` has anything to do for any profile at all."""
    return bool(agent.subscriptions.by_profile or agent.publications.waiting)


def line_changed(agent: UserAgent, profile: int, now: float) -> None:
    """The profile is registered, perhaps elsewhere than before: notifiers are told where to send from now on."""
    resubscribing.line_changed(agent, profile, now)
    publications.line_changed(agent, profile, now)


def _fail(agent: UserAgent, outgoing: Outgoing, code: str, now: float) -> None:
    if outgoing.status >= 200 or outgoing.owner is UNOWNED:
        return
    told = usages.failed(agent, outgoing, code, now)
    owner, outgoing.owner = outgoing.owner, UNOWNED
    client.abandon(agent, outgoing, now)
    if not told:
        owner.failed(outgoing, code, now)
