"""REFER and the subscription that it makes (RFC 3515 §2.4, RFC 4488)."""

from __future__ import annotations

import pytest
from server_world import request
from subscription_world import World

from sipprofile.errors import SipProfileError
from sipprofile.useragent import server
from sipprofile.useragent.draft import Answer

TO_CAROL = ("Refer-To", "<sip:carol@example.test>")


@pytest.fixture
def world() -> World:
    return World()


class TestOurs:
    def test_it_needs_refer_to(self, world: World) -> None:
        with pytest.raises(SipProfileError) as raised:
            world.send("REFER")
        assert raised.value.code == "missing_field"

    def test_the_usage_is_known_by_its_cseq(self, world: World) -> None:
        world.send("REFER", TO_CAROL)
        world.answer(202)
        (leg,) = world.agent.legs.values()
        assert leg.usages == ("refer;id=1",)
        assert world.app.codes() == [202]

    @pytest.mark.parametrize("event", ["refer", "refer;id=1"])
    def test_its_notifies_go_to_the_owner_until_the_last(self, world: World, event: str) -> None:
        world.send("REFER", TO_CAROL)
        world.answer(202)
        assert world.notify("active;expires=60", event) == 200
        assert world.notify("terminated;reason=noresource", event) == 200
        world.run(0)
        assert world.app.codes() == [202, "NOTIFY", "NOTIFY", "dialog_ended"]
        world.assert_nothing_left()
        assert len(world.sent) == 1

    @pytest.mark.parametrize("event", ["refer", "refer;id=1"])
    def test_a_notify_before_the_answer(self, world: World, event: str) -> None:
        world.send("REFER", TO_CAROL)
        assert world.notify("active;expires=60", event) == 200
        world.answer(202)
        (leg,) = world.agent.legs.values()
        assert leg.usages == ("refer;id=1",)
        assert world.notify("active;expires=50", event) == 200

    def test_of_another_reference_it_is_not_ours(self, world: World) -> None:
        world.send("REFER", TO_CAROL)
        world.answer(202)
        assert world.notify("active", "refer;id=99") == 481

    def test_after_a_challenge_the_id_is_that_of_the_last_request(self, world: World) -> None:
        world.send("REFER", TO_CAROL)
        world.answer(401, 'WWW-Authenticate: Digest realm="example.test", nonce="n", qop="auth"')
        assert world.sent[-1].header("cseq") == "2 REFER"
        world.answer(202)
        (leg,) = world.agent.legs.values()
        assert leg.usages == ("refer;id=2",)
        assert world.notify("active;expires=9", "refer;id=2") == 200

    def test_without_a_subscription_there_is_no_dialog(self, world: World) -> None:
        """RFC 4488 §4."""
        world.send("REFER", TO_CAROL, ("Refer-Sub", "false"))
        world.answer(202, "Refer-Sub: false")
        world.settle()
        assert world.agent.legs == {}
        world.assert_nothing_left()

    def test_no_notify_ends_it(self, world: World) -> None:
        world.send("REFER", TO_CAROL)
        world.answer(202)
        world.run(33)
        assert world.app.codes() == [202, "subscription_lost"]
        world.assert_nothing_left()

    def test_it_ends_when_the_notifier_has_said(self, world: World) -> None:
        world.send("REFER", TO_CAROL)
        world.answer(202)
        world.notify("active;expires=60", "refer")
        world.run(62)
        assert world.app.codes() == [202, "NOTIFY", "dialog_ended"]
        world.assert_nothing_left()

    def test_a_notifier_that_never_says_is_not_followed_for_ever(self, world: World) -> None:
        world.send("REFER", TO_CAROL)
        world.answer(202)
        world.notify("active", "refer")
        world.run(3700)
        assert world.app.codes()[-1] == "dialog_ended"
        world.assert_nothing_left()

    def test_a_refusal(self, world: World) -> None:
        number = world.send("REFER", TO_CAROL).number
        world.answer(603)
        assert world.app.news() == [("responded", number, 603)]
        world.assert_nothing_left()

    def test_in_a_call_the_call_goes_on(self, world: World) -> None:
        world.send("INVITE", body=b"v=0", content_type="application/sdp")
        world.answer(200)
        (leg,) = world.agent.legs.values()
        call = world.sent[0]
        world.send("REFER", TO_CAROL, leg=leg)
        assert world.sent[-1].header("cseq") == "2 REFER"
        world.answer(202)
        assert leg.usages == ("refer;id=2",)
        assert world.notify("active;expires=60", "refer", of=call) == 200
        assert world.notify("terminated;reason=noresource", "refer;id=2", of=call) == 200
        world.run(1)
        assert (leg.state, leg.usages, leg.invite != 0) == ("confirmed", (), True)

    @pytest.mark.parametrize("event", ["refer", "refer;id=2"])
    def test_in_a_call_a_notify_may_come_before_the_answer(self, world: World, event: str) -> None:
        world.send("INVITE", body=b"v=0", content_type="application/sdp")
        world.answer(200)
        (leg,) = world.agent.legs.values()
        world.send("REFER", TO_CAROL, leg=leg)
        refer = world.sent[-1]
        assert world.notify("active;expires=60", "refer;id=9", of=world.sent[0]) == 481
        assert world.notify("active;expires=60", event, of=world.sent[0]) == 200
        world.answer(202, to=refer)
        assert leg.usages == ("refer;id=2",)
        assert world.notify("terminated;reason=noresource", event, of=world.sent[0]) == 200
        world.run(1)
        assert (leg.usages, leg.state) == ((), "confirmed")

    def test_two_in_a_call(self, world: World) -> None:
        world.send("INVITE", body=b"v=0", content_type="application/sdp")
        world.answer(200)
        (leg,) = world.agent.legs.values()
        call = world.sent[0]
        for _ in range(2):
            world.send("REFER", TO_CAROL, leg=leg)
            world.answer(202)
        assert leg.usages == ("refer;id=2", "refer;id=3")
        assert world.notify("terminated", "refer;id=3", of=call) == 200
        world.run(1)
        assert leg.usages == ("refer;id=2",)


