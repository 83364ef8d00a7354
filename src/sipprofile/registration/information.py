"""What a 2xx says about digest: the nonce to use next, the server's own proof (RFC 7616 §3.5, RFC 3261 §20.6).

A wrong proof is told and changes nothing else: no profile can demand that servers prove themselves, and a registrar
that computes it wrongly registers all the same. With two realms of one kind the header does not say whose it is; then
it is passed over.
"""

from __future__ import annotations

from hmac import compare_digest

import msgspec

from ..agents.base import Plan
from ..sip.digest import Challenge, parse_authentication_info, response_auth
from ..sip.message import Response
from .registration import Flow, Nonce
from .request import request_uri

HEADERS = (("authentication-info", False), ("proxy-authentication-info", True))


def learn(plan: Plan, flow: Flow, response: Response, cnonce: str) -> bool:
    """Take the next nonce; whether all that was said is true."""
    honest = True
    for name, proxy in HEADERS:
        value = response.header(name)
        nonces = [nonce for nonce in flow.nonces if nonce.terms.proxy == proxy] if value else ()
        if value and len(nonces) == 1:
            info = parse_authentication_info(value)
            uri = flow.redirect_uri or request_uri(plan, flow.hop)
            honest = _proves(nonces[0], uri, info, response.body, cnonce) and honest
            _succeed(nonces[0], info.get("nextnonce"))
    return honest


def _proves(nonce: Nonce, uri: str, info: dict[str, str], body: bytes, cnonce: str) -> bool:
    """Whether ``rspauth`` is right, or not there."""
    given = info.get("rspauth")
    challenge = nonce.challenge
    qops = challenge.terms.qop
    if not given or not qops:  # RFC 2069 has no proof
        return True
    qop = info.get("qop", "").lower()
    if qop in ("auth", "auth-int") and qops != (qop,):
        challenge = Challenge(challenge.nonce, msgspec.structs.replace(challenge.terms, qop=(qop,)))
    expected = response_auth(challenge, ha1=nonce.ha1, uri=uri, nonce_count=nonce.count, cnonce=cnonce, body=body)
    return compare_digest(expected.encode(), given.lower().encode("utf-8", "surrogateescape"))


def _succeed(nonce: Nonce, following: str | None) -> None:
    """Use the nonce ``following`` from now on, counted from 1.

    Not with a -sess algorithm, whose key is bound to the nonce of the challenge (RFC 7616 §3.4.2): servers disagree
    which one that is, and a stale nonce costs them no more than one round trip.
    """
    if not following or following == nonce.text or nonce.terms.algorithm.endswith("-sess"):
        return
    nonce.text = following
    nonce.count = 0
    nonce.limit = 0
