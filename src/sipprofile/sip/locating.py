"""Locating SIP servers (RFC 3263 §4): from a URI to protocols, addresses and ports, in the order to try them.

:func:`locate` is asked again after each answer of the DNS. It says which record sets it still needs or, when it has
them all, what they add up to: tiers of choices, each to be tried before the next. :func:`draw` puts one attempt's
candidates in order; only there weights and chance matter (RFC 2782), so one location serves every profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from .uri import Uri

if TYPE_CHECKING:
    from random import Random

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.2.2 (the ports of HTTP)."""

NAPTR_SERVICES = {
    "SIP+D2U": "udp",
    "SIP+D2T": "tcp",
    "SIPS+D2T": "tls",
    "SIP+D2W": "ws",
    "SIPS+D2W": "wss",
}
"""Service field → our protocol (RFC 3263 §4.1, RFC 7118 §10.4)."""

SRV_LABELS = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
"""RFC 3263 §4.1; nothing is defined for WebSocket, which is found by NAPTR or by its address."""

SECURE = {"tcp": "tls", "ws": "wss"}
"""What the transport parameter of a SIPS URI means (RFC 3261 §26.2.2)."""

MAXIMUM_SERVICES = 16
"""NAPTR records of use that are followed."""
MAXIMUM_SERVERS = 32
"""Servers of one location; a larger SRV answer loses those of the least priority."""
MAXIMUM_ADDRESSES = 16
"""Addresses of one server."""
MAXIMUM_CANDIDATES = 64


class Question(msgspec.Struct, frozen=True, gc=False):
    """A record set to look up. ``ADDRESS`` is A and AAAA together, and whatever else this host knows names by."""

    name: str
    kind: Literal["ADDRESS", "SRV", "NAPTR"] = "ADDRESS"


class Srv(msgspec.Struct, frozen=True, gc=False):
    """RFC 2782. ``target`` is without final dot; empty: the service is decidedly not available."""

    priority: int
    weight: int
    port: int
    target: str


class Naptr(msgspec.Struct, frozen=True, gc=False):
    """RFC 3403 §4.1, without the regular expression, which SIP does not use. ``replacement`` has no final dot."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


Record = str | Srv | Naptr
"""An address, or a record of the kind that was asked for."""


class Server(msgspec.Struct, frozen=True, gc=False):
    """A server as its URI names it (RFC 3263 §4): TARGET, port, transport, and what we can speak."""

    host: str
    port: int | None
    transport: str | None
    """Our protocol that the URI asks for, ``None`` when it leaves the choice to us."""
    transports: tuple[str, ...]
    """The protocols that may be used, the preferred one first."""

    @classmethod
    def of(cls, uri: Uri, transports: Iterable[str]) -> Server:
        """The server that ``uri`` names, to be reached by one of ``transports``."""
        secure = uri.scheme == "sips"
        transport = uri.transport
        usable = tuple(name for name in transports if not secure or name in SECURE.values())
        return cls(
            host=(uri.param("maddr") or uri.host).lower(),
            port=uri.port,
            transport=SECURE.get(transport, transport) if secure and transport else transport,
            transports=usable,
        )

    @property
    def protocol(self) -> str:
        """What is used when neither the URI nor the DNS says it: UDP, for SIPS URIs TLS (RFC 3263 §4.1)."""
        if self.transport is not None:
            return self.transport
        return "udp" if "udp" in self.transports or not self.transports else self.transports[0]


class Candidate(NamedTuple):
    """Where to send to."""

    protocol: str
    address: str
    port: int


class Choice(NamedTuple):
    """One server of a tier, with its addresses in the order to try them."""

    weight: int
    candidates: tuple[Candidate, ...]


Tier = tuple[Choice, ...]
"""Servers of equal priority."""


class Located(NamedTuple):
    """What is known of a server's location."""

    missing: tuple[Question, ...]
    """Record sets without which nothing more can be said; all may be looked up at once."""
    used: tuple[Question, ...]
    """Record sets that ``tiers`` follow from; the first of them to expire ends their life."""
    tiers: tuple[Tier, ...]
    """Empty while something is missing, or when there is no such server."""


def locate(server: Server, answer: Callable[[Question], tuple[Record, ...] | None]) -> Located:
    """Where ``server`` is. ``answer`` gives a record set, empty if there is none, or ``None`` if it is not known."""
    inquiry = _Inquiry(answer)
    tiers = _tiers(inquiry, server)
    missing = tuple(dict.fromkeys(inquiry.missing))
    return Located(missing, tuple(dict.fromkeys(inquiry.used)), () if missing else tiers)


def draw(tiers: tuple[Tier, ...], random: Random) -> list[Candidate]:
    """The candidates of one attempt: by priority, within it by weight and chance (RFC 2782)."""
    found: list[Candidate] = []
    for tier in tiers:
        for choice in tier if len(tier) == 1 else _by_weight(tier, random):
            found.extend(choice.candidates)
    return found


