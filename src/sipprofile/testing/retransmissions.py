"""Answers kept for the retransmissions of requests that had them (RFC 3261 §17.2.2)."""

from __future__ import annotations

from typing import NamedTuple

from sipprofile.sip.message import MalformedMessage, Request
from sipprofile.testing.reply import Reply

TIMER_J = 32.0  # RFC 3261 §17.2.2: 64 * T1, seconds
MAXIMUM_ANSWERS = 10_000  # the oldest goes first


class Answer(NamedTuple):
    """The final status of a request and the bytes that carried it."""

    status: int
    replies: list[Reply]


_Transaction = tuple[tuple[str, int], str, int, str]


class Retransmissions:
    """Server transactions in the state Completed. A branch without the magic cookie is not matched."""

    def __init__(self) -> None:
        self._answers: dict[_Transaction, tuple[float, Answer]] = {}

    def find(self, request: Request, cseq: int, source: tuple[str, int], now: float) -> Answer | None:
        """The answer that an earlier copy of this request got, if it is still kept."""
        key = _transaction(request, cseq, source)
        kept = None if key is None else self._answers.get(key)
        return kept[1] if kept is not None and kept[0] > now else None

    def acknowledges(self, ack: Request, source: tuple[str, int], now: float) -> bool:
        """Whether ``ack`` is for a final answer to an INVITE that is kept here (RFC 3261 §17.2.1)."""
        try:
            cseq, _ = ack.cseq()
        except MalformedMessage:
            return False
        kept = self._answers.get((source, ack.branch() or "", cseq, "INVITE"))
        return kept is not None and kept[0] > now

    def keep(self, request: Request, cseq: int, source: tuple[str, int], answer: Answer, now: float) -> None:
        """Remember an answer for Timer J."""
        key = _transaction(request, cseq, source)
        if key is None or not answer.replies:
            return
        while self._answers:
            oldest = next(iter(self._answers))
            if len(self._answers) < MAXIMUM_ANSWERS and self._answers[oldest][0] > now:
                break
            del self._answers[oldest]
        self._answers.pop(key, None)  # so that the order stays that of age
        self._answers[key] = (now + TIMER_J, answer)

    def clear(self) -> None:
        """Forget every answer."""
        self._answers.clear()


def _transaction(request: Request, cseq: int, source: tuple[str, int]) -> _Transaction | None:
    branch = request.branch()
    if branch is None or not branch.startswith("z9hG4bK"):
        return None
    return source, branch, cseq, request.method
