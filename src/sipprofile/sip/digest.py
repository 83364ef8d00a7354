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

MAXIMUM_VALUE = 2048  # characters of one parameter of a challenge; real ones have some hundred at most

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~\-]++"
_attr_char = re.compile(r"[A-Za-z0-9!#$&+\-.^_`|~]").fullmatch  # RFC 5987 §3.2.1
_escaped = re.compile(rb"%([0-9A-Fa-f]{2})")
_separators = re.compile(r"[\s,]*+").match
_parameter = re.compile(rf'[\s,]*+({_TOKEN})\s*+=\s*+(?:"([^"\\]*+)"|([^\s",=\\][^\s",\\]*+))').match
_parameter_name = re.compile(rf"({_TOKEN})\s*+=\s*+").match
_scheme = re.compile(rf"({_TOKEN})(?:\s++|,|$)").match
_nonce_count = re.compile("[0-9A-Fa-f]{8}").fullmatch


class UnsupportedAlgorithm(ValueError):
    """A digest algorithm that is unknown here or missing from this machine's OpenSSL."""


class Terms(msgspec.Struct, frozen=True, gc=False):
    """A Digest challenge but for its nonce: the same for everybody at one server. `proxy` tells Proxy-Authenticate from
    WWW-Authenticate.

    `opaque` is the inside of the quoted string as it came, escapes included: it goes back byte for byte. `userhash`:
    the server takes the hash of the user name in its place. `utf8`: it said charset=UTF-8.
    """

    realm: str
    algorithm: str = "MD5"
    algorithm_given: bool = False
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    domain: str | None = None
    proxy: bool = False
    userhash: bool = False
    utf8: bool = False


class Challenge(msgspec.Struct, frozen=True, gc=False):
    """One Digest challenge."""

    nonce: str
    terms: Terms

    @property
    def realm(self) -> str:
        """Whose password is asked for."""
        return self.terms.realm

    @property
    def proxy(self) -> bool:
        """Whether it came as Proxy-Authenticate."""
        return self.terms.proxy

    @property
    def algorithm(self) -> str:
        """The name as RFC 7616 writes it."""
        return self.terms.algorithm

    @property
    def qop(self) -> tuple[str, ...]:
        """What the server offers; none in the form of RFC 2069."""
        return self.terms.qop

    @property
    def stale(self) -> bool:
        """Whether the nonce alone was refused."""
        return self.terms.stale


class DigestCredentials(msgspec.Struct, frozen=True, gc=False):
    """Credentials that `verify` found right. `nc` is None in the form of RFC 2069.

    With userhash=true `username` is H(username:realm).
    """

    username: str
    realm: str
    nonce: str
    nc: int | None
    uri: str
    algorithm: str


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


def _octets(text: str) -> bytes:
    """UTF-8, with the octets of a header that is not UTF-8 as they were received."""
    return text.encode("utf-8", "surrogateescape")