def numeric(host: str) -> str | None:
    """The address that ``host`` is, without brackets; ``None`` for a name."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(bare)
    except ValueError:
        return None
    return bare


class _Inquiry:
    """The questions that came up, and whether they have answers."""

    def __init__(self, answer: Callable[[Question], tuple[Record, ...] | None]) -> None:
        self._answer = answer
        self.missing: list[Question] = []
        self.used: list[Question] = []
        self.has_srv = False

    def records(self, name: str, kind: Literal["ADDRESS", "SRV", "NAPTR"]) -> tuple[Record, ...]:
        question = Question(name, kind)
        self.used.append(question)
        found = self._answer(question)
        if found is None:
            self.missing.append(question)
        return found or ()


def _tiers(inquiry: _Inquiry, server: Server) -> tuple[Tier, ...]:
    address = numeric(server.host)
    protocol = server.protocol
    if address is not None:
        return ((Choice(0, (Candidate(protocol, address, server.port or DEFAULT_PORTS[protocol]),)),),)
    if server.port is not None:
        return _at(inquiry, protocol, server.host, server.port)
    if server.transport is None:
        tiers = _by_naptr(inquiry, server)
        if tiers or inquiry.missing or inquiry.has_srv:
            return tiers
    tiers = _by_srv(inquiry, [(f"{SRV_LABELS[name]}.{server.host}", name) for name in _guessed(server)])
    if tiers or inquiry.missing or inquiry.has_srv:
        return tiers  # a domain that has SRV records means them, even if none of them is of use now
    return _at(inquiry, protocol, server.host, DEFAULT_PORTS[protocol])


def _guessed(server: Server) -> list[str]:
    """The protocols whose SRV records are asked for when no NAPTR record says which there are (RFC 3263 §4.1)."""
    if server.transport is not None:
        return [server.transport] if server.transport in SRV_LABELS else []
    known = [name for name in server.transports if name in SRV_LABELS]
    return [name for name in known if name != "tls"] or known  # _sips is for SIPS URIs, where nothing else is left


def _at(inquiry: _Inquiry, protocol: str, host: str, port: int) -> tuple[Tier, ...]:
    candidates = _candidates(inquiry, protocol, host, port)
    return ((Choice(0, candidates),),) if candidates else ()


def _by_naptr(inquiry: _Inquiry, server: Server) -> tuple[Tier, ...]:
    """The servers of the lowest order that has any of use (RFC 3403 §4.1)."""
    usable = []
    for record in inquiry.records(server.host, "NAPTR"):
        if isinstance(record, Naptr) and record.flags.lower() == "s" and record.replacement:
            protocol = NAPTR_SERVICES.get(record.service.upper())
            if protocol in server.transports:
                usable.append((record.order, record.preference, record.replacement, protocol))
    usable = sorted(usable, key=lambda found: found[:2])[:MAXIMUM_SERVICES]
    for order in sorted({found[0] for found in usable}):
        names = [(found[2], found[3]) for found in usable if found[0] == order]
        tiers = _by_srv(inquiry, names)
        if tiers or inquiry.missing:
            return tiers
    return ()


def _by_srv(inquiry: _Inquiry, names: Iterable[tuple[str, str]]) -> tuple[Tier, ...]:
    """The servers behind SRV names, each with its protocol, the preferred name first (RFC 3263 §4.2)."""
    servers: list[tuple[int, Srv, str]] = []
    for position, (name, protocol) in enumerate(names):
        records = [record for record in inquiry.records(name, "SRV") if isinstance(record, Srv)]
        inquiry.has_srv = inquiry.has_srv or bool(records)
        servers.extend((position, record, protocol) for record in records if record.target and record.port)
    if inquiry.missing:
        return ()
    servers.sort(key=lambda found: (found[0], found[1].priority))
    tiers: dict[tuple[int, int], list[Choice]] = {}
    room = MAXIMUM_CANDIDATES
    for position, record, protocol in servers[:MAXIMUM_SERVERS]:
        candidates = _candidates(inquiry, protocol, record.target, record.port)[:room]
        if candidates:
            tiers.setdefault((position, record.priority), []).append(Choice(record.weight, candidates))
            room -= len(candidates)
    return tuple(map(tuple, tiers.values()))


def _candidates(inquiry: _Inquiry, protocol: str, host: str, port: int) -> tuple[Candidate, ...]:
    addresses = inquiry.records(host, "ADDRESS")[:MAXIMUM_ADDRESSES]
    return tuple(Candidate(protocol, address, port) for address in addresses if isinstance(address, str))


def _by_weight(tier: Tier, random: Random) -> list[Choice]:
    """One of them after the other, each with a chance that is its share of what is left (RFC 2782, ``Weight``)."""
    left = list(tier)
    random.shuffle(left)
    left.sort(key=lambda choice: choice.weight > 0)
    drawn = []
    while len(left) > 1:
        number = random.randint(0, sum(choice.weight for choice in left))
        chosen = 0
        while number > left[chosen].weight:
            number -= left[chosen].weight
            chosen += 1
        drawn.append(left.pop(chosen))
    return drawn + left
