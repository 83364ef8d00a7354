"""Access tokens in place of passwords (RFC 8898): fetched by the shell, shared by profiles, sent over TLS alone.

A profile names a source. One token of each source is kept; it is fetched when it is needed first, again before it ends,
and when a server refuses it. What it says is secret: it is in no ``repr`` and is never stored.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..events import Reason
from ..sip.bearer import asks_for_bearer
from ..sip.message import Response
from ..sip.transport import SECURE
from . import acceptance, attempt, failures
from .actions import FetchToken
from .pacing import RETRY
from .rare import AUTHORIZATION, PROXY_AUTHORIZATION, Bearer
from .registration import (
    DEREGISTER,
    FETCHING,
    REMOVE_OLD,
    WAITING,
    Flow,
    Registration,
)

if TYPE_CHECKING:
    from .registrations import Registrations

FETCH_LIMIT = 35.0  # seconds that a registration waits for a token
RENEW_BEFORE = 60.0  # seconds before its end in which a token is used but no longer relied on
USED_WITHOUT_END = 60.0  # seconds after which a token that does not say when it ends is asked for again
SHORTEST_LIFE = 10.0  # seconds that a token is used, whatever its source says
REFETCH_AFTER = 2.0  # seconds between two fetches because a server refused the token


class AccessToken:
    """What is known about one source."""

    __slots__ = ("asked_at", "fetched_at", "number", "renew_at", "users", "valid_until", "value", "waiting")

    def __init__(self) -> None:
        self.value = ""
        self.number = 0
        """Rises when the value changes; 0 = there was none yet."""
        self.valid_until = 0.0
        self.fetched_at = 0.0
        self.asked_at = 0.0
        """When the fetch under way began; 0 = none is."""
        self.renew_at = 0.0
        """When it is looked at again; 0 = not armed."""
        self.waiting: set[int] = set()
        """Flows that cannot go on without it."""
        self.users: set[int] = set()
        """Profiles that registered with it."""


def ready(room: Registrations, registration: Registration, flow: Flow, now: float) -> bool:
    """Whether the request can be built: a token is there, or none is needed. If not, the flow waits for it."""
    source = registration.plan.token_source
    if source is None or not _secure(flow):
        return True
    if flow.bearer is None:
        flow.bearer = Bearer()
    token = _token(room, source)
    token.users.add(registration.profile)
    if token.number and token.valid_until > now:
        return True
    token.waiting.add(flow.id)
    assert flow.key is not None
    room.transports[flow.key].waiting.add(flow.id)
    flow.phase = FETCHING
    flow.ends_at = now + FETCH_LIMIT
    room.arm(flow, flow.ends_at)
    _fetch(room, source, token, now)
    return False


def authorizations(room: Registrations, registration: Registration, flow: Flow) -> str:
    """The header lines that carry the token (RFC 8898 §2.1.2)."""
    bearer, source = flow.bearer, registration.plan.token_source
    if bearer is None or source is None or not _secure(flow):
        return ""
    token = _token(room, source)
    bearer.sent = token.number
    lines = f"Authorization: Bearer {token.value}\r\n" if bearer.headers & AUTHORIZATION else ""
    if bearer.headers & PROXY_AUTHORIZATION:
        lines += f"Proxy-Authorization: Bearer {token.value}\r\n"
    return lines


def answer(room: Registrations, registration: Registration, flow: Flow, response: Response, now: float) -> str | None:
    """Take a Bearer challenge. ``None``: there is none for us; else a reason code, empty when a token answers it."""
    source = registration.plan.token_source
    if source is None:
        return None
    asked_by = 0
    if asks_for_bearer(response.headers("www-authenticate")):
        asked_by |= AUTHORIZATION
    if asks_for_bearer(response.headers("proxy-authenticate")):
        asked_by |= PROXY_AUTHORIZATION
    if not asked_by:
        return None
    if not _secure(flow):
        return "bearer_needs_tls"
    if flow.bearer is None:
        flow.bearer = Bearer(headers=0)
    bearer, token = flow.bearer, _token(room, source)
    added = asked_by & ~bearer.headers
    bearer.headers |= asked_by
    if added or bearer.sent != token.number:
        return ""  # it has not seen this token yet
    if bearer.renewed == flow.attempt:
        return "rejected_credentials"
    bearer.renewed = flow.attempt
    if token.fetched_at < flow.sent_at and now - token.fetched_at >= REFETCH_AFTER:
        token.valid_until = 0.0
    return ""


def fetched(room: Registrations, source: str, value: str, lifetime: float | None, now: float) -> None:
    """A source gave a token that is good for ``lifetime`` seconds, if it says so."""
    token = _token(room, source)
    token.asked_at = 0.0
    token.fetched_at = now
    token.valid_until = now + (USED_WITHOUT_END if lifetime is None else max(lifetime, SHORTEST_LIFE))
    changed = value != token.value
    if changed:
        token.value = value
        token.number += 1
    if lifetime is not None:
        _look_again(room, source, token, max(token.valid_until - RENEW_BEFORE, now + SHORTEST_LIFE))
    waiting, token.waiting = token.waiting, set()
    for identity in sorted(waiting):
        flow = room.flows.get(identity)
        if flow is not None and flow.phase == FETCHING:
            attempt.resumed(room, room.owner(flow), flow, now)
    _try_again(room, source, token, now, refused=changed and token.number > 1)


def not_fetched(room: Registrations, source: str, now: float) -> None:
    """A source gave nothing; a token that has not ended is used on."""
    token = _token(room, source)
    token.asked_at = 0.0
    if token.users:
        _look_again(room, source, token, now + USED_WITHOUT_END)
    waiting, token.waiting = token.waiting, set()
    for identity in sorted(waiting):
        flow = room.flows.get(identity)
        if flow is not None and flow.phase == FETCHING:
            unavailable(room, room.owner(flow), flow, now)


def unavailable(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """No token came in time."""
    if flow.purpose == DEREGISTER:
        acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain"))
    elif flow.purpose == REMOVE_OLD and flow.lease_end > 0:
        acceptance.old_removed(room, registration, flow, now)
    else:
        failures.give_up(room, registration, flow, now, Reason.of("token_unavailable"))


def refused(room: Registrations, registration: Registration, now: float) -> None:
    """The source's token is refused: look now and then whether there is another."""
    source = registration.plan.token_source
    if source is not None:
        _look_again(room, source, _token(room, source), now + USED_WITHOUT_END)


