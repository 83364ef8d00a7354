"""Publications: PUBLISH repeated with its entity tag while its owner wants it (RFC 3903 §4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..errors import SipProfileError
from ..sip.message import Response
from . import client
from .draft import Draft
from .event_headers import header_of, retry_after_of, seconds_of, with_headers
from .outgoing import Outgoing
from .owner import Owner
from .publication import Publication
from .refreshing import Grant, Next, accepted, rejected
from .resubscribing import LINE_RETRY, LINE_SPREAD, WAITS_FOR_LINE
from .subscription import pace_of
from .unowned import UNOWNED, Deaf

if TYPE_CHECKING:
    from .agent import UserAgent

MAXIMUM_PUBLICATIONS = 10_000
MAXIMUM_ETAG = 256  # characters of an entity tag that are taken


class Refresh(Deaf):
    """The owner of a PUBLISH that the service sends."""

    __slots__ = ("publication",)

    def __init__(self, publication: Publication) -> None:
        self.publication = publication


def prepared(agent: UserAgent, owner: Owner, draft: Draft) -> Draft:
    """A PUBLISH with its Expires; an entity tag that the owner was told becomes the one in force."""
    if isinstance(owner, Refresh):
        return draft
    if draft.refresh and header_of(draft, "expires") is None:
        draft = with_headers(draft, ("Expires", str(draft.refresh)))
    etag = header_of(draft, "sip-if-match")
    known = agent.publications.by_etag(owner, etag.strip()) if etag else None
    if known is not None and known.etag:
        return with_headers(draft, ("SIP-If-Match", known.etag))
    if draft.refresh and len(agent.publications.by_number) >= MAXIMUM_PUBLICATIONS:
        raise SipProfileError("quota_exceeded", f"There are {MAXIMUM_PUBLICATIONS} publications already.")
    return draft


def sent(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    """A PUBLISH is on its way for the first time."""
    table, draft = agent.publications, outgoing.draft
    if isinstance(outgoing.owner, Refresh):
        known = outgoing.owner.publication
    else:
        etag = header_of(draft, "sip-if-match")
        before = table.by_etag(outgoing.owner, etag.strip()) if etag else None
        if not draft.refresh or not seconds_of(header_of(draft, "expires")):
            if before is not None:
                _forget(agent, before)  # this one removes it, or lets it end
            return
        kept = with_headers(draft, without=("sip-if-match",))
        seconds = seconds_of(header_of(draft, "expires")) or draft.refresh
        known = Publication(outgoing.owner, outgoing.line, kept, outgoing, Grant(seconds))
        if before is not None:
            known.etag, known.owners_etag = before.etag, before.owners_etag
            known.changes, before.paused, before.refresh_at = before, before.refresh_at, 0.0
            if not draft.body:
                known.draft = msgspec.structs.replace(
                    kept, body=before.draft.body, content_type=before.draft.content_type
                )
        table.by_number[outgoing.number] = known
    known.outgoing = outgoing
    known.refresh_at = 0.0
    table.by_request[outgoing.number] = known


def responded(agent: UserAgent, outgoing: Outgoing, response: Response, now: float) -> bool:
    """A final response; True: the service goes on by itself, and the owner need not hear of it."""
    known = agent.publications.by_request.get(outgoing.number)
    if known is None or response.status < 200:
        return False
    del agent.publications.by_request[outgoing.number]
    own = known.outgoing is outgoing
    known.outgoing = None
    if not own:
        return False
    fraction, pace = agent.room.random.random(), pace_of(agent)
    if response.status < 300:
        if known.changes is not None:
            _forget(agent, known.changes)
            known.changes = None
        etag = response.header("sip-etag") or ""
        known.etag = etag if etag.isprintable() and len(etag) <= MAXIMUM_ETAG else ""
        if known.ending:
            _remove_it(agent, known, now)
            return False
        first = outgoing is known.first or not known.owners_etag
        known.owners_etag = known.etag if first else known.owners_etag
        follows = accepted(known.grant, seconds_of(response.header("expires")), now, fraction, pace)
        troubled, known.troubled = known.troubled, follows.step != "refresh"
        _wake(agent, known, now + follows.delay)
        if outgoing is known.first or first or troubled:
            known.owner.responded(known.first, response, None, now)
        return True
    within = header_of(outgoing.draft, "sip-if-match") is not None
    minimum = seconds_of(response.header("min-expires")) or 0
    after = retry_after_of(response)
    follows = rejected(known.grant, response.status, within, now, fraction, pace, minimum, after)
    if known.grant.begun_at == 0 and not known.owners_etag:  # it has never been one
        if response.status == 423 and follows == Next("anew"):
            _wake(agent, known, now)
            return True
        _forget(agent, known)
        known.owner.responded(known.first, response, None, now)
        return True
    if outgoing is known.first and within:  # the owner's change of what is there
        _change_refused(agent, known, response.status == 412, now)
        return False
    _go_on(agent, known, follows, now)
    return False


def failed(agent: UserAgent, outgoing: Outgoing, code: str, now: float) -> bool:
    """No final response will come; True: the owner need not hear of it."""
    known = agent.publications.by_request.pop(outgoing.number, None)
    if known is None or known.outgoing is not outgoing:
        return False
    known.outgoing = None
    if known.ending or known.changes is not None or not known.owners_etag:
        _change_refused(agent, known, False, now)
        if not known.ending:
            known.owner.failed(known.first, code, now)
        return True
    within = header_of(outgoing.draft, "sip-if-match") is not None
    follows = rejected(known.grant, 0, within, now, agent.room.random.random(), pace_of(agent))
    _go_on(agent, known, follows, now)
    return True


def stop(agent: UserAgent, owner: Owner, number: int, now: float) -> None:
    """Remove what the owner published with request ``number``. Raises ``invalid_state`` when there is no such thing."""
    known = agent.publications.by_number.get(number)
    if known is None or known.owner is not owner or known.ending:
        raise SipProfileError("invalid_state", f"Request {number} is no publication that is refreshed.", value=number)
    end(agent, known, now)


def end(agent: UserAgent, known: Publication, now: float) -> None:
    """Remove it with Expires: 0 (RFC 3903 §4.5), as soon as its tag is known; the owner hears no more."""
    known.ending = True
    known.owner = UNOWNED
    known.refresh_at = 0.0
    if known.outgoing is None:
        _remove_it(agent, known, now)


def line_changed(agent: UserAgent, profile: int, now: float) -> None:
    """The profile is registered: what waited for that goes out."""
    for number in sorted(agent.publications.waiting.pop(profile, ())):
        known = agent.publications.by_number.get(number)
        if known is not None and known.outgoing is None:
            _wake(agent, known, now + LINE_SPREAD * agent.room.random.random())


def _change_refused(agent: UserAgent, known: Publication, gone: bool, now: float) -> None:
    """It is none; what it was to change goes on, unless the server has it no more (RFC 3903 §4.4)."""
    before, known.changes = known.changes, None
    _forget(agent, known)
    if before is None:
        return
    if gone:
        _forget(agent, before)
    elif before.paused and not before.refresh_at and before.first.number in agent.publications.by_number:
        _wake(agent, before, max(before.paused, now))


def _go_on(agent: UserAgent, known: Publication, follows: Next, now: float) -> None:
    if known.ending or follows.step == "over":
        _forget(agent, known)
        if not known.ending:
            known.owner.failed(known.first, "publication_lost", now)
        return
    if follows.step == "anew":
        known.etag = ""
    if follows.delay and not known.troubled:
        known.troubled = True
        known.owner.failed(known.first, "not_refreshed", now)
    if known.first.number in agent.publications.by_number:
        _wake(agent, known, now + follows.delay)


def _wake(agent: UserAgent, known: Publication, at: float) -> None:
    known.refresh_at = at
    agent.room.call_at(at, partial(_due, agent, known, at))


def _due(agent: UserAgent, known: Publication, at: float, now: float) -> None:
    if known.refresh_at != at or known.outgoing is not None or known.first.number not in agent.publications.by_number:
        return
    known.refresh_at = 0.0
    _waits_no_more(agent, known)
    if known.etag and not known.grant.lives(now):
        known.etag = ""
        known.grant.lost()
    draft = with_headers(known.draft, ("Expires", str(known.grant.seconds)))
    changes: dict[str, object] = {"refresh": 0, "call_id": None}
    if known.etag:
        draft = with_headers(draft, ("SIP-If-Match", known.etag))
        changes |= {"body": b"", "content_type": None}
    try:
        client.send(agent, Refresh(known), known.line, msgspec.structs.replace(draft, **changes), now)
    except SipProfileError as error:
        if error.code in WAITS_FOR_LINE and known.owners_etag:
            _wake(agent, known, now + LINE_RETRY * (0.5 + 0.5 * agent.room.random.random()))
            agent.publications.waiting.setdefault(known.line.profile, set()).add(known.first.number)
        else:
            _forget(agent, known)
            known.owner.failed(known.first, "publication_lost" if known.owners_etag else "not_registered", now)


def _remove_it(agent: UserAgent, known: Publication, now: float) -> None:
    _forget(agent, known)
    if not known.etag or (not known.grant.lives(now) and known.grant.begun_at):
        return
    draft = with_headers(known.draft, ("Expires", "0"), ("SIP-If-Match", known.etag))
    draft = msgspec.structs.replace(draft, refresh=0, call_id=None, body=b"", content_type=None)
    try:
        client.send(agent, UNOWNED, known.line, draft, now)
    except SipProfileError:
        return


def _waits_no_more(agent: UserAgent, known: Publication) -> None:
    waiting = agent.publications.waiting.get(known.line.profile)
    if waiting is not None:
        waiting.discard(known.first.number)
        if not waiting:
            del agent.publications.waiting[known.line.profile]


def _forget(agent: UserAgent, known: Publication) -> None:
    agent.publications.by_number.pop(known.first.number, None)
    _waits_no_more(agent, known)
    if known.outgoing is not None:
        agent.publications.by_request.pop(known.outgoing.number, None)
        known.outgoing = None
