"""What is registered at an address-of-record (RFC 3261 §10.3)."""

from __future__ import annotations

import msgspec

from ..sip.headers import parse_name_addr, split_list
from ..sip.syntax import SipSyntaxError
from .response import Response


class Binding(msgspec.Struct, frozen=True):
    """One contact of an address-of-record."""

    uri: str
    expires: int | None = None
    """Seconds."""
    parameters: dict[str, str | None] = {}
    """All parameters of the Contact: ``q``, ``+sip.instance``, …"""


def bindings_of(response: Response) -> list[Binding]:
    """The contacts that a registrar lists; what cannot be read is left out."""
    found = []
    for line in response.values("contact"):
        try:
            contacts = [parse_name_addr(value) for value in split_list(line)]
        except SipSyntaxError:
            continue
        for contact in contacts:
            expires = contact.params.get("expires")
            seconds = int(expires) if expires is not None and expires.isdecimal() and len(expires) < 11 else None
            found.append(Binding(contact.uri, seconds, contact.params))
    return found
