"""Digest authentication of both sides (RFC 7616, RFC 2617, RFC 2069; in SIP RFC 3261 §22, RFC 8760)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from hmac import compare_digest

import msgspec

from sipprofile.sip.syntax import SipSyntaxError, quote, quoted_end, unquote

_ALGORITHMS = ("MD5", "SHA-256", "SHA-512-256")  # from weak to strong, RFC 8760 §2.3
_CANONICAL = {name.lower(): name for base in _ALGORITHMS for name in (base, f"{base}-sess")}
_STRENGTH = {name: _ALGORITHMS.index(name.removesuffix("-sess")) for name in _CANONICAL.values()}

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~\-]++"
_separators = re.compile(r"[\s,]*+").match
_parameter = re.compile(rf'[\s,]*+({_TOKEN})\s*+=\s*+(?:"([^"\\]*+)"|([^\s",=][^\s",]*+))').match
_parameter_name = re.compile(rf"({_TOKEN})\s*+=\s*+").match
_scheme = re.compile(rf"({_TOKEN})(?:\s++|,|$)").match
_nonce_count = re.compile("[0-9A-Fa-f]{8}").fullmatch


class UnsupportedAlgorithm(ValueError):
    """A digest algorithm that is unknown here or missing from this machine's OpenSSL."""


