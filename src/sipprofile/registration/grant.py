"""What a 2xx to REGISTER granted us: our contact among many (RFC 3261 §10.2.4, §10.3 step 8)."""

from __future__ import annotations

from ..sip.headers import NameAddr, parse_name_addr, split_list
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from ..sip.transport import port_of, protocol_of
from ..sip.uri import Uri

MINIMUM_TOKEN = 16  # characters; a shorter contact user could be somebody else's


def granted(
    response: Response, contact: str, token: str, instance_id: str, asked: int, old: str = "", reg_id: int = 0
) -> tuple[int | None, list[NameAddr]]:
    """Seconds granted to our contact (``None``: the answer does not list it) and every contact listed.

    Ours is the equal URI; else the one that leads to the same user, host and port whatever parameters were added; else
    the one with our user part and instance id, or with our random token as user part, whatever a router made of its
    host. Of several of those it is none of ``old``, contacts that ours replaces, with blanks between them, and it is
    the one with the least time, because to renew too early does no harm. An answer without any Contact counts as ours
    when it has Expires.
    With a ``reg_id`` the contact of another flow, which may have our URI and instance, is not ours (RFC 5626 §6).
    """
    alone = _alone(response, contact, asked, reg_id)
    if alone is not None:
        return alone, []
    contacts = listed(response)
    expires = _seconds(response.header("expires"))
    if not contacts:
        return (min(asked, expires) if expires is not None else None), contacts
    otherwise = expires if expires is not None else asked
    ours = own_entries(contacts, contact, token, instance_id, old, reg_id)
    if not ours:
        return None, contacts
    return min(asked, *(_time_of(entry, otherwise) for entry in ours)), contacts


def _alone(response: Response, contact: str, asked: int, reg_id: int) -> int | None:
    """The grant in the plainest of answers: one Contact, our URI to the letter, one ``expires`` after it."""
    lines = response.headers("contact")
    if len(lines) != 1:
        return None
    uri, closed, params = lines[0].partition(">")
    name, equals, expires = params.rpartition("=")
    if not closed or uri != "<" + contact or not equals or name[-8:].lower() != ";expires":
        return None
    # What could hide another contact or another expires goes the long way.
    if "," in params or not expires.isdecimal() or not expires.isascii() or params.lower().count("expires") != 1:
        return None
    if reg_id and "reg-id" in params and f";reg-id={reg_id};" not in params:
        return None
    return min(asked, int(expires[:12]))  # of equal ones the object that all have


def listed(response: Response) -> list[NameAddr]:
    """All contacts of an answer; what cannot be read is left out, it cannot be ours."""
    contacts = []
    for line in response.headers("contact"):
        for value in split_list(line):
            try:
                contacts.append(parse_name_addr(value))
            except SipSyntaxError:
                continue
    return contacts


def own_entries(
    contacts: list[NameAddr], contact: str, token: str, instance_id: str, old: str = "", reg_id: int = 0
) -> list[NameAddr]:
    """Our contact among ``contacts``, as :func:`granted` says; one if the answer leaves no doubt."""
    if reg_id:
        own = [entry for entry in contacts if entry.params.get("reg-id") == str(reg_id)]
        found = _ours(own, contact, token, instance_id, old)
        if found:
            return found
        contacts = [entry for entry in contacts if "reg-id" not in entry.params]
    return _ours(contacts, contact, token, instance_id, old)


def _ours(contacts: list[NameAddr], contact: str, token: str, instance_id: str, old: str) -> list[NameAddr]:
    for entry in contacts:
        if same_contact(entry.uri, contact):
            return [entry]
    place = _place(contact)
    for entry in contacts:
        if place is not None and _place(entry.uri) == place:
            return [entry]
    user = f":{token}@"
    named = [entry for entry in contacts if user in entry.uri]
    if len(named) > 1 and old:
        named = [entry for entry in named if not any(same_contact(entry.uri, uri) for uri in old.split())]
    if instance_id:
        urn = f"<urn:uuid:{instance_id}>"
        # The instance alone is not enough: a binding of an earlier contact may still be listed.
        found = [entry for entry in named if (entry.params.get("+sip.instance") or "").lower() == urn]
        if found:
            return found
    return named if len(token) >= MINIMUM_TOKEN else []


def _place(text: str) -> tuple[str, str, str, int, str] | None:
    """Where a contact leads to: scheme, user, host, port and transport with their defaults filled in."""
    try:
        uri = Uri.parse(text)
    except SipSyntaxError:
        return None
    if uri.user is None:
        return None
    return uri.scheme, uri.user, uri.host, port_of(uri), protocol_of(uri) or ""


def _time_of(entry: NameAddr, otherwise: int) -> int:
    own = _seconds(entry.params.get("expires"))
    return otherwise if own is None else own


def still_listed(response: Response, contact: str) -> bool:
    """Whether the 2xx to the removal of ``contact`` lists it with time left; some echo it without saying any."""
    otherwise = _seconds(response.header("expires")) or 0
    return any(same_contact(entry.uri, contact) and _time_of(entry, otherwise) > 0 for entry in listed(response))


def same_contact(one: str, other: str) -> bool:
    """URI equality (RFC 3261 §19.1.4), the quick way first."""
    if one == other:
        return True
    try:
        return Uri.parse(one).equivalent(Uri.parse(other))
    except SipSyntaxError:
        return False


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.strip()
    if not digits.isascii() or not digits.isdecimal():
        return None
    return int(digits[:12])
