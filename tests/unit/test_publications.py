"""PUBLISH that the service repeats with its entity tag (RFC 3903 §4)."""

from __future__ import annotations

from typing import Any

import pytest
from subscription_world import World, answered

from sipprofile.errors import SipProfileError
from sipprofile.sip.message import Request
from sipprofile.useragent import ending, publications

STATE = b"<presence/>"
KIND = "application/pidf+xml"


class Server:
    """Holds one publication, and gives it a tag each time."""

    def __init__(self, seconds: int = 600) -> None:
        self.seconds = seconds
        self.tag = ""
        self.body = b""
        self._count = 0

    def __call__(self, request: Request) -> bytes:
        match = request.header("sip-if-match")
        if match is not None and match != self.tag:
            return answered(request, 412)
        if match is None and not request.body:
            return answered(request, 400)
        if request.header("expires") == "0":
            self.tag, self.body = "", b""
            return answered(request, 200, "Expires: 0")
        self._count += 1
        self.tag = f"tag{self._count}"
        self.body = request.body or self.body
        return answered(request, 200, f"SIP-ETag: {self.tag}", f"Expires: {self.seconds}")


@pytest.fixture
def world() -> World:
    return World()


def publish(world: World, *headers: tuple[str, str], **draft: Any) -> int:
    values: dict[str, Any] = {"refresh": 600, "body": STATE, "content_type": KIND, **draft}
    return world.send("PUBLISH", ("Event", "presence"), *headers, **values).number


def published(world: World, server: Server | None = None) -> tuple[int, Server]:
    """A publication that the server holds; the number of its request."""
    world.peer = server = server or Server()
    number = publish(world)
    world.settle()
    assert world.app.news() == [("responded", number, 200)]
    return number, server


class TestRefresh:
    def test_with_the_last_tag_and_without_a_body(self, world: World) -> None:
        _, server = published(world)
        world.run(3000)
        sent = world.sent[1:]
        assert 5 <= len(sent) <= 7
        assert [each.header("sip-if-match") for each in sent] == [f"tag{n}" for n in range(1, len(sent) + 1)]
        assert {each.body for each in sent} == {b""}
        assert {(each.header("event"), each.header("expires")) for each in sent} == {("presence", "600")}
        assert server.body == STATE
        assert world.app.news() == []

    def test_one_that_is_not_to_be_refreshed_is_not(self, world: World) -> None:
        world.peer = Server()
        publish(world, ("Expires", "60"), refresh=0)
        world.run(600)
        assert len(world.sent) == 1
        world.assert_nothing_left()

    def test_it_needs_an_event(self, world: World) -> None:
        with pytest.raises(SipProfileError) as raised:
            world.send("PUBLISH", refresh=60, body=STATE, content_type=KIND)
        assert raised.value.code == "missing_field"

    def test_412_publishes_anew_at_once(self, world: World) -> None:
        _, server = published(world)
        server.tag = "lost"
        world.until_sent()
        world.settle()
        assert server.body == STATE
        again = world.sent[-1]
        assert (again.header("sip-if-match"), again.body) == (None, STATE)
        assert world.app.news() == []

    def test_interval_too_brief(self, world: World) -> None:
        number = publish(world, refresh=60)
        world.answer(423, "Min-Expires: 900")
        world.settle()
        assert world.app.news() == []
        assert (world.sent[-1].header("expires"), world.sent[-1].body) == ("900", STATE)
        world.answer(200, "SIP-ETag: a", "Expires: 900")
        assert world.app.news() == [("responded", number, 200)]

    def test_a_refusal_is_the_owners(self, world: World) -> None:
        number = publish(world)
        world.answer(403)
        assert world.app.news() == [("responded", number, 403)]
        world.assert_nothing_left()

    def test_no_answer_is_the_owners(self, world: World) -> None:
        number = publish(world)
        world.run(33)
        assert world.app.news() == [("failed", number, "timeout")]
        world.assert_nothing_left()

    def test_a_failure_is_told_once_and_its_end_too(self, world: World) -> None:
        number, server = published(world)
        world.peer = lambda request: answered(request, 503)
        world.run(590)
        assert world.app.news() == [("failed", number, "not_refreshed")]
        world.peer = server
        world.run(200)
        assert world.app.news() == [("responded", number, 200)]

    def test_what_has_ended_meanwhile_is_published_anew(self, world: World) -> None:
        _, server = published(world)
        world.peer = lambda request: None
        world.run(2000)
        server.tag = ""
        world.peer = server
        world.run(2000)
        assert server.body == STATE
        assert world.app.codes() == ["not_refreshed", 200]

    def test_when_that_is_refused_it_is_over(self, world: World) -> None:
        number, _ = published(world)
        world.peer = lambda request: answered(request, 412 if request.header("sip-if-match") else 403)
        world.run(700)
        assert world.app.news() == [("failed", number, "publication_lost")]
        world.assert_nothing_left()

    def test_tries_are_paced(self, world: World) -> None:
        published(world)
        world.peer = lambda request: answered(request, 412)
        world.run(36_000)
        assert len(world.sent) < 45

    def test_without_a_registration_it_waits(self, world: World) -> None:
        _, server = published(world)
        world.registrations.want(False)
        world.run(3000)
        assert len(world.sent) == 1
        server.tag = ""
        world.registrations.want(True)
        world.run(1)
        ending.line_changed(world.agent, 1, world.now)
        world.run(3)
        assert server.body == STATE
        assert len(world.sent) == 2


