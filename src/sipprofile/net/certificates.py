"""Whether a certificate is for a SIP domain (RFC 5922 §7), and whether one can be used at all."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from sipprofile.net.addresses import is_numeric


def is_for(certificate: Mapping[str, Any], domain: str) -> bool:
    """Whether the certificate, as :meth:`ssl.SSLObject.getpeercert` shows it, is for ``domain``.

    RFC 5922 §7.1: URI and DNS names count, the common name only when there are none. Two deviations: a wildcard stands
    for one label at the left, as everywhere but in SIP, and a numeric ``domain`` may be among the addresses.
    """
    if is_numeric(domain):
        return any(_same_address(address, domain) for kind, address in _names(certificate) if kind == "IP Address")
    names = [name for kind, value in _names(certificate) if (name := _domain(kind, value)) is not None]
    if not certificate.get("subjectAltName"):
        names = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return any(_matches(name.lower().rstrip("."), domain.lower().rstrip(".")) for name in names)


def _names(certificate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind, value in certificate.get("subjectAltName", ()):
        if isinstance(value, str):
            yield kind, value


def _domain(kind: str, value: str) -> str | None:
    if kind == "DNS":
        return value
    scheme, _, host = value.partition(":")
    if kind == "URI" and scheme.lower() == "sip" and "@" not in host and "*" not in host:  # a user's is no domain's
        return host
    return None


def _matches(name: str, domain: str) -> bool:
    if name.startswith("*.") and name.count(".") > 1:
        return name[2:] == domain.partition(".")[2]
    return name == domain


def _same_address(one: str, other: str) -> bool:
    try:
        return ip_address(one.strip()) == ip_address(other)
    except ValueError:
        return False


def unusable(ca: str | None, certificate: str | None, private_key: str | None) -> tuple[str, str] | None:
    """The name of the first setting that OpenSSL cannot use, and why; nothing of a key is repeated."""
    from sipprofile.net.tls import client_context

    if ca is not None:
        try:
            client_context(ca, None, None)
        except (ssl.SSLError, ValueError):
            return "ca", "it holds no certificate that can be read"
    try:
        client_context(ca, certificate, private_key)
    except (ssl.SSLError, ValueError) as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            return "private_key", "it is not the key of the certificate"
        return "certificate", "it, or its private key, cannot be read or is too weak"
    return None
