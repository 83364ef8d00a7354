"""The INVITE server transaction (RFC 3261 §17.2.1, figure 7, with RFC 6026 §7.1)."""

from __future__ import annotations

import pytest

from sipprofile.sip.transaction import Step
from sipprofile.sip.transaction.invite_server import InviteServerState, InviteServerTransaction

UDP = False
TCP = True


def transaction(reliable: bool = UDP) -> InviteServerTransaction:
    return InviteServerTransaction(reliable, 0.5, 4.0)


class TestProceeding:
    def test_provisionals_are_sent_and_repeated(self) -> None:
        machine = transaction()
        assert [machine.response(status, 1.0) for status in (100, 180, 183)] == [Step.SEND] * 3
        assert machine.request() is Step.SEND
        assert (machine.state, machine.due_at) == (InviteServerState.PROCEEDING, 0.0)

    def test_an_ack_means_nothing(self) -> None:
        machine = transaction()
        assert (machine.ack(1.0), machine.state) == (Step.NOTHING, InviteServerState.PROCEEDING)


class TestCompleted:
    def test_timer_g_doubles_to_t2(self) -> None:
        machine = transaction()
        assert machine.response(486, 10.0) is Step.SEND
        times = []
        while machine.due_at < 42.0:
            times.append(machine.due_at - 10.0)
            assert machine.timer(machine.due_at) is Step.SEND
        assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]

    @pytest.mark.parametrize("reliable", [UDP, TCP])
    def test_timer_h(self, reliable: bool) -> None:
        machine = transaction(reliable)
        machine.response(486, 10.0)
        assert machine.timer(42.0) is Step.FAILED
        assert (machine.state, machine.due_at) == (InviteServerState.TERMINATED, 0.0)

    def test_no_timer_g_on_a_connection(self) -> None:
        machine = transaction(TCP)
        machine.response(486, 10.0)
        assert machine.due_at == 42.0
        assert machine.request() is Step.SEND

    @pytest.mark.parametrize("status", [180, 200, 500])
    def test_no_other_answer(self, status: int) -> None:
        machine = transaction()
        machine.response(486, 10.0)
        assert (machine.response(status, 11.0), machine.state) == (Step.NOTHING, InviteServerState.COMPLETED)


class TestConfirmed:
    def test_further_acks_and_invites_are_absorbed_until_timer_i(self) -> None:
        machine = transaction()
        machine.response(486, 10.0)
        assert machine.ack(11.0) is Step.NOTHING
        assert (machine.state, machine.due_at) == (InviteServerState.CONFIRMED, 16.0)
        assert (machine.ack(12.0), machine.request(), machine.due_at) == (Step.NOTHING, Step.NOTHING, 16.0)
        assert machine.timer(16.0) is Step.NOTHING
        assert machine.state is InviteServerState.TERMINATED

    def test_timer_i_is_zero_on_a_connection(self) -> None:
        machine = transaction(TCP)
        machine.response(486, 10.0)
        machine.ack(11.0)
        assert (machine.state, machine.due_at) == (InviteServerState.TERMINATED, 0.0)


class TestAccepted:
    """RFC 6026 §7.1."""

    @pytest.mark.parametrize("reliable", [UDP, TCP])
    def test_invites_are_absorbed_and_acks_passed_on_until_timer_l(self, reliable: bool) -> None:
        machine = transaction(reliable)
        assert machine.response(200, 10.0) is Step.SEND
        assert (machine.state, machine.due_at) == (InviteServerState.ACCEPTED, 42.0)
        assert (machine.request(), machine.ack(11.0), machine.ack(12.0)) == (Step.NOTHING, Step.PASS, Step.PASS)
        assert machine.timer(42.0) is Step.NOTHING
        assert machine.state is InviteServerState.TERMINATED

    def test_only_the_2xx_may_be_sent_again(self) -> None:
        machine = transaction()
        machine.response(200, 10.0)
        assert machine.response(200, 11.0) is Step.SEND
        assert machine.response(486, 11.0) is Step.NOTHING
        assert machine.due_at == 42.0
