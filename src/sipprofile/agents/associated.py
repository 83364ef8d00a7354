"""The identities that a registration brought: P-Associated-URI of the 2xx (RFC 7315 §4.1)."""

from __future__ import annotations

from ..sip.headers import parse_name_addr, split_list
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError

MAXIMUM = 64
"""Identities that are kept; more are left out."""
MAXIMUM_LENGTH = 1024


def registered_identities(aor: str, response: Response) -> tuple[str, ...]:
    """The header's URIs, the default identity first, and the AOR where it is not among them.

    Without the header the AOR is all there is (RFC 7315 §4.1.1: it lists the others, the registered one or not).
    """
    lines = response.headers("p-associated-uri")
    if not lines:
        return (aor,)
    found: list[str] = []
    for value in (value for line in lines for value in split_list(line)):
        if len(found) == MAXIMUM:
            break
        try:
            uri = parse_name_addr(value).uri
        except SipSyntaxError:
            continue
        if uri.isprintable() and len(uri) <= MAXIMUM_LENGTH and uri not in found and uri != "*":
            found.append(uri)
    return tuple(found) if aor in found else (*found, aor)
