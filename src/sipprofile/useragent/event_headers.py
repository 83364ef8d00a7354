"""Event, Subscription-State and Expires (RFC 6665 §8.2, §8.4): what of them decides about a subscription."""

from __future__ import annotations

import msgspec

from ..sip.headers import parse_delta_seconds, parse_params, parse_retry_after
from ..sip.message import Message
from ..sip.syntax import LWS, SipSyntaxError, is_token
from .draft import Draft

MAXIMUM_EVENT = 128  # characters of an event package and its id


class SubscriptionState(msgspec.Struct, frozen=True, gc=False):
    """``word`` is active, pending, terminated or an extension, in lower case; it is empty when there is none."""

    word: str = ""
    reason: str = ""
    expires: int | None = None
    retry_after: float | None = None


def event_of(value: str | None) -> str:
    """``presence``, ``refer;id=3``: the package in lower case with its id, which is what two usages of a dialog differ
    by (RFC 6665 §4.5.1). Empty when it cannot be read; other parameters do not count (§8.2.1)."""
    package, _, rest = (value or "").partition(";")
    package = package.strip(LWS).lower()
    if not is_token(package) or len(value or "") > MAXIMUM_EVENT:
        return ""
    try:
        number = parse_params(rest).get("id")
    except SipSyntaxError:
        return ""
    return f"{package};id={number}" if number else package


def state_of(value: str | None) -> SubscriptionState:
    """A Subscription-State; parameters that cannot be read count as absent."""
    word, _, rest = (value or "").partition(";")
    try:
        params = parse_params(rest)
    except SipSyntaxError:
        params = {}
    after = seconds_of(params.get("retry-after"))
    return SubscriptionState(
        word.strip(LWS).lower(),
        (params.get("reason") or "").lower(),
        seconds_of(params.get("expires")),
        float(after) if after is not None else None,
    )


def seconds_of(value: str | None) -> int | None:
    """A number of seconds, ``None`` for anything else."""
    try:
        return parse_delta_seconds(value) if value is not None else None
    except SipSyntaxError:
        return None


def retry_after_of(message: Message) -> float | None:
    """Seconds after which the server wants to be asked again."""
    value = message.header("retry-after")
    try:
        return float(parse_retry_after(value)) if value is not None else None
    except SipSyntaxError:
        return None


def header_of(draft: Draft, *names: str) -> str | None:
    """The first header of a draft with one of these names, which are in lower case."""
    for name, value in draft.headers:
        if name.strip().lower() in names:
            return value
    return None


def with_headers(draft: Draft, *headers: tuple[str, str], without: tuple[str, ...] = ()) -> Draft:
    """The draft with these headers in place of those with the same name, and without those in ``without``."""
    names = {name.lower() for name, _ in headers} | set(without)
    kept = tuple(header for header in draft.headers if header[0].strip().lower() not in names)
    return msgspec.structs.replace(draft, headers=(*kept, *headers))
