"""The non-INVITE server transaction (RFC 3261 §17.2.2, figure 8) and what belongs to one (§17.2.3)."""

from __future__ import annotations

from typing import Any

import pytest
from server_world import request

from sipprofile.sip.headers import parse_via
from sipprofile.sip.message import Request, parse
from sipprofile.sip.transaction import State, Step
from sipprofile.sip.transaction.matching import transaction_key
from sipprofile.sip.transaction.server import ServerTransaction

UDP = False
TCP = True


class TestFigure8:
    def test_retransmissions_before_an_answer_are_absorbed(self) -> None:
        machine = ServerTransaction(UDP, 0.5)
        assert (machine.state, machine.request()) == (State.TRYING, Step.NOTHING)

    def test_the_last_provisional_is_repeated(self) -> None:
        machine = ServerTransaction(UDP, 0.5)
        assert machine.response(100, 1.0) is Step.SEND
        assert (machine.state, machine.request()) == (State.PROCEEDING, Step.SEND)

    @pytest.mark.parametrize("status", [200, 404, 603])
    def test_the_final_answer_is_repeated_until_timer_j(self, status: int) -> None:
        machine = ServerTransaction(UDP, 0.5)
        assert machine.response(status, 1.0) is Step.SEND
        assert (machine.state, machine.ends_at) == (State.COMPLETED, 33.0)
        assert machine.request() is Step.SEND
        machine.timer(32.9)
        assert machine.state is State.COMPLETED
        machine.timer(33.0)
        assert (machine.state, machine.request()) == (State.TERMINATED, Step.NOTHING)

    def test_a_second_final_answer_is_not_sent(self) -> None:
        machine = ServerTransaction(UDP, 0.5)
        machine.response(200, 1.0)
        assert machine.response(500, 2.0) is Step.NOTHING
        assert machine.response(100, 2.0) is Step.NOTHING
        assert machine.ends_at == 33.0

    def test_timer_j_is_zero_on_a_connection(self) -> None:
        machine = ServerTransaction(TCP, 0.5)
        machine.response(200, 1.0)
        assert machine.state is State.TERMINATED


def key(method: str | None = None, **changes: Any) -> str:
    name = changes.pop("name", "MESSAGE")
    message = parse(request(name, **changes))
    assert isinstance(message, Request)
    return transaction_key(message, parse_via(message.header("via") or ""), method or name)


class TestMatching:
    """§17.2.3."""

    def test_branch_sent_by_and_method(self) -> None:
        assert key() == key(uri="sip:x@y", call_id="other", cseq=7, sender="<sip:z@z>;tag=z")
        others = (
            key(branch="z9hG4bK2"),
            key(via="SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK1"),
            key(via="SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bK1"),
            key(name="INFO"),
        )
        assert len({key(), *others}) == 5

    def test_the_host_of_sent_by_has_no_letter_case(self) -> None:
        one, other = (key(via=f"SIP/2.0/UDP {host};branch=z9hG4bK1") for host in ("Proxy.Test", "proxy.test"))
        assert one == other

    @pytest.mark.parametrize("branch", ["z9hG4bKx", "1", "z9hG4bK"])
    def test_ack_and_cancel_find_the_invite(self, branch: str) -> None:
        invite = key(name="INVITE", branch=branch)
        assert key("INVITE", name="ACK", branch=branch, to="<sip:alice@example.test>;tag=1") == invite
        assert key("INVITE", name="CANCEL", branch=branch) == invite
        assert key("INVITE", name="CANCEL", branch=branch + "y") != invite

    @pytest.mark.parametrize(
        "change",
        [
            {"uri": "sip:x@y"},
            {"call_id": "c2"},
            {"cseq": 2},
            {"sender": "<sip:bob@example.test>;tag=g"},
            {"via": "SIP/2.0/UDP 192.0.2.9:5060;branch=1"},
        ],
    )
    def test_without_the_magic_cookie_the_whole_request_counts(self, change: dict[str, Any]) -> None:
        assert key(branch="1") == key(branch="1")
        assert key(branch="1") != key(**{"branch": "1", **change})
