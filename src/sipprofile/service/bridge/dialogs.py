"""Names of dialogs in headers: Replaces, Join and Target-Dialog, also inside a Refer-To (RFC 3891, 3911, 4538, 3515).

The two legs of a call have names of their own, so what one side calls a dialog means nothing to the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from ...sip.headers import NameAddr, parse_name_addr
from ...sip.syntax import SipSyntaxError

_escaped = re.compile("%([0-9A-Fa-f]{2})")
_special = re.compile("[^A-Za-z0-9_.!~*'()-]")

NAMES = frozenset(("replaces", "join", "target-dialog"))


class DialogName(msgspec.Struct, frozen=True, gc=False):
    """One of our legs: ``local`` is our tag, ``remote`` that of the other side."""

    call_id: str
    local: str
    remote: str


Peer = Callable[[DialogName], DialogName | None]
"""The other leg of a call, by one of its legs; ``None`` for a dialog that is not ours."""


def mapped(name: str, value: str, peer: Peer) -> str:
    """The value of such a header for the other side; unchanged when it names none of our dialogs.

    ``local-tag`` and ``remote-tag`` of Target-Dialog are the sender's view (RFC 4538 §7), ``to-tag`` and ``from-tag``
    of Replaces and Join the recipient's (RFC 3891 §3).
    """
    call_id, *params = (part.strip() for part in value.split(";"))
    ours, theirs = ("remote-tag", "local-tag") if name == "target-dialog" else ("to-tag", "from-tag")
    tags: dict[str, str] = {}
    others: list[str] = []
    for param in params:
        key, _, tag = param.partition("=")
        if key.strip().lower() in (ours, theirs):
            tags[key.strip().lower()] = tag.strip()
        elif param:
            others.append(param)
    found = peer(DialogName(call_id, tags.get(ours, ""), tags.get(theirs, "")))
    if found is None:
        return value
    return ";".join([found.call_id, f"{ours}={found.remote}", f"{theirs}={found.local}", *others])


def refer_to(value: str, peer: Peer, address: Callable[[str], str]) -> str:
    """The Refer-To for the other side: ``address`` maps its URI, and the dialog that it is to replace gets its name."""
    try:
        target = parse_name_addr(value)
    except SipSyntaxError:
        return value
    uri, question, headers = target.uri.partition("?")
    uri = address(uri)
    if question:
        uri += "?" + "&".join(_uri_header(part, peer) for part in headers.split("&"))
    return str(NameAddr(target.display, uri, target.params))


def _uri_header(part: str, peer: Peer) -> str:
    name, _, value = part.partition("=")
    if name.lower() not in NAMES:
        return part
    plain = _escaped.sub(lambda found: chr(int(found[1], 16)), value)
    changed = mapped(name.lower(), plain, peer)
    return part if changed == plain else f"{name}={_special.sub(_escape, changed)}"


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())
