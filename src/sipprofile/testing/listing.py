"""The headers of a 200 to REGISTER (RFC 3261 §10.3 step 8), with everything registrars do to them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from sipprofile.sip.message import Request
from sipprofile.testing.faults import Faults
from sipprofile.testing.location import Binding
from sipprofile.testing.outbound import supports, with_gruus

_port = re.compile(r":\d{1,5}(?=;|$)")


def headers_of(
    listed: Sequence[Binding], aor: str, request: Request, now: float, faults: Faults, *, outbound: bool
) -> list[tuple[str, str]]:
    """The headers that tell ``request`` about the bindings ``listed``, and whether they are kept as flows."""
    if faults.reverse_contacts:
        listed = listed[::-1]
    headers = [("Contact", value) for value in faults.extra_contacts]
    for binding in listed:
        own = binding.call_id == request.header("call-id")
        if own and faults.omit_own_contact:
            continue
        left = max(0, round(binding.expires_at - now))
        value = _rewritten(binding, faults).value(None if faults.expires_in_header else left)
        if faults.gruu and supports(request, "gruu"):
            value = with_gruus(binding, aor, value)
        headers.append(("Contact", value))
        if faults.expires_in_header and own:
            headers.append(("Expires", str(left)))
    if faults.omit_contact:
        headers = [line for line in headers if line[0] != "Contact"]
    if outbound:
        headers.append(("Require", "outbound"))
    if faults.flow_timer is not None:
        headers.append(("Flow-Timer", str(faults.flow_timer)))
    headers += [("Path", value) for value in (*request.headers("path"), *faults.path)]
    headers += [("Service-Route", value) for value in faults.service_route]
    headers += [("P-Associated-URI", value) for value in faults.associated_uris]
    return headers


def _rewritten(binding: Binding, faults: Faults) -> Binding:
    contact = binding.contact
    if faults.contact_port is not None:
        contact = _port.sub(f":{faults.contact_port}", contact)
    if faults.contact_alias:
        host, port = binding.received
        contact += f";alias={host}~{port}~1"
    return binding if contact == binding.contact else msgspec.structs.replace(binding, contact=contact)
