"""What a 2xx to REGISTER granted us: our contact among many (RFC 3261 §10.2.4, §10.3 step 8)."""

from __future__ import annotations

from ..sip.headers import NameAddr, parse_name_addr, split_list
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri

MINIMUM_TOKEN = 16  # characters; a shorter contact user could be somebody else's


def granted(
    response: Response, contact: str, token: str, instance_id: str, asked: int
) -> tuple[int | None, list[NameAddr]]:
    """Seconds granted to our contact (``None``: the answer does not list it) and every contact listed.

    Ours is the equal URI, else the one with our instance id and user part, else the one with our random token as user
    part, whatever a router made of its host. An answer without any Contact counts as ours when it has Expires.
    """
    alone = _alone(response, contact, asked)
    if alone is not None:
        return alone, []
    contacts = listed(response)
    expires = _seconds(response.header("expires"))
    if not contacts:
        return (min(expires, asked) if expires is not None else None), contacts
    ours = _ours(contacts, contact, token, instance_id)
    if ours is None:
        return None, contacts
    own = _seconds(ours.params.get("expires"))
    if own is None:
        own = expires if expires is not None else asked
    return min(own, asked), contacts


def _alone(response: Response, contact: str, asked: int) -> int | None:
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
    return min(int(expires[:12]), asked)


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


def _ours(contacts: list[NameAddr], contact: str, token: str, instance_id: str) -> NameAddr | None:
    for entry in contacts:
        if same_contact(entry.uri, contact):
            return entry
    if instance_id:
        urn = f"<urn:uuid:{instance_id}>"
        for entry in contacts:
            # The instance alone is not enough: a binding of an earlier contact may still be listed.
            if (entry.params.get("+sip.instance") or "").lower() == urn and f":{token}@" in entry.uri:
                return entry
    if len(token) >= MINIMUM_TOKEN:
        for entry in contacts:
            if f":{token}@" in entry.uri:
                return entry
    return None


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
