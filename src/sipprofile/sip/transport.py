"""Which transport a SIP URI asks for, and at which port (RFC 3261 §19.1.2, RFC 3263 §4.1, RFC 7118 §5)."""

from __future__ import annotations

from sipprofile.sip.locating import DEFAULT_PORTS
from sipprofile.sip.uri import Uri

PROTOCOLS = tuple(DEFAULT_PORTS)

SECURE = frozenset({"tls", "wss"})
WEBSOCKETS = frozenset({"ws", "wss"})

_OVER_TLS = {"tcp": "tls", "tls": "tls", "ws": "wss", "wss": "wss"}


def protocol_of(uri: Uri) -> str | None:
    """The transport to ``uri``, one of PROTOCOLS or an unknown one; None for a sips URI that asks for an unsecured one.

    ``transport=ws`` in a sips URI is WebSocket over TLS (RFC 7118 §5.1). Without a parameter it is UDP, for sips TLS.
    """
    if uri.scheme == "sips":
        return _OVER_TLS.get(uri.transport or "tls")
    return uri.transport or "udp"


def port_of(uri: Uri) -> int:
    """The port given or the default one of the transport."""
    return uri.port or DEFAULT_PORTS.get(protocol_of(uri) or "tls", 5060)


def with_scheme(uri: Uri, scheme: str) -> Uri:
    """``uri`` as a sip or sips URI that leads to the same place with the same security.

    A sips URI in the request line or the first Route wants a sips Contact (RFC 3261 §8.1.1.8), so all of them have the
    scheme of the address-of-record.
    """
    if uri.scheme == scheme:
        return uri
    protocol = protocol_of(uri)
    if scheme == "sips":
        params = tuple(item for item in uri.params if item[0] != "transport")
        changed = Uri(scheme, uri.user, uri.password, uri.host, uri.port, params, uri.headers)
        return changed.with_params(transport="ws") if protocol in WEBSOCKETS else changed
    changed = Uri(scheme, uri.user, uri.password, uri.host, uri.port, uri.params, uri.headers)
    return changed.with_params(transport=protocol) if protocol is not None else changed
