"""A session may send so many requests a second, and have so many dialogs."""

from __future__ import annotations

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.service.quota import Quota, check_dialogs


def granted(quota: Quota, now: float, wished: int) -> int:
    """How many of ``wished`` requests at ``now`` may be sent."""
    for number in range(wished):
        try:
            quota.take(now)
        except SipProfileError:
            return number
    return wished


class TestRequests:
    def test_after_a_pause_two_seconds_worth_go_at_once(self) -> None:
        assert granted(Quota(100, 50.0), 50.0, 1000) == 200

    def test_then_as_many_as_the_rate_says(self) -> None:
        quota = Quota(100, 0.0)
        granted(quota, 0.0, 200)
        assert granted(quota, 0.1, 1000) == 10
        assert granted(quota, 1.1, 1000) == 100

    def test_a_long_pause_saves_no_more_than_a_burst(self) -> None:
        quota = Quota(100, 0.0)
        granted(quota, 0.0, 200)
        assert granted(quota, 1000.0, 1000) == 200

    def test_what_is_refused_costs_nothing(self) -> None:
        quota = Quota(10, 0.0)
        granted(quota, 0.0, 20)
        for step in range(1, 10):
            assert granted(quota, step / 100, 1) == 0
        assert granted(quota, 0.1001, 2) == 1

    def test_the_error_says_when_there_is_room_again(self) -> None:
        quota = Quota(10, 0.0)
        granted(quota, 0.0, 20)
        with pytest.raises(SipProfileError) as caught:
            quota.take(0.05)
        assert caught.value.code == "quota_exceeded"
        retry_after = caught.value.members["retry_after"]
        assert retry_after == pytest.approx(0.05)
        assert granted(quota, 0.0501 + retry_after, 1) == 1


class TestDialogs:
    def test_the_limit_is_the_last_that_is_allowed(self) -> None:
        check_dialogs(99, 100)
        with pytest.raises(SipProfileError) as caught:
            check_dialogs(100, 100)
        assert caught.value.code == "quota_exceeded"
        assert caught.value.value == 100
