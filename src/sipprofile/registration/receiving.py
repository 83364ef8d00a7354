"""A message that came in: an answer goes to who asked, by the shortest way that knows what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sip.message import MalformedMessage, Request, parse
from . import keepalive, outcomes, plain, transactions
from .actions import TransportKey
from .registration import SENT
from .requests import BRANCH

if TYPE_CHECKING:
    from .registrations import Registrations


def received(
    room: Registrations, data: bytes, source: tuple[str, int], key: TransportKey, now: float
) -> Request | None:
    """See :meth:`~.registrations.Registrations.received`; the quick path has done nothing."""
    if data[:1] < b"!" and (data[:1] < b"\4" or not data.strip(b"\r\n")):  # STUN or nothing but CRLF
        keepalive.received(room, data, key, now)
        return None
    if room.forms and plain.answered(room, data, source, now):
        return None
    try:
        message = parse(data)
    except MalformedMessage:
        return None
    if isinstance(message, Request):
        return message
    branch = message.branch()
    if branch is None or not branch.startswith("z9hG4bK"):
        return None
    if branch.startswith(BRANCH):
        transactions.answered(room, message, branch, now)
        return None
    number, _, _ = branch[7:].partition(".")
    flow = room.flows.get(int(number, 16)) if number.isascii() and number.isalnum() and _is_hex(number) else None
    if flow is None or flow.branch != branch or flow.phase != SENT:
        return None  # a late or forged answer
    registration = room.owner(flow)
    lesson = plain.lesson(room, registration, flow, data, source)
    outcomes.answered(room, registration, flow, message, now)
    if lesson is not None and flow.id in room.flows:
        plain.learn(room, registration, flow, data, lesson)
    return None


def _is_hex(text: str) -> bool:
    return len(text) <= 12 and not text.strip("0123456789abcdef")
