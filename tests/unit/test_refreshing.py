"""When a subscription or publication is repeated, and what an answer means (RFC 6665 §4.1.2, §4.1.3; RFC 3903 §4)."""

from __future__ import annotations

import pytest

from sipprofile.useragent.draft import Draft
from sipprofile.useragent.event_headers import event_of, header_of, state_of, with_headers
from sipprofile.useragent.refreshing import (
    AT_THEIR_WORD,
    DAY,
    SHORTEST_REFRESH,
    SHORTEST_RETRY,
    Grant,
    Next,
    Pace,
    accepted,
    rejected,
    shortened,
    terminated,
    unheard,
)

NOW = 10_000.0
PACE = Pace()


def granted(seconds: int = 3600, ago: float = 600.0) -> Grant:
    """A grant that began ``ago`` seconds before NOW, and was renewed then for what is left of ``seconds``."""
    return Grant(3600, begun_at=NOW - ago, expires_at=NOW - ago + seconds, renewed=True)


class TestTheRefresh:
    @pytest.mark.parametrize("seconds", [20, 60, 300, 600, 3600, 86_400])
    @pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
    def test_it_is_due_between_half_of_the_time_and_nine_tenths(self, seconds: int, fraction: float) -> None:
        grant = Grant(seconds)
        step = accepted(grant, seconds, NOW, fraction, PACE)
        assert step.step == "refresh"
        assert 0.5 * seconds <= step.delay <= 0.91 * seconds
        assert grant.expires_at == NOW + seconds

    def test_nobody_grants_more_than_was_asked_for(self) -> None:
        grant = Grant(100)
        accepted(grant, 1_000_000, NOW, 0.5, PACE)
        assert grant.expires_at == NOW + 100

    def test_an_answer_without_expires_grants_what_was_asked_for(self) -> None:
        grant = Grant(100)
        accepted(grant, None, NOW, 0.5, PACE)
        assert grant.expires_at == NOW + 100

    def test_a_grant_of_seconds_is_not_refreshed_faster_than_the_floor(self) -> None:
        assert accepted(Grant(3600), 1, NOW, 0.0, PACE).delay == SHORTEST_REFRESH

    def test_a_grant_of_nothing_is_none(self) -> None:
        grant = Grant(3600)
        assert accepted(grant, 0, NOW, 0.5, PACE) == Next("anew")
        step = accepted(grant, 0, NOW, 0.5, PACE)
        assert step.step == "anew"
        assert step.delay > 10

    def test_a_notify_may_shorten_it(self) -> None:
        grant = granted()
        delay = shortened(grant, 100, NOW, 0.0)
        assert delay == 50
        assert grant.expires_at == NOW + 100

    def test_a_notify_that_says_what_is_known_changes_nothing(self) -> None:
        assert shortened(granted(), 3000, NOW, 0.0) is None
        assert shortened(granted(), 3599, NOW, 0.0) is None


class TestARefusedRefresh:
    """RFC 6665 §4.1.2.2."""

    @pytest.mark.parametrize("status", [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604, 412])
    def test_it_is_gone_and_begins_anew_at_once(self, status: int) -> None:
        grant = granted()
        assert rejected(grant, status, True, NOW, 0.5, PACE) == Next("anew", 0.0)
        assert not grant.lives(NOW)

    def test_gone_again_at_once_waits(self) -> None:
        grant = granted()
        rejected(grant, 481, True, NOW, 0.5, PACE)
        accepted(grant, 3600, NOW + 1, 0.5, PACE)
        step = rejected(grant, 481, True, NOW + 2, 0.5, PACE)
        assert step.step == "anew"
        assert step.delay >= 15

    def test_gone_after_a_long_life_begins_at_once_again(self) -> None:
        grant = granted()
        rejected(grant, 481, True, NOW, 0.5, PACE)
        accepted(grant, 3600, NOW + 1, 0.5, PACE)
        assert rejected(grant, 481, True, NOW + 500, 0.5, PACE) == Next("anew", 0.0)

    @pytest.mark.parametrize("status", [0, 403, 408, 500, 503, 600])
    def test_any_other_failure_is_tried_again_while_the_grant_lives(self, status: int) -> None:
        grant = granted(ago=3240)
        step = rejected(grant, status, True, NOW, 0.5, PACE)
        assert step.step == "refresh"
        assert SHORTEST_RETRY <= step.delay < 360
        assert grant.lives(NOW)

    def test_several_tries_fit_into_what_is_left(self) -> None:
        grant = granted(ago=3560)
        at, tries = NOW, 0
        while (step := rejected(grant, 0, True, at, 0.5, PACE)).step == "refresh":
            at += step.delay
            tries += 1
        assert 2 <= tries <= 8
        assert step.step == "anew"

    def test_retry_after_is_honoured(self) -> None:
        assert rejected(granted(), 503, True, NOW, 0.0, PACE, retry_after=120.0) == Next("refresh", 120.0)

    def test_a_retry_after_beyond_its_life_begins_anew_then(self) -> None:
        assert rejected(granted(), 503, True, NOW, 0.0, PACE, retry_after=4000.0) == Next("anew", 4000.0)

    def test_an_absurd_retry_after_is_a_day(self) -> None:
        assert rejected(granted(), 503, True, NOW, 0.0, PACE, retry_after=1e9).delay == DAY


