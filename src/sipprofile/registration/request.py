"""REGISTER from a prepared template (RFC 3261 §10.2): only branch, CSeq, Expires and digest differ each time."""

from __future__ import annotations

from functools import lru_cache

from ..agents.base import Hop, Plan
from ..sip.transport import WEBSOCKETS
from .actions import TransportKey
from .registration import Flow


def contact_uri(plan: Plan, key: TransportKey, local: tuple[str, int]) -> str:
    """The URI of our Contact; it shows the socket that is really used; sips is for a sips AOR only."""
    if plan.contact_uri is not None:
        return plan.contact_uri
    scheme, protocol = plan.aor.partition(":")[0], key.protocol
    if protocol in WEBSOCKETS:
        transport = ";transport=ws"  # RFC 7118 §5.1: over TLS too
    else:
        transport = "" if protocol == "udp" or scheme == "sips" else f";transport={protocol}"
    return f"{scheme}:{plan.contact_user}@{sent_by(local)}{transport}"


def head(uri: str, key: TransportKey, local: tuple[str, int], keep: str = ";keep") -> bytes:
    """Everything before the branch; the same for all profiles of one registrar and transport.

    ``keep`` offers to send keepalives (RFC 6223 §4.2.2).
    """
    via = f"Via: SIP/2.0/{key.protocol.upper()} {sent_by(local)};rport{keep};branch="
    return f"REGISTER {uri} SIP/2.0\r\n{via}".encode()


def sent_over(request: bytes, protocol: str, local: tuple[str, int]) -> bytes:
    """``request``, which was not sent yet, for another transport: its Via names that one, and our address there.

    Keepalives are not offered on it: no binding lives there.
    """
    line, _, rest = request.partition(b"\r\n")
    via = f"\r\nVia: SIP/2.0/{protocol.upper()} {sent_by(local)};rport;branch="
    return line + via.encode() + rest.partition(b";branch=")[2]


def request_uri(plan: Plan, hop: int) -> str:
    """The registrar's URI, or the strict router's (RFC 3261 §12.2.1.1)."""
    chosen = plan.hops[hop]
    return chosen.route[1:-1] if chosen.strict and chosen.route is not None else plan.request_uri


def reg_id(plan: Plan, flow: Flow) -> int:
    """The flow's reg-id, 0 where outbound is not offered or the first hop refused it (RFC 5626 §4.2.1, §11.6)."""
    return flow.rare.number if plan.outbound and "outbound" not in flow.rare.without else 0


def own_contact(plan: Plan, uri: str, reg_id: int = 0) -> str:
    """The Contact value of our binding; ``reg_id`` 0: outbound is not offered (RFC 5626 §4.2.1)."""
    instance = f';+sip.instance="<urn:uuid:{plan.instance_id}>"' if plan.instance_id else ""
    flow = f";reg-id={reg_id}" if reg_id else ""
    return f"<{uri}>{instance}{flow}{plan.contact_params}"


def middle(
    plan: Plan,
    chosen: Hop,
    call_id: str,
    tag: str,
    contacts: tuple[str, ...],
    user_agent: str,
    supported: tuple[str, ...],
) -> bytes:
    """From the end of the Via to the CSeq number; per profile, per hop. ``contacts`` are complete Contact values."""
    aor = plan.aor
    listed = f"Contact: {contacts[0]}\r\n" if len(contacts) == 1 else _lines("Contact", contacts)
    # Written for each refresh of each profile, so no list of lines is made of what nearly all of them have.
    text = f"\r\nMax-Forwards: 70\r\nFrom: <{aor}>;tag={tag}\r\nTo: <{aor}>\r\nCall-ID: {call_id}\r\n{listed}"
    route = None if chosen.route is None else f"<{plan.request_uri}>" if chosen.strict else chosen.route
    return f"{text}{tail(route, plan.headers, user_agent, supported)}".encode()


def _lines(name: str, values: tuple[str, ...]) -> str:
    return "".join([f"{name}: {value}\r\n" for value in values])


@lru_cache(maxsize=1000)
def tail(route: str | None, headers: tuple[str, ...], user_agent: str, supported: tuple[str, ...]) -> str:
    """The lines up to the CSeq number, which many profiles have in common."""
    lines = [] if route is None else [f"Route: {route}"]
    lines.extend(headers)
    if user_agent and not any(line.lower().startswith("user-agent:") for line in headers):
        lines.append(f"User-Agent: {user_agent}")
    if supported:
        lines.append(f"Supported: {', '.join(supported)}")
    lines.append("CSeq: ")
    return "\r\n".join(lines)


def sent_by(local: tuple[str, int]) -> str:
    """Our own host and port; a WebSocket client has a made-up host and no port (RFC 7118 §5)."""
    return f"{bracketed(local[0])}:{local[1]}" if local[1] else local[0]


def bracketed(host: str) -> str:
    """An address as it stands in a URI or Via (RFC 3261 §25.1 ``IPv6reference``)."""
    return f"[{host}]" if ":" in host else host
