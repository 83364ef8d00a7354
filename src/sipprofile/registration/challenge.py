"""Answering challenges: which credentials for which realm, nonces kept for the next request (RFC 3261 §22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Credentials, Plan
from ..sip.digest import Challenge, authorization, parse_challenges, strongest, usual_authorization
from ..sip.message import Response
from .registration import Flow, Nonce

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_ROUNDS = 4  # challenges answered in one attempt
MAXIMUM_REALMS = 4


def challenges_of(response: Response) -> list[Challenge]:
    """The strongest usable challenge of each realm in a 401 or 407."""
    found = parse_challenges(response.headers("www-authenticate"), False)
    found += parse_challenges(response.headers("proxy-authenticate"), True)
    if len(found) <= 1:
        return found
    realms: dict[tuple[str, bool], list[Challenge]] = {}
    for challenge in found:
        realms.setdefault((challenge.realm, challenge.proxy), []).append(challenge)
    best = [strongest(group) for group in realms.values()]
    return [challenge for challenge in best if challenge is not None][:MAXIMUM_REALMS]


def credentials_for(plan: Plan, hop: int, challenge: Challenge) -> Credentials | None:
    """The credentials for a realm: those configured for it, else the challenging server's, else the other server's.

    Credentials with a realm answer no other realm: that is what keeps a stranger from harvesting digests.
    """
    proxy = plan.hops[hop].credentials
    order = (proxy, plan.credentials) if challenge.proxy else (plan.credentials, proxy)
    for credentials in order:
        if credentials is not None and credentials.realm == challenge.realm:
            return credentials
    for credentials in order:
        if credentials is not None and credentials.realm is None:
            return credentials
    return None


def answer(flow: Flow, plan: Plan, challenges: list[Challenge]) -> str:
    """Take ``challenges`` into the flow's nonces. Returns a reason code when that is hopeless, else an empty text."""
    code, nonces = taken(flow, plan, challenges, flow.attempt)
    if code:
        return code
    flow.rounds += 1
    if flow.rounds > MAXIMUM_ROUNDS:
        return "too_many_challenges"
    flow.nonces = nonces
    return ""


def taken(flow: Flow, plan: Plan, challenges: list[Challenge], attempt: int) -> tuple[str, tuple[Nonce, ...]]:
    """The flow's nonces with those of ``challenges``, or the reason code why that is hopeless.

    A challenge to credentials whose nonce came in this very ``attempt`` is a rejection.
    """
    if not challenges:
        return "challenge_unsupported", ()
    nonces = {(nonce.terms.realm, nonce.terms.proxy): nonce for nonce in flow.nonces}
    for challenge in challenges:
        known = nonces.get((challenge.realm, challenge.proxy))
        same_nonce = known is not None and known.text == challenge.nonce
        used_up = known is not None and 0 < known.limit <= known.count  # then it was not in the request
        # A nonce of an earlier attempt may have ended, but then the server gives another one.
        # One that another request has brought (a negative attempt) may not have been in this REGISTER at all.
        again = known is not None and same_nonce and not used_up and (known.attempt > 0 or known.attempt * attempt > 0)
        if known and not challenge.stale and (known.attempt == attempt or again):
            return "rejected_credentials", ()
        credentials = credentials_for(plan, flow.rare.hop, challenge)
        if credentials is None:
            return "no_credentials", ()
        fresh = nonces[challenge.realm, challenge.proxy] = Nonce(
            challenge.nonce, challenge.terms, credentials, attempt=attempt
        )
        fresh.asked = known is not None and known.asked
        if known is not None and same_nonce:  # its count goes on
            fresh.count, fresh.limit = known.count, 0 if used_up else known.limit
    return "", tuple(nonces.values())[-MAXIMUM_REALMS:]


def authorizations(
    flow: Flow, uri: str, cnonce: str, method: str = "REGISTER", body: bytes = b"", *, registrar: bool = True
) -> str:
    """The header lines that answer every nonce in store; each use counts (RFC 7616 §3.4 ``nc``).

    ``registrar``: the request goes to it. Others have its nonces only when it has asked for that: proxies pass
    Authorization on, and whoever is called would get a digest to guess the password from.
    """
    lines = ""
    for nonce in flow.nonces:
        if nonce.limit and nonce.count >= nonce.limit:
            continue
        if not (registrar or nonce.asked or nonce.terms.proxy):
            continue
        nonce.count += 1
        terms, own = nonce.terms, nonce.credentials
        name = "Proxy-Authorization" if terms.proxy else "Authorization"
        value = usual_authorization(terms, nonce.text, own.username, own.password, method, uri, nonce.count, cnonce)
        if value is None:
            value = authorization(
                nonce.challenge,
                username=own.username,
                ha1=nonce.ha1,
                method=method,
                uri=uri,
                nonce_count=nonce.count,
                cnonce=cnonce,
                body=body,
            )
        lines += f"{name}: {value}\r\n"
    return lines


def cnonce_of(room: Registrations) -> str:
    """Our own part of all digests: random, so that no server has computed digests for a dictionary of passwords before
    it asks (RFC 7616 §5.10). The service makes it when the first one is needed."""
    if not room.cnonce:
        room.cnonce = f"{room.random.getrandbits(64):016x}"
    return room.cnonce


def drop_used_up(flow: Flow) -> None:
    """Forget nonces whose reserved counts are used up: a fresh challenge is safer than a count that may repeat."""
    for nonce in flow.nonces:
        if nonce.limit and nonce.count >= nonce.limit:
            flow.nonces = tuple(each for each in flow.nonces if not each.limit or each.count < each.limit)
            return