class TestTheirs:
    def refer(self, world: World, *headers: str, status: int = 202, **answer: object) -> None:
        world.receive(request("REFER", "Refer-To: <sip:carol@example.test>", *headers, cseq=7))
        server.respond(world.agent, world.app.incoming[-1], Answer(status, **answer), world.now)  # type: ignore[arg-type]

    def test_the_usage_is_known_by_its_cseq(self, world: World) -> None:
        self.refer(world)
        (leg,) = world.agent.legs.values()
        assert (leg.usages, leg.method, leg.state) == (("refer;id=7",), "REFER", "confirmed")

    @pytest.mark.parametrize("event", [(), (("Event", "refer"),), (("Event", "refer;id=7"),)])
    def test_the_owner_reports(self, world: World, event: tuple[tuple[str, str], ...]) -> None:
        self.refer(world)
        (leg,) = world.agent.legs.values()
        world.send("NOTIFY", *event, leg=leg, body=b"SIP/2.0 100 Trying\r\n", content_type="message/sipfrag")
        sent = world.sent[-1]
        assert (sent.header("event") or "").startswith("refer")
        assert sent.header("subscription-state") == "active;expires=300"
        world.answer(200)
        world.send(
            "NOTIFY",
            *event,
            ("Subscription-State", "terminated;reason=noresource"),
            leg=leg,
            body=b"SIP/2.0 200 OK\r\n",
            content_type="message/sipfrag",
        )
        world.answer(200)
        world.run(0)
        assert world.app.codes() == ["REFER", 200, 200, "dialog_ended"]
        world.assert_nothing_left()

    def test_who_wants_no_subscription_gets_none(self, world: World) -> None:
        self.refer(world, "Refer-Sub: false", headers=(("Refer-Sub", "false"),))
        assert world.agent.legs == {}
        world.assert_nothing_left()

    def test_a_report_that_is_overdue_is_given_by_the_service(self, world: World) -> None:
        self.refer(world)
        world.run(301)
        (notify,) = world.fresh("NOTIFY")
        assert notify.header("subscription-state") == "terminated;reason=timeout"
        assert notify.body.startswith(b"SIP/2.0 503")
        assert (notify.header("content-type") or "").startswith("message/sipfrag")
        assert world.app.codes()[-1] == "subscriber_gone"
        world.assert_nothing_left()
