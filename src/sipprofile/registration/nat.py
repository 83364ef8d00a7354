"""The address that a NAT gives us, learned from answers (RFC 3581): shown in the Contact so that requests find us.

It belongs to the socket and the target, not to a profile: the first answer, be it a challenge, teaches it to all who
register there. Over connections, and where outbound or a GRUU does it better, the Contact stays as it is.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ..sip.message import Response
from ..sip.uri import Uri
from .registration import REGISTER, Flow, Registration
from .transport import Transport

if TYPE_CHECKING:
    from .registrations import Registrations

REMOVES = b">;expires=0"
MOVES = 3
"""How often in a row the address may change: where every answer shows another, no contact is better than the last."""
SETTLED_FOR = 3600.0  # seconds after which a settled address may change again


def learn(room: Registrations, flow: Flow, response: Response, now: float) -> None:
    """Take over how the server saw us."""
    assert flow.key is not None
    transport = room.transports.get(flow.key)
    if transport is None or transport.local is None:
        return
    seen = seen_as(response.header("via") or "", transport.local)
    if seen is None:
        return
    if seen == (transport.public or transport.local):
        if transport.moves:
            transport.moves = 0
        return
    if not _better(seen[0], transport.local[0]):
        return
    if now - transport.moved_at > SETTLED_FOR:
        transport.moves = 0
    if transport.moves < MOVES:
        transport.moves += 1
        transport.moved_at = now
        transport.public = seen if seen != transport.local else None
        flow.middle = b""


def shown(registration: Registration, flow: Flow, transport: Transport) -> tuple[str, int]:
    """The host and port that the Contact shows."""
    assert transport.local is not None
    return transport.public or transport.local if applies(registration, flow, transport) else transport.local


def applies(registration: Registration, flow: Flow, transport: Transport) -> bool:
    """Whether a learned address is for this flow."""
    plan = registration.plan
    return transport.key.protocol == "udp" and plan.contact_uri is None and not (flow.rare.outbound or plan.gruu)


def outdated(room: Registrations, registration: Registration, flow: Flow) -> bool:
    """Whether the answer that granted the lease also taught that its contact does not lead to us."""
    assert flow.key is not None
    transport = room.transports.get(flow.key)
    if transport is None or transport.local is None or not applies(registration, flow, transport):
        return False
    return flow.shown != shown(registration, flow, transport)


def replaces(flow: Flow, transport: Transport) -> bool:
    """Whether the REGISTER that brings the new contact also removes the old one, which leads to nobody by now."""
    return bool(flow.rare.old_contact) and transport.public is not None and not transport.one_contact


def refused(room: Registrations, flow: Flow) -> bool:
    """A request that removed the old contact was refused: whether that may have been the reason.

    Some registrars take one Contact at a time; from now on the old one is removed afterwards.
    """
    assert flow.key is not None
    transport = room.transports.get(flow.key)
    if transport is None or flow.purpose != REGISTER or not replaces(flow, transport):
        return False
    if REMOVES not in flow.middle:  # the answer itself has just taught the address: that request removed nothing
        return False
    transport.one_contact = True
    return True


def restore(flow: Flow, transport: Transport) -> None:
    """After a restart: the contact that is registered shows what was learned before."""
    assert transport.local is not None
    if transport.public is not None or shows(flow.contact, transport.local):
        return
    uri = Uri.parse(flow.contact)
    there = (uri.host.strip("[]"), uri.port or 5060)
    if there != transport.local and _is_address(there[0]):
        transport.public = there


def shows(contact: str, local: tuple[str, int]) -> bool:
    """Whether ``contact`` has our own address in it."""
    host, port = local
    return contact.partition("@")[2].partition(";")[0] == f"{host}:{port}"


def seen_as(via: str, local: tuple[str, int]) -> tuple[str, int] | None:
    """Host and port from which the server got our request, by the topmost Via that it sent back (RFC 3581 §4).

    ``None`` when it does not say, or says nonsense. A missing ``received`` means that the host was the one we gave.
    """
    via = via.partition(",")[0]
    port = _parameter(via, "rport")
    if not port or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 65_536:
        return None
    host = _parameter(via, "received").strip("[]") or local[0]
    return (host, int(port)) if host == local[0] or _is_address(host) else None


def _parameter(via: str, name: str) -> str:
    at = via.find(f";{name}=")
    if at < 0:
        return ""
    start = at + len(name) + 2
    end = via.find(";", start)
    return via[start : end if end >= 0 else len(via)].strip()


def _is_address(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (address.is_multicast or address.is_unspecified)


def _better(host: str, local: str) -> bool:
    """A private address is no better than a public one: the server sees us through something of its own."""
    return not (ipaddress.ip_address(host).is_private and ipaddress.ip_address(local).is_global)
