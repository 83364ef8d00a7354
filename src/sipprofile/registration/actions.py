"""What the registration machine asks of the world around it (RFC 3261 has no figure for this boundary).

Every action is plain data. The shell performs it and reports back through the inputs of
:class:`sipprofile.registration.registrations.Registrations`.
"""

from __future__ import annotations

import msgspec

from ..profile import Identity
from ..sip.locating import Question


class TransportKey(msgspec.Struct, frozen=True, gc=False):
    """One way to a next hop: a UDP destination, or one connection over TCP, TLS or WebSocket (RFC 3261 §18, RFC 7118).

    ``host`` is a numeric address, IPv6 without brackets. ``dscp`` is the DiffServ code point (0-63) of
    everything sent this way, or ``None`` for the system's default; it is part of the key because a
    connection has only one. So is ``identity``, which TLS and WebSocket have. ``accepted`` is a connection that the
    other side has opened to us: answers go back on it, nothing else does.
    """

    protocol: str
    host: str
    port: int
    dscp: int | None = None
    identity: Identity | None = None
    accepted: bool = False
    generation: int = 0
    """Counts the connections that took the place of another one, which drains; see :class:`Probe`."""
    local_port: int = 0
    """UDP only: the local port, 0 = the service's own; others are those of :class:`Listen`."""


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """Look up one record set; answer with ``resolved`` or ``resolve_failed``."""

    question: Question


class OpenTransport(msgspec.Struct, frozen=True, gc=False):
    """Make ``key`` usable; answer with ``transport_opened`` or ``transport_failed``."""

    key: TransportKey


class CloseTransport(msgspec.Struct, frozen=True, gc=False):
    """Nothing uses ``key`` any more; no answer is expected."""

    key: TransportKey


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send one complete SIP message (or a CRLF keepalive, RFC 5626 §3.5.1)."""

    key: TransportKey
    data: bytes

    def __repr__(self) -> str:
        return f"Send(key={self.key!r}, {len(self.data)} bytes)"  # it may hold a token or a digest


class FetchToken(msgspec.Struct, frozen=True, gc=False):
    """Get an access token (RFC 8898) from ``source``; answer with ``token_fetched`` or ``token_not_fetched``."""

    source: str


class Probe(msgspec.Struct, frozen=True, gc=False):
    """Find out from where ``key`` would be reached now; answer with ``transport_probed``. Nothing goes on the wire."""

    key: TransportKey


class ForgetNames(msgspec.Struct, frozen=True, gc=False):
    """Answers of name servers that are kept may be wrong by now; no answer is expected."""


class Listen(msgspec.Struct, frozen=True, gc=False):
    """Open a UDP socket for local programs at ``host``; answer with ``listening`` or ``not_listening``.

    ``port`` 0: the first free one from 5080. What comes in there has the port in its key's ``local_port``.
    """

    profile: int
    host: str
    port: int


class StopListening(msgspec.Struct, frozen=True, gc=False):
    """Close the socket at ``port``; no answer is expected."""

    port: int


Action = Resolve | OpenTransport | CloseTransport | Send | FetchToken | Probe | ForgetNames | Listen | StopListening
