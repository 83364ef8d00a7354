"""The non-INVITE client transaction (RFC 3261 §17.1.2)."""

from __future__ import annotations

import pytest
from transaction_steps import run

from sipprofile.sip.transaction import T4, ClientTransaction, State, Step


def udp() -> ClientTransaction:
    return ClientTransaction.sent("z9hG4bKq1.a", False, 0.5, 4.0, 100.0)


def tcp() -> ClientTransaction:
    return ClientTransaction.sent("z9hG4bKq1.a", True, 0.5, 4.0, 100.0)


class TestTrying:
    """§17.1.2.2: timers E and F."""

    def test_an_unreliable_request_is_sent_at_doubling_intervals_up_to_t2_until_timer_f(self) -> None:
        sent_at = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        assert run(udp()) == [*((at, Step.SEND) for at in sent_at), (32.0, Step.FAILED)]

    def test_a_reliable_request_is_sent_once(self) -> None:
        assert run(tcp()) == [(32.0, Step.FAILED)]

    def test_before_a_timer_is_due_nothing_happens(self) -> None:
        assert udp().timer(100.4) is Step.NOTHING


class TestProceeding:
    def test_after_a_provisional_answer_the_interval_is_t2(self) -> None:
        transaction = udp()
        assert transaction.response(100, 100.1) is Step.PASS
        assert transaction.state is State.PROCEEDING
        assert [at for at, step in run(transaction) if step is Step.SEND][:3] == pytest.approx([4.1, 8.1, 12.1])

    def test_timer_f_ends_it_all_the_same(self) -> None:
        transaction = tcp()
        transaction.response(100, 100.1)
        assert run(transaction) == [(32.0, Step.FAILED)]


class TestCompleted:
    def test_an_unreliable_one_absorbs_late_answers_for_timer_k(self) -> None:
        transaction = udp()
        assert transaction.response(404, 101.0) is Step.PASS
        assert transaction.response(404, 101.5) is Step.NOTHING
        assert transaction.due_at == 101.0 + T4
        assert transaction.timer(106.0) is Step.NOTHING
        assert transaction.state is State.TERMINATED

    def test_a_reliable_one_is_over_at_once(self) -> None:
        transaction = tcp()
        assert transaction.response(200, 101.0) is Step.PASS
        assert (transaction.state, transaction.due_at) == (State.TERMINATED, 0.0)


class TestTransportFailure:
    """§17.1.4."""

    def test_it_is_told_once(self) -> None:
        transaction = udp()
        assert transaction.transport_failed() is Step.FAILED
        assert transaction.transport_failed() is Step.NOTHING
        assert (transaction.state, transaction.due_at) == (State.TERMINATED, 0.0)

    def test_after_the_answer_it_does_not_matter(self) -> None:
        transaction = udp()
        transaction.response(200, 101.0)
        assert transaction.transport_failed() is Step.NOTHING
