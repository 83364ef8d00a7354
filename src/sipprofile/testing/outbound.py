"""What the test registrar does for clients that offer outbound or want GRUUs (RFC 5626 §6, RFC 5627 §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sipprofile.sip.headers import NameAddr, split_list
from sipprofile.sip.message import Request

if TYPE_CHECKING:
    from sipprofile.testing.location import Binding


def supports(request: Request, option: str) -> bool:
    """Whether the client's Supported lists `option`."""
    return any(tag.lower() == option for line in request.headers("supported") for tag in split_list(line))


def offers_outbound(request: Request, params: Mapping[str, str | None]) -> bool:
    """Whether a contact with these parameters is to be kept by instance and reg-id (RFC 5626 §6)."""
    return bool(params.get("reg-id")) and bool(params.get("+sip.instance")) and supports(request, "outbound")


def same_flow(binding: Binding, contact: NameAddr) -> bool:
    """Whether a binding has the contact's instance and reg-id (RFC 5626 §6): then it is replaced, whatever its URI."""
    known = dict(binding.params)
    return all(known.get(name) == contact.params.get(name) for name in ("+sip.instance", "reg-id"))


def with_gruus(binding: Binding, aor: str, value: str) -> str:
    """The Contact value of a 200 with its public and temporary GRUU (RFC 5627 §5.2); a new temporary one each time."""
    instance = (dict(binding.params).get("+sip.instance") or "").strip("<>")
    if not instance:
        return value
    host = aor.rpartition("@")[2]
    temporary = f"sip:tgruu.{binding.call_id[:16]}.{binding.cseq}@{host};gr"
    return f'{value};pub-gruu="{aor};gr={instance}";temp-gruu="{temporary}"'