def _token(room: Registrations, source: str) -> AccessToken:
    token = room.access_tokens.get(source)
    if token is None:
        token = room.access_tokens[source] = AccessToken()
    return token


def _secure(flow: Flow) -> bool:
    """RFC 8898 §3: a token that anybody can read is anybody's."""
    return flow.key is not None and flow.key.protocol in SECURE


def _fetch(room: Registrations, source: str, token: AccessToken, now: float) -> None:
    if not token.asked_at or now - token.asked_at > FETCH_LIMIT:
        token.asked_at = now
        room.act(FetchToken(source))


def _look_again(room: Registrations, source: str, token: AccessToken, at: float) -> None:
    if not token.renew_at or at < token.renew_at:
        token.renew_at = at
        room.call_at(at, partial(_renew, room, source, at))


def _renew(room: Registrations, source: str, at: float, now: float) -> None:
    token = _token(room, source)
    if token.renew_at != at:
        return
    token.renew_at = 0.0
    token.users = {number for number in token.users if _uses(room, number, source)}
    if token.users and not room.stopping:
        _fetch(room, source, token, now)


def _uses(room: Registrations, profile: int, source: str) -> bool:
    registration = room.by_profile.get(profile)
    return registration is not None and registration.plan.token_source == source and registration.should_register


def _try_again(room: Registrations, source: str, token: AccessToken, now: float, *, refused: bool) -> None:
    """Who waits because there was no token need not; ``refused``: nor who was refused with another, the secret has
    changed."""
    for number in sorted(token.users):
        if not _uses(room, number, source):
            continue
        registration = room.by_profile[number]
        for flow in registration.flows:
            if flow.phase != WAITING:
                continue
            if refused and flow.rejected:
                flow.rejected = 0
            elif flow.rejected or flow.reason.code != "token_unavailable":
                continue
            attempt.begin(room, registration, flow, now, RETRY)
