"""The token bucket by itself."""

from __future__ import annotations

from sipprofile.registration.pacing import AUTOMATIC, AWAITED, REFRESH, RETRY, Pacer


def test_it_starts_full_and_fills_at_its_rate() -> None:
    pacer = Pacer(10, 3, 100.0)
    assert [pacer.draw(100.0) for _ in range(4)] == [True, True, True, False]
    assert pacer.next_draw(100.0) == 100.1
    assert not pacer.draw(100.05)
    assert pacer.draw(100.101)
    assert not pacer.draw(100.102)


def test_it_never_holds_more_than_its_burst() -> None:
    pacer = Pacer(10, 3, 0.0)
    assert [pacer.draw(1e6) for _ in range(4)] == [True, True, True, False]


def test_a_burst_below_one_would_never_let_anybody_draw() -> None:
    assert Pacer(0.5, 0.1, 0.0).draw(0.0)


def test_nobody_draws_past_those_who_wait() -> None:
    pacer = Pacer(10, 3, 0.0)
    pacer.wait(7, RETRY, 0.0)
    assert not pacer.try_draw(0.0)
    assert pacer.draw(0.0)


def test_the_queue_is_in_order_of_class_then_key() -> None:
    pacer = Pacer(1, 1, 0.0)
    for waiter, (kind, key) in enumerate(
        [(AUTOMATIC, 1.0), (RETRY, 1.0), (AWAITED, 2.0), (AWAITED, 1.0), (REFRESH, 9.0)]
    ):
        pacer.wait(waiter, kind, key)
    assert [waiter for _, _, waiter in sorted(pacer.queue)] == [4, 3, 2, 1, 0]


def test_debts_are_paid_first_and_are_bounded() -> None:
    pacer = Pacer(10, 5, 0.0)
    for _ in range(1000):
        pacer.debit(0.0)
    assert pacer.next_draw(0.0) == 0.6
    assert not pacer.draw(0.59)
    assert pacer.draw(0.601)


def test_a_clock_that_stands_still_or_steps_back_gives_nothing() -> None:
    pacer = Pacer(10, 1, 5.0)
    assert pacer.draw(5.0)
    assert not pacer.draw(5.0)
    assert not pacer.draw(1.0)
    assert not pacer.draw(5.05)


def test_the_figures() -> None:
    pacer = Pacer(10, 5, 0.0)
    assert pacer.status("r").seconds_to_empty == 0
    for waiter in range(20):
        pacer.wait(waiter, RETRY, 0.0)
    status = pacer.status("r")
    assert (status.registrar, status.waiting, status.rate, status.seconds_to_empty) == ("r", 20, 10, 2.0)
