"""Numeric addresses as text."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any


def address_family(host: str) -> socket.AddressFamily:
    """The family of a numeric address without brackets."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_numeric(host: str) -> bool:
    """True for an IPv4 address or an IPv6 address without brackets, with or without zone."""
    try:
        socket.inet_pton(address_family(host), host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def host_and_port(address: tuple[Any, ...]) -> tuple[str, int]:
    """Of a socket address; a link-local one names the interface it was seen on (RFC 4007 §11)."""
    host, port = address[:2]
    scope = address[3] if len(address) == 4 else 0
    if not scope:
        return host, port
    try:
        return f"{host}%{socket.if_indextoname(scope)}", port
    except OSError:
        return f"{host}%{scope}", port


def is_local(host: str) -> bool:
    """Whether a numeric address is one of this machine's, so that a socket can be bound to it."""
    with socket.socket(address_family(host), socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def ipv4_first(addresses: Iterable[str]) -> tuple[str, ...]:
    """The addresses without duplicates, IPv4 before IPv6, else in their order."""
    return tuple(sorted(dict.fromkeys(addresses), key=lambda address: ":" in address))


def destination(host: str, port: int) -> str:
    """Host and port as in a URI, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
