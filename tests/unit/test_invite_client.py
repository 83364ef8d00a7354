"""The INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §8.4)."""

from __future__ import annotations

import pytest
from transaction_steps import run

from sipprofile.sip.transaction import InviteClientTransaction, State, Step
from sipprofile.sip.transaction.invite_client import TIMER_C, TIMER_D


def udp() -> InviteClientTransaction:
    return InviteClientTransaction.sent("z9hG4bKq1.a", False, 0.5, 100.0)


def tcp() -> InviteClientTransaction:
    return InviteClientTransaction.sent("z9hG4bKq1.a", True, 0.5, 100.0)


class TestCalling:
    """§17.1.1.2: timers A and B."""

    def test_an_unreliable_request_is_sent_at_doubling_intervals_until_timer_b(self) -> None:
        sent_at = [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
        assert run(udp()) == [*((at, Step.SEND) for at in sent_at), (32.0, Step.FAILED)]

    def test_a_reliable_request_is_sent_once(self) -> None:
        assert run(tcp()) == [(32.0, Step.FAILED)]

    def test_the_transport_fails(self) -> None:
        transaction = udp()
        assert transaction.transport_failed() is Step.FAILED
        assert (transaction.state, transaction.due_at) == (State.TERMINATED, 0.0)


class TestProceeding:
    def test_it_is_sent_no_more_and_rings_longer_than_timer_b(self) -> None:
        transaction = udp()
        assert transaction.response(100, 100.1) is Step.PASS
        assert transaction.timer(140.0) is Step.NOTHING
        assert transaction.response(180, 141.0) is Step.PASS
        assert transaction.state is State.PROCEEDING
        assert transaction.due_at == 141.0 + TIMER_C

    def test_what_rings_for_too_long_is_to_be_cancelled(self) -> None:
        """§16.6 step 11; a 100 does not count as a sign of life."""
        transaction = udp()
        transaction.response(180, 101.0)
        transaction.response(100, 200.0)
        assert transaction.timer(101.0 + TIMER_C) is Step.TOO_LONG

    def test_a_cancelled_one_waits_64_t1_for_its_final_response(self) -> None:
        """§9.1."""
        transaction = udp()
        transaction.response(180, 101.0)
        transaction.cancelled(110.0)
        transaction.response(180, 120.0)
        assert transaction.timer(142.0) is Step.FAILED

    def test_losing_a_connection_loses_the_answer_and_an_icmp_error_does_not(self) -> None:
        for transaction, step in ((tcp(), Step.FAILED), (udp(), Step.NOTHING)):
            transaction.response(180, 101.0)
            assert transaction.transport_failed() is step


class TestCompleted:
    def test_a_refusal_is_acknowledged_each_time_it_comes(self) -> None:
        transaction = udp()
        assert transaction.response(486, 101.0) is Step.REFUSED
        assert transaction.response(486, 101.5) is Step.AGAIN
        assert transaction.response(180, 101.6) is Step.NOTHING
        assert transaction.response(200, 101.7) is Step.NOTHING
        assert transaction.due_at == 101.0 + TIMER_D
        assert transaction.timer(133.0) is Step.NOTHING
        assert transaction.state is State.TERMINATED

    def test_over_a_connection_it_is_over_at_once(self) -> None:
        transaction = tcp()
        assert transaction.response(486, 101.0) is Step.REFUSED
        assert transaction.state is State.TERMINATED
        assert transaction.response(486, 101.1) is Step.NOTHING


class TestAccepted:
    """RFC 6026 §8.4: every 2xx goes to the transaction's user until timer M ends."""

    @pytest.mark.parametrize("transaction", [udp(), tcp()], ids=["udp", "tcp"])
    def test_each_2xx_is_passed_on(self, transaction: InviteClientTransaction) -> None:
        assert transaction.response(200, 101.0) is Step.PASS
        assert transaction.response(200, 102.0) is Step.PASS
        assert transaction.response(486, 103.0) is Step.NOTHING
        assert transaction.response(180, 103.0) is Step.NOTHING
        assert transaction.timer(132.9) is Step.NOTHING
        assert transaction.timer(133.0) is Step.OVER
        assert transaction.response(200, 133.1) is Step.NOTHING
