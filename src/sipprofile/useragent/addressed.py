"""Whom a request outside of dialogs is for: the profile that has the contact or the identity it is addressed to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..registration.actions import TransportKey
from ..registration.line import Line
from ..registration.registration import Flow, Registration
from ..sip.headers import parse_name_addr
from ..sip.message import Request
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri, user_of
from .profile_line import profile_line

if TYPE_CHECKING:
    from .agent import UserAgent

MAXIMUM_CANDIDATES = 1_000
"""Profiles with the same user part that are looked at; of more nobody can be told apart."""


def line_of(agent: UserAgent, request: Request, key: TransportKey) -> Line | None:
    """The line that a valid ``request`` is for, ``None`` when it is for nobody here.

    In this order: a bridge's local port; our token in the Request-URI's user; a GRUU of ours (RFC 5627 §6); an
    identity that exactly one of the profiles has which registered over the flow that the request came on. Never by the
    source's address alone: a registrar serves many.
    """
    if key.local_port:
        return agent.local_lines.get(key.local_port)
    user = user_of(request.uri)
    profile = _contact(agent, user, key) if user is not None else None
    if profile is None and user is not None and ";gr" in request.uri:
        profile = _gruu(agent, request.uri, user)
    if profile is None:
        profile = _identity(agent, request, key)
    return profile_line(agent, profile) if profile is not None else None


def flow_of(agent: UserAgent, line: Line, key: TransportKey) -> int:
    """The flow of ``line`` on which a request came over ``key``, 0 when it is none of them."""
    registration = agent.room.by_profile.get(line.profile)
    if registration is None or key.local_port:
        return 0
    return next((flow.id for flow in registration.flows if _is_flow(flow, key)), 0)


def _contact(agent: UserAgent, user: str, key: TransportKey) -> int | None:
    """The profile whose Contact has this user part: that of the flow, where several have chosen the same."""
    room = agent.room
    profile = room.profile_of_contact(user)
    if profile is None:
        return None
    registration = room.by_profile[profile]
    if user == registration.first.contact_token:
        return profile  # nobody else has it
    others = [other for other in _on_flow(agent, user, key) if other.plan.contact_user == user]
    return others[0].profile if len(others) == 1 else profile


def _gruu(agent: UserAgent, text: str, user: str) -> int | None:
    """The profile with this GRUU. It is what the registrar has made, so it is compared as RFC 3261 §19.1.4 says."""
    uri = Uri.parse(text)
    if not uri.has_param("gr"):
        return None
    for registration in _candidates(agent, user):
        for flow in registration.flows:
            if any(gruu and _same_gruu(gruu, uri) for gruu in flow.gruu):
                return registration.profile
    return None


def _same_gruu(gruu: str, uri: Uri) -> bool:
    ours = Uri.parse(gruu)
    same = (ours.user, ours.host, ours.port) == (uri.user, uri.host, uri.port)
    return same and ours.has_param("gr") and (ours.param("gr") or "").lower() == (uri.param("gr") or "").lower()


def _identity(agent: UserAgent, request: Request, key: TransportKey) -> int | None:
    """The one profile on the flow that is meant by the Request-URI, by P-Called-Party-ID (RFC 7315 §4.2) or by To.

    Of several with the same user part it is the one with the same host too.
    """
    for uri in _names(request):
        if uri.user is None:
            continue
        found = list(_on_flow(agent, uri.user, key))
        if len(found) > 1:
            found = [registration for registration in found if _has_identity(registration, uri)]
        if len(found) == 1:
            return found[0].profile
    return None


def _names(request: Request) -> Iterator[Uri]:
    yield Uri.parse(request.uri)
    for name in ("p-called-party-id", "to"):
        value = request.header(name)
        try:
            if value is not None:
                yield Uri.parse(parse_name_addr(value).uri)
        except SipSyntaxError:
            continue


def _on_flow(agent: UserAgent, user: str, key: TransportKey) -> Iterator[Registration]:
    for registration in _candidates(agent, user):
        if registration.plan.contact_uri is None and any(_is_flow(flow, key) for flow in registration.flows):
            yield registration


def _is_flow(flow: Flow, key: TransportKey) -> bool:
    """Whether a request that came over ``key`` came on ``flow``; by UDP it has no more of it than the addresses."""
    bound = flow.bound
    if bound is None or flow.lease_end <= 0:
        return False
    if key.protocol == "udp":
        return (bound.protocol, bound.host, bound.port) == ("udp", key.host, key.port)
    return bound == key


def _candidates(agent: UserAgent, user: str) -> Iterable[Registration]:
    profiles = agent.room.addresses.of(user)
    if len(profiles) > MAXIMUM_CANDIDATES:
        return ()
    return [agent.room.by_profile[profile] for profile in profiles if profile in agent.room.by_profile]


def _has_identity(registration: Registration, uri: Uri) -> bool:
    identities = {registration.plan.aor, *(aor for flow in registration.flows for aor in flow.registered_aors)}
    for identity in identities:
        try:
            ours = Uri.parse(identity)
        except SipSyntaxError:
            continue
        if (ours.user, ours.host) == (uri.user, uri.host):
            return True
    return False