class TestIntervalTooBrief:
    def test_the_servers_minimum_is_asked_for_at_once(self) -> None:
        grant = Grant(60)
        assert rejected(grant, 423, False, NOW, 0.5, PACE, minimum=600) == Next("anew", 0.0)
        assert grant.seconds == 600

    def test_in_a_dialog_that_lives_it_is_a_refresh(self) -> None:
        grant = Grant(60, begun_at=NOW - 30, expires_at=NOW + 30)
        assert rejected(grant, 423, True, NOW, 0.5, PACE, minimum=600) == Next("refresh", 0.0)

    @pytest.mark.parametrize("minimum", [0, 60, 59, 10**6])
    def test_a_minimum_that_makes_no_sense_waits(self, minimum: int) -> None:
        step = rejected(Grant(60), 423, False, NOW, 0.5, PACE, minimum=minimum)
        assert step.delay >= SHORTEST_RETRY

    def test_a_minimum_that_rises_each_time_is_not_followed_for_ever(self) -> None:
        grant = Grant(60)
        steps = [rejected(grant, 423, False, NOW, 0.5, PACE, minimum=100 * n).delay for n in range(1, 10)]
        assert steps[:AT_THEIR_WORD] == [0.0] * AT_THEIR_WORD
        assert all(delay > 0 for delay in steps[AT_THEIR_WORD:])


class TestARefusedBeginning:
    @pytest.mark.parametrize("status", [302, 401, 403, 404, 405, 407, 415, 420, 489, 501, 513, 603, 604, 606])
    def test_there_is_no_hope(self, status: int) -> None:
        assert rejected(Grant(60), status, False, NOW, 0.5, PACE).step == "over"

    @pytest.mark.parametrize("status", [0, 408, 480, 481, 486, 500, 502, 503, 504, 600])
    def test_it_may_work_later(self, status: int) -> None:
        step = rejected(Grant(60), status, False, NOW, 0.5, PACE)
        assert step.step == "anew"
        assert step.delay >= SHORTEST_RETRY

    def test_the_waits_grow_up_to_a_limit(self) -> None:
        grant = Grant(60)
        delays = [rejected(grant, 0, False, NOW, 1.0, PACE).delay for _ in range(40)]
        assert delays[:4] == [31, 61, 121, 241]
        assert delays == sorted(delays)
        assert delays[-1] <= PACE.maximum + 1

    def test_a_server_that_says_at_once_for_ever_is_not_believed(self) -> None:
        grant = Grant(60)
        delays = [rejected(grant, 503, False, NOW, 0.5, PACE, retry_after=0.0).delay for _ in range(10)]
        assert min(delays[AT_THEIR_WORD:]) > 100

    def test_no_notify_is_no_subscription(self) -> None:
        grant = granted(ago=32)
        step = unheard(grant, NOW, 0.5, PACE)
        assert step.step == "anew"
        assert step.delay > SHORTEST_RETRY
        assert not grant.lives(NOW)


class TestTheNotifierEndsIt:
    """RFC 6665 §4.1.3."""

    @pytest.mark.parametrize("reason", ["rejected", "noresource", "invariant"])
    def test_no_more(self, reason: str) -> None:
        assert terminated(granted(), reason, 5.0, NOW, 0.5, PACE) == Next("over")

    @pytest.mark.parametrize("reason", ["deactivated", "timeout", "", "something"])
    def test_at_once(self, reason: str) -> None:
        step = terminated(granted(), reason, None, NOW, 0.5, PACE)
        assert step.step == "anew"
        assert step.delay <= 1.0

    @pytest.mark.parametrize("reason", ["deactivated", "timeout", ""])
    def test_at_once_is_bounded(self, reason: str) -> None:
        """A notifier that ends each subscription as soon as it has begun."""
        grant, at, count = granted(), NOW, 0
        while at < NOW + 3600:
            at += terminated(grant, reason, None, at, 0.5, PACE).delay + 0.1
            accepted(grant, 3600, at, 0.5, PACE)
            count += 1
        assert count < 12

    def test_deactivated_has_no_retry_after(self) -> None:
        assert terminated(granted(), "deactivated", 600.0, NOW, 0.5, PACE).delay <= 1.0

    @pytest.mark.parametrize("reason", ["probation", "giveup", "", "something"])
    def test_retry_after_is_honoured(self, reason: str) -> None:
        assert terminated(granted(), reason, 600.0, NOW, 0.0, PACE) == Next("anew", 600.0)

    @pytest.mark.parametrize("reason", ["probation", "giveup"])
    def test_later_without_a_time_is_the_back_off(self, reason: str) -> None:
        assert 15 <= terminated(granted(), reason, None, NOW, 0.5, PACE).delay <= 60


class TestTheHeaders:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("presence", "presence"),
            (" Presence ", "presence"),
            ("refer;id=93809823", "refer;id=93809823"),
            ("dialog;sla;ma=x", "dialog"),
            ("presence.winfo ; id=a", "presence.winfo;id=a"),
            ("", ""),
            (None, ""),
            ("a b", ""),
            ('x;id="', ""),
            ("x" * 200, ""),
        ],
    )
    def test_event(self, value: str | None, expected: str) -> None:
        assert event_of(value) == expected

    def test_subscription_state(self) -> None:
        state = state_of("Terminated;reason=Probation;retry-after=30")
        assert (state.word, state.reason, state.retry_after, state.expires) == ("terminated", "probation", 30.0, None)
        assert state_of("active;expires=17").expires == 17
        assert state_of('active;expires="x').word == "active"
        assert state_of(None).word == ""

    def test_headers_of_a_draft(self) -> None:
        draft = Draft("SUBSCRIBE", headers=(("event", "presence"), ("Expires", "5")))
        assert header_of(draft, "event", "o") == "presence"
        assert header_of(draft, "accept") is None
        changed = with_headers(draft, ("Expires", "7"), without=("event",))
        assert changed.headers == (("Expires", "7"),)
