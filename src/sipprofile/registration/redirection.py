"""A 3xx to REGISTER: one hop, inside the registrar's domain and with the same security (RFC 3261 §8.1.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..agents.base import Hop
from ..events import Reason
from ..profile import Identity
from ..sip.headers import NameAddr
from ..sip.locating import Server
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from ..sip.transport import SECURE
from ..sip.uri import Uri
from . import attempt, failures, machine
from .answers import phrase
from .grant import listed
from .registration import IDLE, Flow, Registration

if TYPE_CHECKING:
    from .registrations import Registrations


def redirected(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    response: Response,
    now: float,
    after: float | None,
    *,
    through: bool,
) -> None:
    """Follow one hop; ``through``: the contact is not another registrar but a proxy to it (305)."""
    contacts = listed(response)
    way = None
    if flow.redirect is None:  # one hop
        contacts.sort(key=_preference)
        ways = (_way(registration, flow, contact.uri, through) for contact in contacts)
        way = next((way for way in ways if way is not None), None)
    if way is None:
        reason = Reason.of("redirected", response.status)
        if response.header("contact") is None:
            reason = Reason.of("response", response.status, phrase(response))
        failures.give_up(room, registration, flow, now, reason, after=after)
        return
    flow.redirect, flow.redirect_uri = way
    flow.middle = b""
    flow.phase = IDLE
    if registration.should_register:
        attempt.pursue(room, registration, flow, now)
    else:
        machine.finish_unwanted(room, registration, flow, now)


def _way(registration: Registration, flow: Flow, contact: str, through: bool) -> tuple[Hop, str] | None:
    """The hop and the request URI that ``contact`` leads to, ``None`` when it leads out of the domain or security."""
    try:
        uri = Uri.parse(contact)
    except SipSyntaxError:
        return None
    plan, transports = registration.plan, registration.agent.transports
    server = Server.of(uri, transports)
    inside = all(host == plan.domain or host.endswith("." + plan.domain) for host in (uri.host, server.host))
    same_security = flow.key is not None and (server.protocol in SECURE) == (flow.key.protocol in SECURE)
    same_scheme = uri.scheme == plan.aor.partition(":")[0]
    if not (inside and same_security and same_scheme and server.protocol in transports):
        return None
    hop = plan.hops[flow.hop]
    if through:
        route = f"<{msgspec.structs.replace(uri, password=None, headers='').with_params(lr=None)}>"
        if hop.route is None:
            return Hop(server, route, credentials=hop.credentials, identity=_identity(hop, uri)), plan.request_uri
        # Our own proxy stays the first; one that takes the request URI for itself knows no second.
        return None if hop.strict else (msgspec.structs.replace(hop, route=f"{hop.route}, {route}"), plan.request_uri)
    if hop.route is None:
        return Hop(server, credentials=hop.credentials, identity=_identity(hop, uri)), _request_uri(uri)
    return hop, _request_uri(uri)  # the request still goes through the proxy, only its URI changes (§8.1.3.4)


def _preference(contact: NameAddr) -> float:
    """The highest q first (RFC 3261 §20.10)."""
    q = contact.params.get("q") or ""
    return -float(q[:5]) if q[:5].replace(".", "", 1).isdecimal() and q.isascii() else -1.0


def _identity(hop: Hop, uri: Uri) -> Identity | None:
    """Another host has another name in its certificate; our own stays."""
    if hop.identity is None or uri.host == hop.server.host:
        return hop.identity
    return msgspec.structs.replace(hop.identity, server_name=uri.host.strip("[]"))


def _request_uri(uri: Uri) -> str:
    """What may stand in the request line of a REGISTER (RFC 3261 §10.2)."""
    params = tuple(item for item in uri.params if item[0] not in ("lr", "method"))
    return str(msgspec.structs.replace(uri, user=None, password=None, headers="", params=params))
