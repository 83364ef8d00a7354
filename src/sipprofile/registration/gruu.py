"""Globally routable URIs of our instance (RFC 5627): what a 2xx says of them."""

from __future__ import annotations

from ..agents.base import Plan
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri
from .grant import listed, own_entries
from .registration import Flow
from .request import reg_id

MAXIMUM_LENGTH = 1024  # characters; longer than any registrar makes them


def learnt(plan: Plan, flow: Flow, response: Response) -> tuple[str, str]:
    """Public and temporary GRUU after a 2xx (RFC 5627 §4.2), taken from our own contact.

    An answer that leaves one out takes nothing away: the public one never changes, and a temporary one is good for as
    long as the registration with this Call-ID lasts.
    """
    public, temporary = flow.gruu
    number = reg_id(plan, flow)
    found = own_entries(listed(response), flow.contact, plan.contact_user, plan.instance_id, reg_id=number)
    if not found:
        return flow.gruu
    own = found[0]
    return _uri(own.params.get("pub-gruu")) or public, _uri(own.params.get("temp-gruu")) or temporary


def _uri(text: str | None) -> str:
    if text is None or len(text) > MAXIMUM_LENGTH or not text.isprintable():
        return ""
    try:
        Uri.parse(text)
    except SipSyntaxError:
        return ""
    return text
