"""Who is asking, and what they may do: peer credentials of the Unix socket, bearer tokens, Host and Origin."""

from __future__ import annotations

import functools
import ipaddress
import os
import pwd
import socket
import struct
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from ..errors import SipProfileError
from ..service.policy import CAPABILITIES, Actor
from .accounts import gid_of, uid_of
from .revocation import TOKEN
from .tokens import Token, Tokens

SO_PEERGROUPS = 59  # Linux, asm-generic/socket.h; Python's socket module does not name it
ALL = frozenset(CAPABILITIES)
READING = ("GET", "HEAD", "OPTIONS")


class Peer(NamedTuple):
    """The process at the other end of a Unix socket, as the kernel knows it (unix(7))."""

    pid: int
    uid: int
    groups: frozenset[int]


def peer_of(fileno: int) -> Peer:
    """Credentials of the peer of a connected Unix socket."""
    with socket.socket(fileno=os.dup(fileno)) as connection:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, gid = struct.unpack("3i", credentials)
        size = 256
        while True:
            try:
                supplementary = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, size)
                break
            except OSError:  # ERANGE: more groups than fit; the kernel allows 65,536 (credentials(7))
                if size >= 4 * 65536:
                    supplementary = b""
                    break
                size *= 4
    groups = struct.unpack(f"{len(supplementary) // 4}I", supplementary)
    return Peer(pid, uid & 0xFFFFFFFF, frozenset((gid & 0xFFFFFFFF, *groups)))


class PeerRights:
    """Capabilities by uid and group of the peer.

    The service's own uid may everything, root too unless it is configured otherwise, and anybody not named nothing.
    ``unknown`` lists configured names that this machine does not know.
    """

    def __init__(self, users: Mapping[str, Collection[str]], groups: Mapping[str, Collection[str]]) -> None:
        self.unknown: list[str] = []
        self._users: dict[int, frozenset[str]] = {0: ALL}
        self._groups: dict[int, frozenset[str]] = {}
        for name, capabilities in users.items():
            uid = uid_of(name)
            if uid is None:
                self.unknown.append(f"user {name}")
            else:
                self._users[uid] = frozenset(capabilities)
        for name, capabilities in groups.items():
            gid = gid_of(name)
            if gid is None:
                self.unknown.append(f"group {name}")
            else:
                self._groups[gid] = frozenset(capabilities)
        self._users[os.geteuid()] = ALL

    def capabilities(self, uid: int, groups: Collection[int]) -> frozenset[str]:
        """What this user may do: its own rights and those of all its groups together."""
        found = self._users.get(uid, frozenset())
        for group in groups:
            found |= self._groups.get(group, frozenset())
        return found


class Access:
    """Turns a request into the :class:`Actor` that the service judges."""

    def __init__(
        self, rights: PeerRights, tokens: Tokens, *, allowed_hosts: Collection[str], allowed_origins: Collection[str]
    ) -> None:
        self._rights = rights
        self._tokens = tokens
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allowed_origins)

    def actor(self, request: web.Request) -> Actor:
        """Who sent ``request``; raises ``unauthenticated`` or, for a wrong Host or Origin, ``permission_denied``."""
        if request.transport is None:
            raise SipProfileError("unauthenticated", "The connection is closed.")
        connection = request.transport.get_extra_info("socket")
        local = connection.family == socket.AF_UNIX
        if not local:
            websocket = request.headers.get("Upgrade", "").lower() == "websocket"
            self.check_site(
                request.headers.get("Host", ""),
                request.headers.get("Origin"),
                changes=websocket or request.method not in READING,
            )
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            token = request[TOKEN] = self.bearer(authorization)
            return Actor(f"token:{token.name}", frozenset(token.capabilities), token=token.name)
        if not local:
            raise SipProfileError("unauthenticated", "This address needs a token.")
        peer = peer_of(connection.fileno())
        capabilities = self._rights.capabilities(peer.uid, peer.groups)
        return Actor(_user_name(peer.uid), capabilities, peer.uid, peer.groups)

    def bearer(self, authorization: str) -> Token:
        """The token in an Authorization header (RFC 6750 §2.1)."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            # Not repeated: without its scheme it may be the token itself.
            raise SipProfileError("unauthenticated", "Only 'Bearer' and a token are understood.")
        token = self._tokens.find(text.strip())
        if token is None:
            raise SipProfileError("unauthenticated", "The token is not known, or was removed.")
        return token

    def check_site(self, host: str, origin: str | None, *, changes: bool) -> None:
        """Refuse a web page's requests that a browser was tricked into sending here.

        A numeric Host is fine: DNS rebinding needs a name.
        """
        name = _host_name(host)
        if name not in self._hosts and not _numeric(name):
            raise SipProfileError(
                "permission_denied",
                f"The service does not answer to this Host; add it to listen.allowed_hosts: {name or 'none given'}.",
                field="Host",
                value=host,
            )
        if origin is None or not changes:
            return
        if _site(origin) != host.lower() and origin.lower() not in self._origins:
            raise SipProfileError(
                "permission_denied",
                "Pages of this origin may not use the service; add it to listen.allowed_origins.",
                field="Origin",
                value=origin,
            )


def _host_name(host: str) -> str:
    """``host`` of ``host[:port]`` (RFC 9110 §7.2), lower case, an IPv6 address without brackets."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _site(origin: str) -> str:
    """``host[:port]`` of an origin (RFC 6454 §7), empty for ``null`` and for what is no origin."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"
