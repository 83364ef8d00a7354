"""What the registrar tells about the bindings of our address-of-record, put together from documents (RFC 3680 §5.3).

Pure: documents go in, what they mean for one of our own contacts comes out.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ..sip.reginfo import ContactElement, RegistrationElement, RegistrationInformation
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri
from .grant import MINIMUM_TOKEN, same_contact

MAXIMUM_CONTACTS = 256
"""Contacts of the address-of-record that are remembered."""

LONGEST_CONTACT = 2048
"""Characters of one of them."""

Taken = Literal["applied", "older", "gap"]


class Own(msgspec.Struct, frozen=True, gc=False):
    """How one flow's contact is recognised."""

    contact: str
    """The URI in our last REGISTER."""
    token: str
    """The user part of that URI."""
    instance_id: str
    reg_id: str
    call_id: str = ""
    cseq: int = 0
    """Of the REGISTER that was granted; what is told about earlier ones is older news."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a document means for one of our contacts."""

    state: Literal["present", "ended", "missing"]
    event: str = ""
    """Of an ended contact, or ``shortened``."""
    seconds: int | None = None
    """``shortened``: what is left of the lease; ``probation``: when to try again."""


class Bindings:
    """The contacts of the address-of-record as the documents of one subscription describe them."""

    __slots__ = ("_full", "_told", "contacts", "version")

    def __init__(self) -> None:
        self.version = -1
        """Of the last document; -1 = none came. The first may have any number."""
        self.contacts: dict[str, ContactElement] = {}
        """The active ones, by their id."""
        self._told: tuple[ContactElement, ...] = ()
        """All contacts of ours in the last document."""
        self._full = False
        """Who is not in ``contacts`` has no binding."""

    def take(self, document: RegistrationInformation, aor: str, owns: tuple[Own, ...]) -> Taken:
        """Apply a document, unless it is older than what is known or one before it was lost (RFC 3680 §5.2.1).

        A full state with the version of the last one counts too: Kamailio's pua_reginfo says 0 in each, and the CSeq
        of the NOTIFY keeps them in order.
        """
        full = document.state == "full"
        if document.version < self.version or (document.version == self.version and not full):
            return "older"
        if not full and (self.version < 0 or document.version != self.version + 1):
            return "gap"
        self.version = document.version
        element = _element(document, aor, owns)
        self._told = tuple(map(_short, element.contacts)) if element is not None else ()
        ended = element is not None and element.state != "active"
        self._full = full or ended
        if self._full:
            self.contacts = {}
        for contact in self._told:
            if contact.state == "terminated" or ended:
                self.contacts.pop(contact.id, None)
            elif contact.id in self.contacts or len(self.contacts) < MAXIMUM_CONTACTS:
                self.contacts[contact.id] = contact
        return "applied"

    def verdict(self, own: Own) -> Verdict | None:
        """What the last document means for this contact; None when it says nothing about it."""
        active = [contact for contact in self.contacts.values() if is_ours(contact, own)]
        exact = [contact for contact in active if same_contact(contact.uri, own.contact)]
        gone = [
            contact
            for contact in self._told
            if contact.id not in self.contacts and is_ours(contact, own) and not _is_older(contact, own)
        ]
        gone.sort(key=lambda contact: not same_contact(contact.uri, own.contact))
        # An earlier contact of ours may end, or may outlive this one; the URI that we registered decides.
        if exact or (active and not (gone and same_contact(gone[0].uri, own.contact))):
            for contact in exact or active:
                if contact.event == "shortened" and contact in self._told and not _is_older(contact, own):
                    return Verdict("present", "shortened", contact.expires)
            return Verdict("present")
        if gone:
            contact = gone[0]
            event = contact.event if contact.state == "terminated" else "rejected"
            return Verdict("ended", event, contact.retry_after if event == "probation" else None)
        older = any(is_ours(contact, own) for contact in self._told)
        return Verdict("missing") if self._full and not older else None

    def others(self, owns: tuple[Own, ...]) -> list[ContactElement]:
        """The active contacts that are not ours."""
        return [contact for contact in self.contacts.values() if not any(is_ours(contact, own) for own in owns)]


def _short(contact: ContactElement) -> ContactElement:
    """What is remembered of a contact, cut where it is longer than any real one."""
    params = contact.unknown_params
    size = sum(map(len, (contact.id, contact.uri, contact.display_name or "", *params, *params.values())))
    if size <= LONGEST_CONTACT:
        return contact
    known = {name: text[:LONGEST_CONTACT] for name, text in params.items() if name in ("+sip.instance", "reg-id")}
    return ContactElement(
        contact.id[:LONGEST_CONTACT], contact.state, contact.event, contact.uri[:LONGEST_CONTACT], unknown_params=known
    )


def is_ours(contact: ContactElement, own: Own) -> bool:
    """Whether it is this contact of ours, or an earlier one: by instance and reg-id, by token, by URI."""
    params = contact.unknown_params
    instance = params.get("+sip.instance", "").lower()
    if own.instance_id and instance == f"<urn:uuid:{own.instance_id}>":
        return params.get("reg-id", own.reg_id) == own.reg_id
    if len(own.token) >= MINIMUM_TOKEN and f":{own.token}@" in contact.uri:
        return params.get("reg-id", own.reg_id) == own.reg_id
    return same_contact(contact.uri, own.contact)


def _is_older(contact: ContactElement, own: Own) -> bool:
    return contact.callid == own.call_id and contact.cseq is not None and contact.cseq < own.cseq


def _element(document: RegistrationInformation, aor: str, owns: tuple[Own, ...]) -> RegistrationElement | None:
    """The element of our address-of-record among those of an implicit set, else the one that has our contact."""
    wanted = Uri.parse(aor).without_params_and_headers()
    for element in document.registrations:
        try:
            if Uri.parse(element.aor).without_params_and_headers().equivalent(wanted):
                return element
        except SipSyntaxError:
            continue
    for element in document.registrations:
        if any(is_ours(contact, own) for contact in element.contacts for own in owns):
            return element
    return None