_HASHES: dict[str, Callable[[bytes], str]] = {"MD5": md5, "SHA-256": _sha256}
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

    Other schemes, algorithms that are not available, challenges with only unknown qop values, malformed ones and those
    with a value longer than MAXIMUM_VALUE are left out (RFC 7616 §3.3). A missing realm is an empty one.
    """
    challenges: list[Challenge] = []
    for value in values:
        challenge = _like_an_earlier_one(value, proxy)
        if challenge is not None:
            challenges.append(challenge)
        else:
            challenges += _challenges(value, proxy)
    return challenges


def _challenges(value: str, proxy: bool) -> list[Challenge]:
    found = (_challenge(params, proxy) for params in _scan(value))
    challenges = [challenge for challenge in found if challenge is not None]
    if len(challenges) == 1:
        _remember(value, challenges[0])
    return challenges


# A server's challenges differ in their nonce alone: what is around it need not be read again.
_EARLIER: dict[tuple[str, str, bool], Terms] = {}
_TERMS: dict[Terms, Terms] = {}
EARLIER_KEPT = 64


def _around_nonce(value: str) -> tuple[str, str, str]:
    """What is before the quoted nonce, inside of it and behind it; three empty texts when it is not so simple."""
    start = value.find(' nonce="') + 8
    if start < 8:
        start = value.find(',nonce="') + 8
    end = value.find('"', start)
    if start < 8 or end < 0:
        return "", "", ""
    nonce = value[start:end]
    if "\\" in nonce or not nonce.isprintable() or len(nonce) > MAXIMUM_VALUE:
        return "", "", ""
    return value[:start], nonce, value[end:]


def _like_an_earlier_one(value: str, proxy: bool) -> Challenge | None:
    before, nonce, after = _around_nonce(value)
    known = _EARLIER.get((before, after, proxy))
    if known is None:
        return None
    return Challenge(nonce, known)


def _remember(value: str, challenge: Challenge) -> None:
    before, nonce, after = _around_nonce(value)
    if before and nonce == challenge.nonce and "nonce" not in before[:-8].lower():  # of two the first counts
        if len(_EARLIER) >= EARLIER_KEPT:
            _EARLIER.clear()
        _EARLIER[before, after, challenge.proxy] = challenge.terms


def shared(terms: Terms) -> Terms:
    """One object for equal terms, as long as there are few different ones."""
    if len(_TERMS) >= EARLIER_KEPT:
        _TERMS.clear()
    return _TERMS.setdefault(terms, terms)


def _challenge(params: dict[str, str], proxy: bool) -> Challenge | None:
    realm, nonce = params.get("realm", ""), params.get("nonce")
    given = params.get("algorithm")
    algorithm = "MD5" if given is None else _CANONICAL.get(given.lower())
    if nonce is None or algorithm not in _HASHES or any(len(value) > MAXIMUM_VALUE for value in params.values()):
        return None
    offered = params.get("qop")
    qop = _known_qops(offered) if offered else ()
    if offered and not qop:
        return None
    terms = Terms(
        realm,
        algorithm,
        given is not None,
        qop,
        params.get("opaque"),
        params.get("stale", "").lower() == "true",
        params.get("domain"),
        proxy,
        params.get("userhash", "").lower() == "true",
        params.get("charset", "").lower() == "utf-8",
    )
    return Challenge(nonce, shared(terms))


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
                name, value = match[1].lower(), text[match.end() : position]
                params.setdefault(name, value[1:-1] if name == "opaque" else unquote(value))
                continue
        else:
            position = text.find(",", position) + 1 or len(text)
        if found and found[-1] is params:
            found.pop()


def parse_authentication_info(value: str) -> dict[str, str]:
    """The parameters of Authentication-Info or Proxy-Authentication-Info (RFC 7616 §3.5), names in lower case.

    Empty when they cannot be read or one of them is longer than MAXIMUM_VALUE.
    """
    found = _scan(f"Digest {value}")
    if len(found) != 1 or any(len(text) > MAXIMUM_VALUE for text in found[0].values()):
        return {}
    return found[0]


def strongest(challenges: Iterable[Challenge]) -> Challenge | None:
    """The first challenge with the strongest algorithm, None when there is none.

    A local policy: RFC 8760 §2.4 asks for the topmost supported one, which lets a weak order win.
    """
    return max(challenges, key=lambda challenge: _STRENGTH[challenge.algorithm], default=None)


def available(algorithm: str) -> bool:
    """Whether this machine's OpenSSL has the algorithm."""
    return algorithm in _HASHES


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
    RFC 2069. A user name that is not ASCII goes out as `username*` (RFC 7616 §3.4) only to servers that say
    charset=UTF-8; the others get it as the quoted UTF-8 that RFC 3261 §25.1 allows and they know.
    Raises UnsupportedAlgorithm, and SipSyntaxError for a line break in `username`.
    """
    terms = challenge.terms
    algorithm = terms.algorithm
    qop, response = _respond(challenge, ha1, f"{method}:{uri}", nonce_count, cnonce, body)
    if qop:
        tail = f', qop={qop}, nc={nonce_count:08x}, cnonce="{cnonce}"'
    else:
        tail = f', cnonce="{cnonce}"' if algorithm.endswith("-sess") else ""
    if terms.algorithm_given:
        tail += f", algorithm={algorithm}"
    if terms.opaque is not None:
        tail += f', opaque="{terms.opaque}"'
    if terms.userhash:
        name = f'username="{_hash_function(algorithm)(_octets(f"{username}:{terms.realm}"))}"'
        tail += ", userhash=true"
    elif terms.utf8 and not username.isascii():
        name = f"username*=UTF-8''{_extended(username)}"
    else:
        name = f"username={quote(username)}"
    return (
        f"Digest {name}, realm={quote(terms.realm)}, nonce={quote(challenge.nonce)}, "
        f'uri={quote(uri)}, response="{response}"{tail}'
    )


def usual_authorization(
    terms: Terms, nonce: str, username: str, password: str, method: str, uri: str, nonce_count: int, cnonce: str
) -> str | None:
    """What :func:`authorization` gives for ``qop=auth`` and in the form of RFC 2069, in a third of the time; ``None``
    where it is not so simple."""
    usual = usual_parts(terms, method, uri)
    if usual is None:
        return None
    hash_, ha2, before, between, after = usual
    ha1 = hash_(f"{username}:{terms.realm}:{password}".encode("utf-8", "surrogateescape"))
    rounds, used = "", ""
    if terms.qop:
        rounds = f"{nonce_count:08x}:{cnonce}:auth:"
        used = f', qop=auth, nc={nonce_count:08x}, cnonce="{cnonce}"'
    response = hash_(f"{ha1}:{nonce}:{rounds}{ha2}".encode("utf-8", "surrogateescape"))
    return f'Digest username={quote(username)}{before}{quote(nonce)}{between}{response}"{used}{after}'


@lru_cache(maxsize=256)
def usual_parts(terms: Terms, method: str, uri: str) -> tuple[Callable[[bytes], str], str, str, str, str] | None:
    """What is the same for every profile at one registrar: the hash function, H(A2), what stands between the user name
    and the nonce, between that and the response, and at the end."""
    algorithm = terms.algorithm
    if (terms.qop and "auth" not in terms.qop) or algorithm.endswith("-sess") or terms.userhash or terms.utf8:
        return None
    after = f", algorithm={algorithm}" if terms.algorithm_given else ""
    if terms.opaque is not None:
        after += f', opaque="{terms.opaque}"'
    before, between = f", realm={quote(terms.realm)}, nonce=", f', uri={quote(uri)}, response="'
    return _hash_function(algorithm), _ha2(algorithm, f"{method}:{uri}"), before, between, after


def response_auth(challenge: Challenge, *, ha1: str, uri: str, nonce_count: int, cnonce: str, body: bytes = b"") -> str:
    """The `rspauth` by which a server proves that it knows the password too (RFC 7616 §3.5).

    The arguments are those of the request that it answers, `body` is the answer's; see `authorization`.
    """
    return _respond(challenge, ha1, f":{uri}", nonce_count, cnonce, body)[1]


def _respond(
    challenge: Challenge, ha1: str, request: str, nonce_count: int, cnonce: str, body: bytes
) -> tuple[str, str]:
    """The qop that is used, '' for the form of RFC 2069, and the response (RFC 7616 §3.4.1)."""
    algorithm = challenge.terms.algorithm
    hash_ = _hash_function(algorithm)
    nonce = challenge.nonce
    if algorithm.endswith("-sess"):
        ha1 = hash_(_octets(f"{ha1}:{nonce}:{cnonce}"))
    qops = challenge.terms.qop
    qop = "auth" if "auth" in qops else "auth-int" if qops else ""
    ha2 = hash_(_octets(f"{request}:{hash_(body)}")) if qop == "auth-int" else _ha2(algorithm, request)
    rounds = f"{nonce_count:08x}:{cnonce}:{qop}:" if qop else ""
    return qop, hash_(_octets(f"{ha1}:{nonce}:{rounds}{ha2}"))


@lru_cache(maxsize=256)
def _ha2(algorithm: str, request: str) -> str:
    """H(A2) (RFC 7616 §3.4.3), the same for every profile at one registrar; of auth-int there is nothing to keep."""
    return _HASHES[algorithm](_octets(request))


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
        username = params["username"] if "username" in params else _from_extended(params["username*"])
        realm, nonce = params["realm"], params["nonce"]
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


def _extended(text: str) -> str:
    """The value of an extended parameter after its charset (RFC 5987 §3.2.1)."""
    return "".join(chr(octet) if _attr_char(chr(octet)) else f"%{octet:02X}" for octet in _octets(text))


def _from_extended(value: str) -> str:
    """The text of an extended parameter in UTF-8, '' when it has another form."""
    charset, _, text = value.partition("''")
    octets = _escaped.sub(lambda found: bytes.fromhex(found[1].decode()), _octets(text))
    return octets.decode("utf-8", "surrogateescape") if charset.lower() == "utf-8" else ""
