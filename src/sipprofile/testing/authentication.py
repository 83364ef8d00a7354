"""The server side of digest authentication for the test registrar (RFC 3261 §22, RFC 7616, RFC 8760)."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping

from sipprofile.sip import digest
from sipprofile.sip.headers import quote
from sipprofile.sip.message import Request
from sipprofile.testing.faults import Faults

MAXIMUM_NONCES = 100_000  # kept at a time; the oldest goes first


class Verdict(enum.Enum):
    """What the credentials of a request are worth."""

    ABSENT = "absent"
    WRONG = "wrong"
    STALE = "stale"
    WRONG_URI = "wrong-uri"
    RIGHT = "right"


class _Nonce:
    __slots__ = ("expires_at", "last_count", "with_qop")

    def __init__(self, expires_at: float, with_qop: bool) -> None:
        self.expires_at = expires_at
        self.with_qop = with_qop
        self.last_count = 0


class Authentication:
    """The nonces in use, the challenges made with them, and the judgement of what comes back."""

    def __init__(
        self, realm: str, users: Mapping[str, str], random: random.Random, faults: Faults, *, proxy: bool = False
    ) -> None:
        """``proxy``: it challenges as a proxy does, whatever the faults say."""
        self.realm = realm
        self._always_proxy = proxy
        self._users = users
        self._random = random
        self._faults = faults
        self._nonces: dict[str, _Nonce] = {}

    def clear(self) -> None:
        """Forget every nonce."""
        self._nonces.clear()

    @property
    def _proxy(self) -> bool:
        return self._always_proxy or self._faults.proxy_challenge

    def challenges(self, now: float, *, stale: bool) -> list[tuple[str, str]]:
        """The challenge headers of a 401 or 407, made with one new nonce."""
        faults = self._faults
        nonce = f"{self._random.getrandbits(128):032x}"
        qop = "auth" if faults.qop is True else faults.qop
        if len(self._nonces) >= MAXIMUM_NONCES:
            del self._nonces[next(iter(self._nonces))]
        self._nonces[nonce] = _Nonce(now + faults.nonce_lifetime, bool(qop))
        tail = f", qop={quote(qop)}" if qop else ""
        if faults.opaque is not None:
            tail += f", opaque={quote(faults.opaque)}"
        if stale and not faults.stale_without_flag:
            tail += ", stale=true"
        first = f"Digest realm={quote(self.realm)}, nonce={quote(nonce)}"
        values = [] if faults.other_scheme is None else [faults.other_scheme]
        if faults.unknown_algorithm_first:
            values.append(f"{first}, algorithm=SHA3-512{tail}")
        for algorithm in faults.algorithms:
            omitted = faults.omit_algorithm and algorithm == "MD5"
            values.append(first + ("" if omitted else f", algorithm={algorithm}") + tail)
        if faults.two_challenges and not self._always_proxy:
            foreign = f"Digest realm={quote('other.' + self.realm)}, nonce={quote(nonce[::-1])}"
            values[0] = f'{foreign}, algorithm=MD5, qop="auth", {values[0]}'
        name = "Proxy-Authenticate" if self._proxy else "WWW-Authenticate"
        return [(name, value) for value in values]

    def judge(self, request: Request, now: float) -> tuple[Verdict, str]:
        """The verdict and the username of right, stale or misdirected credentials, else ''."""
        faults = self._faults
        name = "proxy-authorization" if self._proxy else "authorization"
        lines = request.headers(name)
        if not lines:
            return Verdict.ABSENT, ""
        right = None
        for line in lines:
            right = digest.verify(line, method=request.method, ha1=self._ha1, body=request.body)
            if right is not None:
                break
        if right is None:
            return Verdict.WRONG, ""
        if faults.opaque is not None and f"opaque={quote(faults.opaque)}" not in line:
            return Verdict.WRONG, ""
        if right.uri != request.uri:
            return Verdict.WRONG_URI, right.username
        nonce = self._nonces.get(right.nonce)
        if nonce is None or nonce.expires_at <= now or faults.always_stale:
            return Verdict.STALE, right.username
        if nonce.with_qop != (right.nc is not None):
            return Verdict.WRONG, ""
        if right.nc is not None:
            if right.nc <= nonce.last_count:  # a replay, RFC 7616 §3.4
                return Verdict.STALE, right.username
            nonce.last_count = right.nc
        if faults.one_time_nonces:
            del self._nonces[right.nonce]
        return Verdict.RIGHT, right.username

    def _ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        password = self._users.get(username)
        if password is None or realm != self.realm or algorithm not in self._faults.algorithms:
            return None
        return digest.ha1(algorithm, username, realm, password)