class Challenge(msgspec.Struct, frozen=True, gc=False):
    """One Digest challenge. `proxy` tells Proxy-Authenticate from WWW-Authenticate."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    algorithm_given: bool = False
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    domain: str | None = None
    proxy: bool = False


class DigestCredentials(msgspec.Struct, frozen=True, gc=False):
    """Credentials that `verify` found right. `nc` is None in the form of RFC 2069."""

    username: str
    realm: str
    nonce: str
    nc: int | None
    uri: str
    algorithm: str


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


def _octets(text: str) -> bytes:
    """UTF-8, with the octets of a header that is not UTF-8 as they were received."""
    return text.encode("utf-8", "surrogateescape")


_HASHES: dict[str, Callable[[bytes], str]] = {"MD5": _md5, "SHA-256": _sha256}
if "sha512_256" in hashlib.algorithms_available:
    _HASHES["SHA-512-256"] = _sha512_256
_HASHES |= {f"{name}-sess": function for name, function in _HASHES.items()}


def _hash_function(algorithm: str) -> Callable[[bytes], str]:
    function = _HASHES.get(algorithm)
    if function is None:
        known = ", ".join(_HASHES)
        raise UnsupportedAlgorithm(f"the digest algorithm {algorithm!r} is not available; use one of {known}")
    return function


def parse_challenges(values: Iterable[str], proxy: bool) -> list[Challenge]:
    """The Digest challenges of all lines of one header, in their order; a line may hold several.

    Other schemes, algorithms that are not available, challenges with only unknown qop values and malformed
    ones are left out (RFC 7616 §3.3).
    """
    challenges = []
    for value in values:
        for params in _scan(value):
            challenge = _challenge(params, proxy)
            if challenge is not None:
                challenges.append(challenge)
    return challenges


def _challenge(params: dict[str, str], proxy: bool) -> Challenge | None:
    realm, nonce = params.get("realm"), params.get("nonce")
    given = params.get("algorithm")
    algorithm = "MD5" if given is None else _CANONICAL.get(given.lower())
    if realm is None or nonce is None or algorithm not in _HASHES:
        return None
    offered = params.get("qop")
    qop = _known_qops(offered) if offered else ()
    if offered and not qop:
        return None
    return Challenge(
        realm,
        nonce,
        algorithm,
        given is not None,
        qop,
        params.get("opaque"),
        params.get("stale", "").lower() == "true",
        params.get("domain"),
        proxy,
    )


@lru_cache(maxsize=16)
def _known_qops(offered: str) -> tuple[str, ...]:
    """The values that RFC 7616 §3.3 defines; cached so that equal challenges share one tuple."""
    return tuple(word for word in offered.lower().replace(",", " ").split() if word in ("auth", "auth-int"))


def _scan(text: str) -> list[dict[str, str]]:
    """The parameters of every Digest challenge or credentials in `text`, names lower case, without malformed ones.

    The first of two equal parameters wins. One pass from left to right.
    """
    found: list[dict[str, str]] = []
    if "\r" in text or "\n" in text or "\0" in text:  # nothing we could echo
        return found
    params: dict[str, str] = {}
    position = 0
    while True:
        match = _parameter(text, position)
        if match is not None:
            name, quoted, plain = match.groups()
            params.setdefault(name.lower(), plain if quoted is None else quoted)
            position = match.end()
            continue
        position = _separators(text, position).end()  # type: ignore[union-attr]
        if position == len(text):
            return found
        match = _scheme(text, position)
        if match is not None:
            params = {}
            if match[1].lower() == "digest":
                found.append(params)
            position = match.end()
            continue
        match = _parameter_name(text, position)
        if match is not None and text.startswith('"', match.end()):
            try:
                position = quoted_end(text, match.end())
            except SipSyntaxError:
                position = len(text)
            else:
                params.setdefault(match[1].lower(), unquote(text[match.end() : position]))
                continue
        else:
            position = text.find(",", position) + 1 or len(text)
        if found and found[-1] is params:
            found.pop()


def strongest(challenges: Iterable[Challenge]) -> Challenge | None:
    """The first challenge with the strongest algorithm, None when there is none.

    A local policy: RFC 8760 §2.4 asks for the topmost supported one, which lets a weak order win.
    """
    return max(challenges, key=lambda challenge: _STRENGTH[challenge.algorithm], default=None)


def ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """H(username:realm:password), which can be stored in the place of the password (RFC 7616 §3.4.2).

    For a -sess algorithm this is the part without nonces. Raises UnsupportedAlgorithm.
    """
    return _hash_function(algorithm)(_octets(f"{username}:{realm}:{password}"))


def authorization(
    challenge: Challenge,
    *,
    username: str,
    ha1: str,
    method: str,
    uri: str,
    nonce_count: int,
    cnonce: str,
    body: bytes = b"",
) -> str:
    """The value of the Authorization or Proxy-Authorization header that answers a challenge (RFC 7616 §3.4).

    `ha1` is what the function of that name returns, `uri` goes out as it is, `cnonce` is fresh random text
    without quotes, `nonce_count` counts the uses of this nonce from 1. Without qop the answer has the form of
    RFC 2069.
    Raises UnsupportedAlgorithm, and SipSyntaxError for a line break in `username`.
    """
    algorithm = challenge.algorithm
    hash_ = _hash_function(algorithm)
    nonce = challenge.nonce
    if algorithm.endswith("-sess"):
        ha1 = hash_(_octets(f"{ha1}:{nonce}:{cnonce}"))
    qops = challenge.qop
    qop = "auth" if "auth" in qops else "auth-int" if qops else ""
    ha2 = _ha2(algorithm, f"{method}:{uri}", body if qop == "auth-int" else None)
    if qop:
        count = f"{nonce_count:08x}"
        response = hash_(_octets(f"{ha1}:{nonce}:{count}:{cnonce}:{qop}:{ha2}"))
        tail = f', qop={qop}, nc={count}, cnonce="{cnonce}"'
    else:
        response = hash_(_octets(f"{ha1}:{nonce}:{ha2}"))
        tail = f', cnonce="{cnonce}"' if algorithm.endswith("-sess") else ""
    if challenge.algorithm_given:
        tail += f", algorithm={algorithm}"
    if challenge.opaque is not None:
        tail += f", opaque={quote(challenge.opaque)}"
    return (
        f"Digest username={quote(username)}, realm={quote(challenge.realm)}, nonce={quote(nonce)}, "
        f'uri={quote(uri)}, response="{response}"{tail}'
    )


@lru_cache(maxsize=256)
def _ha2(algorithm: str, request: str, body: bytes | None) -> str:
    """H(A2) (RFC 7616 §3.4.3), the same for every profile at one registrar; `body` only for auth-int."""
    hash_ = _HASHES[algorithm]
    entity = "" if body is None else f":{hash_(body)}"
    return hash_(_octets(request + entity))


def verify(
    authorization_value: str,
    *,
    method: str,
    ha1: Callable[[str, str, str], str | None],
    body: bytes = b"",
) -> DigestCredentials | None:
    """The credentials when their response is right, else None (RFC 7616 §3.4.6).

    `ha1(username, realm, algorithm)` gives the stored hash or None for an unknown user. Whether the nonce is
    ours and fresh, nc new and the uri that of the request, is for the caller to check.
    """
    found = _scan(authorization_value)
    if not found:
        return None
    params = found[0]
    try:
        username, realm, nonce = params["username"], params["realm"], params["nonce"]
        uri, response = params["uri"], params["response"]
        qop = params.get("qop", "").lower()
        count, cnonce = (params["nc"], params["cnonce"]) if qop else ("", params.get("cnonce", ""))
    except KeyError:
        return None
    algorithm = _CANONICAL.get(params.get("algorithm", "MD5").lower())
    if algorithm not in _HASHES or qop not in ("", "auth", "auth-int") or (qop and not _nonce_count(count)):
        return None
    stored = ha1(username, realm, algorithm)
    if stored is None:
        return None
    hash_ = _HASHES[algorithm]
    if algorithm.endswith("-sess"):
        stored = hash_(_octets(f"{stored}:{nonce}:{cnonce}"))
    entity = f":{hash_(body)}" if qop == "auth-int" else ""
    ha2 = hash_(_octets(f"{method}:{uri}{entity}"))
    rounds = f"{count}:{cnonce}:{qop}:" if qop else ""
    expected = hash_(_octets(f"{stored}:{nonce}:{rounds}{ha2}"))
    if not compare_digest(_octets(expected), _octets(response.lower())):
        return None
    return DigestCredentials(username, realm, nonce, int(count, 16) if qop else None, uri, algorithm)
