"""What lives by being repeated, a subscription or a publication: when it is repeated, and what follows from an answer
(RFC 6665 §4.1.2, §4.1.3; RFC 3903 §4).

Pure arithmetic on a :class:`Grant`; ``fraction`` is a random number from 0 to 1, times are CLOCK_BOOTTIME seconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ..registration.backoff import backoff
from ..registration.refresh import refresh_delay

DAY = 86_400.0
SHORTEST_REFRESH = 5.0  # seconds; what is granted for less has gaps, and costs no more than this
SHORTEST_RETRY = 5.0
RETRY_WHILE_IT_LIVES = 15.0  # seconds at least between tries to save what is about to end
SHORT_LIFE = 60.0  # seconds; what lived shorter has not succeeded, and failures before it count
SPREAD = 1.0  # seconds over which many begin again whose notifier went away "at once"
AT_THEIR_WORD = 3  # failures in a row after which a server that says when to come is not believed any more

GONE = frozenset((404, 405, 410, 412, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))
"""What was refreshed exists no more (RFC 6665 §4.1.2.2, RFC 3903 §4.4); any other failure leaves it until its end."""
REFUSED = frozenset((400, 401, 402, 403, 404, 405, 406, 407, 410, 413, 414, 415, 416, 420, 421, 484, 485, 489, 493))
"""Answers to a beginning after which there is no hope; what the server cannot do just now is not among them."""
REFUSED_FROM = 501
NOT_REFUSED = frozenset((502, 503, 504, 580, 600))
NO_MORE = frozenset(("rejected", "noresource", "invariant"))
"""Reasons of a terminated NOTIFY after which one does not subscribe again (RFC 6665 §4.1.3)."""
LATER = frozenset(("probation", "giveup"))
AT_ONCE = frozenset(("deactivated", "timeout"))

Step = Literal["refresh", "anew", "over"]


class Next(msgspec.Struct, frozen=True, gc=False):
    """What to do after ``delay`` seconds: ``refresh`` it, begin ``anew``, or nothing, because it is ``over``."""

    step: Step
    delay: float = 0.0


class Pace(msgspec.Struct, frozen=True, gc=False):
    """The back-off of RFC 5626 §4.5, which is that of registrations."""

    base: float = 30.0
    maximum: float = 1800.0


class Grant(msgspec.Struct, gc=False):
    """How long something lives, and how often it has failed in a row. Times are 0 where there is none."""

    asked: int
    """Seconds that its owner wants."""
    minimum: int = 0
    """The server's own shortest time (Min-Expires)."""
    begun_at: float = 0.0
    expires_at: float = 0.0
    failures: int = 0
    renewed: bool = False
    """Granted since the last failure."""

    @property
    def seconds(self) -> int:
        """What to ask for."""
        return max(self.asked, self.minimum) if self.asked else 0

    def lives(self, now: float) -> bool:
        """Whether the time it was granted has not ended."""
        return now < self.expires_at

    def outlived(self, now: float) -> bool:
        """Whether it has existed for so long that failures before it count no more."""
        return self.begun_at > 0 and now - self.begun_at > SHORT_LIFE

    def lost(self) -> None:
        """It exists no more."""
        self.begun_at = self.expires_at = 0.0


def accepted(grant: Grant, seconds: int | None, now: float, fraction: float, pace: Pace) -> Next:
    """A 2xx granted ``seconds``, ``None`` when it does not say; nobody grants more than was asked for."""
    asked = grant.seconds
    granted = asked if seconds is None else min(seconds, asked)
    if granted == 0:
        return rejected(grant, 480, True, now, fraction, pace)
    if grant.begun_at == 0:
        grant.begun_at = now
    if grant.outlived(now):
        grant.failures = 0
    grant.expires_at = now + granted
    grant.renewed = True
    return Next("refresh", delay_of(granted, fraction))


def delay_of(seconds: float, fraction: float) -> float:
    """Seconds from a grant of ``seconds`` to its refresh: at 50 to 60 % of a short one, 80 to 90 % of a long one."""
    return max(refresh_delay(seconds, fraction), SHORTEST_REFRESH)


def shortened(grant: Grant, seconds: int, now: float, fraction: float) -> float | None:
    """A NOTIFY says how long it lasts (RFC 6665 §4.1.3): the time until the refresh if that is sooner than known."""
    if now + seconds >= grant.expires_at - 1.0:
        return None
    grant.expires_at = now + seconds
    return delay_of(seconds, fraction)


def rejected(
    grant: Grant,
    status: int,
    within: bool,
    now: float,
    fraction: float,
    pace: Pace,
    minimum: int = 0,
    retry_after: float | None = None,
) -> Next:
    """A request was refused with ``status``, 0 when no answer came.

    ``within``: it was a refresh, not a beginning. ``minimum``: Min-Expires.
    """
    _count(grant, now)
    if status == 423 and grant.seconds < minimum < DAY and grant.failures <= AT_THEIR_WORD:
        grant.minimum = minimum
        return Next("refresh" if within and grant.lives(now) else "anew")
    if within and status in GONE:
        grant.lost()
        if grant.failures == 1:
            return Next("anew")
        return Next("anew", _wait(grant, retry_after, fraction, pace))
    if not within and is_refusal(status):
        grant.lost()
        return Next("over")
    delay = _wait(grant, retry_after, fraction, pace)
    if within and grant.lives(now):
        left = grant.expires_at - now
        if retry_after is None:  # several tries while it lives
            delay = max(min(delay, left / 2), RETRY_WHILE_IT_LIVES)
        if delay < left:
            return Next("refresh", delay)
    return Next("anew", delay)


def is_refusal(status: int) -> bool:
    """Whether a beginning that was answered so would be answered so again."""
    return 300 <= status < 400 or status in REFUSED or (status >= REFUSED_FROM and status not in NOT_REFUSED)


def unheard(grant: Grant, now: float, fraction: float, pace: Pace) -> Next:
    """No NOTIFY came within 64·T1: there is no subscription (RFC 6665 §4.1.2.4)."""
    _count(grant, now)
    grant.lost()
    return Next("anew", _wait(grant, None, fraction, pace))


def terminated(grant: Grant, reason: str, retry_after: float | None, now: float, fraction: float, pace: Pace) -> Next:
    """The notifier ended it; ``reason`` says whether and when there is to be another (RFC 6665 §4.1.3).

    At once only once in a row: a notifier that ends each subscription as it begins is not asked as fast as it does so.
    """
    _count(grant, now)
    grant.lost()
    if reason in NO_MORE:
        return Next("over")
    if reason in LATER or grant.failures > 1 or (retry_after and reason not in AT_ONCE):
        return Next("anew", _wait(grant, retry_after, fraction, pace))
    return Next("anew", SPREAD * fraction)


def _count(grant: Grant, now: float) -> None:
    grant.failures = 1 if grant.renewed and grant.outlived(now) else min(grant.failures + 1, 64)
    grant.renewed = False


def _wait(grant: Grant, after: float | None, fraction: float, pace: Pace) -> float:
    """``after`` seconds if the server says so, else the back-off; no sooner than that after many failures."""
    delay = backoff(grant.failures, pace.base / 2, pace.maximum, fraction)
    if after is None or grant.failures > AT_THEIR_WORD:
        after = max(after or 0.0, delay)
    return min(max(after + SPREAD * fraction, SHORTEST_RETRY), DAY)
