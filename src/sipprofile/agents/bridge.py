"""What a profile's bridge to a local SIP program must be."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from ..profile import Bridge, Profile
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri
from .base import Problem

MAXIMUM_ALLOWED = 64


def bridge_problems(profile: Profile) -> Iterator[Problem]:
    """Everything that is wrong with ``profile.bridge``: it must never lead out of the machine by mistake."""
    bridge = profile.bridge
    if bridge is None:
        return
    if profile.contact_uri is not None:
        yield Problem("invalid_value", "bridge", "With contact_uri requests do not arrive here; leave bridge out.")
    if len(bridge.allowed) > MAXIMUM_ALLOWED:
        yield Problem("invalid_value", "bridge.allowed", f"At most {MAXIMUM_ALLOWED} addresses or networks.")
    for index, text in enumerate(bridge.allowed):
        if network_of(text) is None:
            yield _invalid(f"allowed[{index}]", text, "Give an address or a network, such as 172.17.0.0/16.")
    if not 0 <= bridge.port <= 65_535:
        yield _invalid("port", bridge.port, "The port is from 1 to 65535, or 0 for the first free one from 5080.")
    host = _address(bridge.host)
    if host is None or host.is_unspecified or host.is_multicast:
        yield _invalid("host", bridge.host, "Give the local address, in numbers, at which the program finds us.")
    yield from _program(bridge, host)


def network_of(text: str) -> IPv4Network | IPv6Network | None:
    """The addresses that an entry of ``allowed`` stands for, ``None`` when it is none."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def admits(bridge: Bridge, host: str) -> bool:
    """Whether the program may be at the address ``host``: loopback, or allowed."""
    address = _address(host)
    if address is None:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or any(
        network is not None and address.version == network.version and address in network
        for network in map(network_of, bridge.allowed)
    )


def _program(bridge: Bridge, host: IPv4Address | IPv6Address | None) -> Iterator[Problem]:
    if not bridge.uri:
        return  # it registers at our port
    try:
        uri = Uri.parse(bridge.uri)
    except SipSyntaxError as error:
        yield _invalid("uri", bridge.uri, f"bridge.uri is not a SIP URI: {error}.")
        return
    address = _address(uri.host)
    if uri.scheme != "sip" or uri.transport not in (None, "udp") or uri.password is not None or uri.headers:
        yield _invalid("uri", bridge.uri, "The program is reached over UDP: sip:127.0.0.1:5060, without password.")
    elif address is None:
        yield _invalid("uri", bridge.uri, "Give the program's address in numbers, such as sip:127.0.0.1:5060.")
    elif uri.port is not None and not 1 <= uri.port <= 65_535:
        yield _invalid("uri", bridge.uri, "The port is from 1 to 65535.")
    elif not admits(bridge, uri.host):
        yield _invalid("uri", bridge.uri, "The program's address is neither a loopback address nor in bridge.allowed.")
    elif host is not None and host.version != address.version:
        yield _invalid("host", bridge.host, f"An address of IPv{address.version}, as the program's, is needed.")
    elif address == host and bridge.port == (uri.port or 5060):
        yield _invalid("port", bridge.port, "The program and the bridge cannot have the same port.")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _invalid(field: str, value: Any, detail: str) -> Problem:
    return Problem("invalid_value", f"bridge.{field}", detail, value)
