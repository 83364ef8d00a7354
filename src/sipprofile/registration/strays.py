"""Contacts of ours that a registrar still lists although another has taken their place (RFC 3261 §10.2.2, §10.3)."""

from __future__ import annotations

from collections.abc import Sequence

from ..agents.base import Plan
from ..sip.headers import NameAddr
from .grant import same_contact
from .registration import Flow

MOST = 16  # removed in one request
LONGEST = 500  # characters of a URI that is sent back


def left_behind(plan: Plan, flow: Flow, contacts: Sequence[NameAddr]) -> str:
    """The URIs, with blanks between them, of what a 2xx lists beside our contact and must not.

    That is the contact we remember having replaced, and whatever else bears our random token, or our user part and our
    instance id: a killed process, or an answer that did not list our contact, may have left it behind. Nobody else can
    have these; but where a server rewrites contacts ours need not be the one we sent, so only beside that very one is
    any other a stray. It is not for registrations with several flows, each of which has a contact of its own.
    """
    instance = f"<urn:uuid:{plan.instance_id}>"
    listed = any(same_contact(entry.uri, flow.contact) for entry in contacts)
    replaced = flow.old_contact.split()
    found = []
    for entry in contacts:
        ours = f":{flow.contact_token}@" in entry.uri or (
            f":{plan.contact_user}@" in entry.uri and (entry.params.get("+sip.instance") or "").lower() == instance
        )
        stray = (listed and ours) or any(same_contact(entry.uri, uri) for uri in replaced)
        if stray and not same_contact(entry.uri, flow.contact) and _can_be_sent(entry.uri):
            found.append(entry.uri)
    return " ".join(found[:MOST])


def _can_be_sent(uri: str) -> bool:
    return len(uri) <= LONGEST and uri.isascii() and uri.isprintable() and " " not in uri
