"""Provisional answers that are repeated until a PRACK comes (RFC 3262 §3)."""

from __future__ import annotations

from typing import Any

import pytest
from server_world import World, request

from sipprofile.errors import SipProfileError
from sipprofile.sip.message import Response


@pytest.fixture
def world() -> World:
    world = World()
    world.receive(request("INVITE", "Supported: timer, 100rel"))
    return world


def said(world: World, status: int, **answer: Any) -> list[Response]:
    before = len(world.sent)
    world.respond(status, world.owner.incoming[0], **answer)
    return world.responses(before)


def prack(world: World, provisional: Response, cseq: int = 2, **changes: Any) -> list[Response]:
    rack = changes.pop("rack", f"{provisional.header('rseq')} 1 INVITE")
    return world.receive(
        request("PRACK", f"RAck: {rack}", to=provisional.header("to"), cseq=cseq, branch=f"z9hG4bKp{cseq}", **changes)
    )


class TestProvisional:
    def test_carries_rseq_and_the_requirement(self, world: World) -> None:
        (ringing,) = said(world, 180, reliable=True)
        assert ringing.header("require") == "100rel"
        assert 1 <= int(ringing.header("rseq") or "0") < 2**31
        assert ringing.header("contact")

    def test_is_repeated_ever_more_slowly_and_then_the_call_fails(self, world: World) -> None:
        """T1 doubling without an upper limit, 64·T1 in all, then a 5xx."""
        said(world, 180, reliable=True)
        times = world.run(33.0)
        assert [at for at, status in times if status == 180] == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
        assert (32.0, 500) in times
        assert world.owner.heard[-1] == ("withdrawn", "INVITE", "timed_out")

    def test_prack_ends_that(self, world: World) -> None:
        (ringing,) = said(world, 180, reliable=True)
        (ok,) = prack(world, ringing)
        assert ok.status == 200
        assert world.owner.heard[1:] == [("provisionally_acknowledged", int(ringing.header("rseq") or ""))]
        assert world.run(50.0) == []

    @pytest.mark.parametrize("rack", ["1 1 INVITE", "{} 2 INVITE", "{} 1 UPDATE", "{}", "x y INVITE", ""])
    def test_a_prack_for_something_else(self, world: World, rack: str) -> None:
        (ringing,) = said(world, 180, reliable=True)
        (response,) = prack(world, ringing, rack=rack.format(ringing.header("rseq")))
        assert response.status == 481
        assert world.run(1.0) == [(0.5, 180)]

    def test_a_second_prack(self, world: World) -> None:
        (ringing,) = said(world, 180, reliable=True)
        prack(world, ringing)
        assert prack(world, ringing)[0].status == 200, "a retransmission"
        assert prack(world, ringing, 3)[0].status == 481

    def test_only_where_the_caller_supports_it(self) -> None:
        world = World()
        world.receive(request("INVITE"))
        with pytest.raises(SipProfileError) as caught:
            said(world, 180, reliable=True)
        assert (caught.value.code, caught.value.field) == ("invalid_value", "reliable")
        with pytest.raises(SipProfileError):
            said(world, 200, reliable=True)

    def test_always_where_the_caller_requires_it(self) -> None:
        world = World()
        world.receive(request("INVITE", "Require: 100rel"))
        assert said(world, 180)[0].header("rseq")

    def test_unreliable_ones_may_go_beside(self, world: World) -> None:
        said(world, 180, reliable=True)
        assert said(world, 181)[0].header("rseq") is None


class TestOrder:
    def test_the_next_waits_for_the_prack(self, world: World) -> None:
        (first,) = said(world, 180, reliable=True)
        assert said(world, 183, reliable=True, body=b"v=0", content_type="application/sdp") == []
        before = len(world.sent)
        prack(world, first)
        _, second = world.responses(before)
        assert (second.status, second.body) == (183, b"v=0")
        assert int(second.header("rseq") or "0") == int(first.header("rseq") or "0") + 1

    def test_2xx_waits_where_an_offer_or_answer_is_under_way(self, world: World) -> None:
        (first,) = said(world, 183, reliable=True, body=b"v=0", content_type="application/sdp")
        assert said(world, 200) == []
        with pytest.raises(SipProfileError) as caught:
            said(world, 486)
        assert caught.value.code == "invalid_state"
        before = len(world.sent)
        prack(world, first)
        assert world.statuses(before) == [200, 200]
        assert world.run(0.6) == [(0.5, 200)]
        (leg,) = world.agent.legs.values()
        assert leg.state == "confirmed"

    def test_2xx_does_not_wait_otherwise(self, world: World) -> None:
        said(world, 180, reliable=True)
        assert [r.status for r in said(world, 200)] == [200]
        assert [status for _, status in world.run(2.0)] == [200, 200]

    def test_a_refusal_never_waits(self, world: World) -> None:
        said(world, 183, reliable=True, body=b"v=0", content_type="application/sdp")
        said(world, 180, reliable=True)
        assert [r.status for r in said(world, 486)] == [486]
        assert {status for _, status in world.run(2.0)} == {486}

    def test_only_so_many_wait(self, world: World) -> None:
        for _ in range(17):
            said(world, 180, reliable=True)
        with pytest.raises(SipProfileError) as caught:
            said(world, 180, reliable=True)
        assert caught.value.code == "invalid_state"

    def test_cancelled_while_one_waits(self, world: World) -> None:
        said(world, 180, reliable=True)
        statuses = [response.status for response in world.receive(request("CANCEL", contact=""))]
        assert statuses == [200, 487]
        assert {status for _, status in world.run(2.0)} == {487}


class TestManual:
    def test_the_owner_answers(self, world: World) -> None:
        (ringing,) = said(world, 180, reliable=True, manual=True)
        assert prack(world, ringing, body=b"offer") == []
        assert world.owner.heard[-1] == ("requested", "PRACK", 0)
        world.respond(200, body=b"answer", content_type="application/sdp")
        assert world.run(40.0) == []

    def test_an_offer_in_a_prack_is_the_owners_to_answer(self, world: World) -> None:
        (ringing,) = said(world, 180, reliable=True)
        assert prack(world, ringing, body=b"offer") == []
        assert world.owner.heard[-1] == ("requested", "PRACK", 0)