class TestChange:
    def test_by_the_tag_that_the_owner_knows(self, world: World) -> None:
        _, server = published(world)
        world.run(2000)
        assert server.tag != "tag1"
        before = len(world.sent)
        number = publish(world, ("SIP-If-Match", "tag1"), body=b"<busy/>")
        world.settle()
        assert world.app.news() == [("responded", number, 200)]
        assert server.body == b"<busy/>"
        world.run(600)
        assert len(world.sent) == before + 2
        assert len(world.agent.publications.by_number) == 1

    @pytest.mark.parametrize("status", [403, 503, 0])
    def test_one_that_is_refused_leaves_what_was(self, world: World, status: int) -> None:
        """Only 412 says that it is no more (RFC 3903 §4.4)."""
        first, server = published(world)
        world.peer = lambda request: answered(request, status) if status else None
        number = publish(world, ("SIP-If-Match", "tag1"), body=b"<busy/>")
        world.settle()
        world.run(40)
        assert world.app.news() == [("responded", number, status) if status else ("failed", number, "timeout")]
        world.peer = server
        world.run(2000)
        assert (server.body, list(world.agent.publications.by_number)) == (STATE, [first])
        assert server.tag != "tag1"
        assert world.app.news() == []

    def test_one_of_what_the_server_has_lost_is_over_with_it(self, world: World) -> None:
        _, server = published(world)
        server.tag = ""
        number = publish(world, ("SIP-If-Match", "tag1"), body=b"<busy/>")
        world.settle()
        assert world.app.news() == [("responded", number, 412)]
        assert world.agent.publications.by_number == {}

    def test_another_owners_tag_is_not_known(self, world: World) -> None:
        _, server = published(world)
        world.until_sent()
        world.settle()
        other = type(world.app)(world, "other")
        number = publish(world, ("SIP-If-Match", "tag1"), app=other)
        world.settle()
        assert other.news() == [("responded", number, 412)]
        assert server.body == STATE


class TestTheEnd:
    def test_stop_removes_it(self, world: World) -> None:
        number, server = published(world)
        publications.stop(world.agent, world.app, number, world.now)
        world.settle()
        assert (world.sent[-1].header("expires"), world.sent[-1].header("sip-if-match")) == ("0", "tag1")
        assert server.body == b""
        assert world.app.news() == []
        world.assert_nothing_left()
        with pytest.raises(SipProfileError) as raised:
            publications.stop(world.agent, world.app, number, world.now)
        assert raised.value.code == "invalid_state"

    def test_while_a_refresh_is_on_its_way_it_follows(self, world: World) -> None:
        number, server = published(world)
        world.until_sent()
        publications.stop(world.agent, world.app, number, world.now)
        world.settle()
        assert [each.header("expires") for each in world.sent[1:]] == ["600", "0"]
        assert server.body == b""
        world.assert_nothing_left()

    def test_nobody_stops_what_is_anothers(self, world: World) -> None:
        number, _ = published(world)
        other = type(world.app)(world, "other")
        with pytest.raises(SipProfileError):
            publications.stop(world.agent, other, number, world.now)
