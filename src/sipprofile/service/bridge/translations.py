"""Names that mean something on one side of a bridge alone: of provisionals, of referrals, of other places."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...sip.message import MalformedMessage, Response
from ...sip.syntax import decimal
from .mapping import canonical

Header = tuple[str, str]


def rack_of(response: Response) -> str:
    """The RAck that acknowledges a provisional; empty when it is not a reliable one (RFC 3262 §4)."""
    rseq = response.header("rseq")
    required = {tag.strip().lower() for line in response.headers("require") for tag in line.split(",")}
    if rseq is None or not rseq.isdecimal() or "100rel" not in required:
        return ""
    try:
        number, method = response.cseq()
    except MalformedMessage:
        return ""
    return f"{rseq} {number} {method}"


def elsewhere(response: Response) -> tuple[Header, ...]:
    """Where a redirection points (RFC 3261 §21.3), and an ambiguous address (§21.4.23)."""
    if response.status // 100 != 3 and response.status != 485:
        return ()
    return tuple(("Contact", value) for value in response.headers("contact") if value.isprintable())


def events(headers: Iterable[Header], other: Callable[[int], int | None]) -> list[Header]:
    """``Event: refer;id=N`` for the other side: N is the CSeq of a REFER, which ``other`` knows (RFC 3515 §2.4.6)."""
    return [(name, _event(value, other) if canonical(name) == "event" else value) for name, value in headers]


def _event(value: str, other: Callable[[int], int | None]) -> str:
    package, *params = value.split(";")
    if package.strip().lower() != "refer":
        return value
    changed = []
    for param in params:
        key, _, text = param.partition("=")
        number = decimal(text.strip(), 1 << 31)
        known = other(number) if key.strip().lower() == "id" and number is not None else None
        changed.append(param if known is None else f"id={known}")
    return ";".join([package, *changed])
