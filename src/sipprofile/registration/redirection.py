"""301 and 302 to REGISTER: one hop, inside the registrar's domain and with the same security (RFC 3261 §8.1.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..agents.base import Hop
from ..events import Reason
from ..profile import Identity
from ..sip.locating import Server
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from ..sip.transport import SECURE
from ..sip.uri import Uri
from . import attempt, failures, machine
from .grant import listed
from .registration import IDLE, Flow, Registration

if TYPE_CHECKING:
    from .registrations import Registrations


def redirected(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    response: Response,
    reason: Reason,
    now: float,
) -> None:
    """301 and 302: one hop, inside the registrar's domain and with the same security."""
    plan = registration.plan
    for contact in listed(response) if flow.redirect is None else ():
        try:
            uri = Uri.parse(contact.uri)
        except SipSyntaxError:
            continue
        transports = registration.agent.transports
        server = Server.of(uri, transports)
        inside = all(host == plan.domain or host.endswith("." + plan.domain) for host in (uri.host, server.host))
        same_security = flow.key is not None and (server.protocol in SECURE) == (flow.key.protocol in SECURE)
        same_scheme = uri.scheme == plan.aor.partition(":")[0]
        if inside and same_security and same_scheme and server.protocol in transports:
            hop = plan.hops[flow.hop]
            if hop.route is None:
                flow.redirect = Hop(server, credentials=hop.credentials, identity=_identity(hop, uri))
            else:
                flow.redirect = hop  # the request still goes through the proxy, only its URI changes (§8.1.3.4)
            flow.redirect_uri = _request_uri(uri)
            flow.phase = IDLE
            if registration.should_register:
                attempt.pursue(room, registration, flow, now)
            else:
                machine.finish_unwanted(room, registration, flow, now)
            return
    failures.give_up(
        room,
        registration,
        flow,
        now,
        Reason.of("redirected", response.status) if contact_given(response) else reason,
    )


def _identity(hop: Hop, uri: Uri) -> Identity | None:
    """Another host has another name in its certificate; our own stays."""
    if hop.identity is None or uri.host == hop.server.host:
        return hop.identity
    return msgspec.structs.replace(hop.identity, server_name=uri.host.strip("[]"))


def _request_uri(uri: Uri) -> str:
    """What may stand in the request line of a REGISTER (RFC 3261 §10.2)."""
    params = tuple(item for item in uri.params if item[0] not in ("lr", "method"))
    return str(msgspec.structs.replace(uri, user=None, password=None, headers="", params=params))


def contact_given(response: Response) -> bool:
    """Whether a redirect says where to."""
    return response.header("contact") is not None
