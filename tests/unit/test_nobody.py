"""What is said when nobody takes a request (RFC 3261 §8.2.1, §8.2.3, §11.2; RFC 6665 §4.2.1.2)."""

from __future__ import annotations

import pytest
from claims_world import World, request

from sipprofile.claims import Claim
from sipprofile.service.criteria import Facts
from sipprofile.service.nobody import answer_of
from sipprofile.useragent.server import METHODS


def answer(world: World, method: str, *headers: str, body: str = "") -> tuple[int, dict[str, str]]:
    found = answer_of(world.claims, 1, Facts(request(method, *headers, body=body)), world.now)
    return found.status, dict(found.headers)


class TestWithoutAnyClaim:
    @pytest.mark.parametrize(
        ("method", "status"),
        [
            ("OPTIONS", 200),
            ("INVITE", 480),
            ("MESSAGE", 480),
            ("REFER", 480),
            ("INFO", 480),
            ("SUBSCRIBE", 489),
            ("PUBLISH", 489),
            ("NOTIFY", 481),
            ("REGISTER", 405),
            ("DANCE", 405),
            ("options", 405),
        ],
    )
    def test_status(self, method: str, status: int) -> None:
        assert answer(World(), method)[0] == status

    def test_options_tells_all_that_is_understood(self) -> None:
        _, headers = answer(World(), "OPTIONS")
        assert headers["Allow"] == ", ".join(METHODS)
        assert headers["Accept"] == "application/sdp"

    def test_a_notification_of_an_event_nobody_understands(self) -> None:
        assert answer(World(), "NOTIFY", "Event: message-summary") == (489, {"Allow-Events": ""})


class TestWhatNobodyUnderstands:
    def test_405_with_what_is_allowed(self) -> None:
        world = World()
        world.owner("bot", Claim(methods=["MESSAGE"]))
        assert answer(world, "INVITE") == (405, {"Allow": "OPTIONS, MESSAGE"})
        assert answer(world, "REFER")[0] == 405
        world.owner("phone", Claim(methods=["INVITE"]))
        assert answer(world, "REFER") == (
            405,
            {"Allow": "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, INFO, PRACK, UPDATE"},
        )

    def test_489_with_the_events_that_are(self) -> None:
        world = World()
        world.owner("one", Claim(events=["presence"]))
        world.owner("two", Claim(methods=["SUBSCRIBE"], events=["dialog"]))
        for method in ("SUBSCRIBE", "NOTIFY", "PUBLISH"):
            assert answer(world, method, "Event: winfo") == (489, {"Allow-Events": "dialog, presence"})
        assert answer(world, "NOTIFY", "Event: dialog")[0] == 480

    def test_415_with_the_types_that_are(self) -> None:
        world = World()
        world.owner("bot", Claim(methods=["MESSAGE"], content_types=["image/*"]))
        world.owner("other", Claim(methods=["INFO"], content_types=["a/b"]))
        assert answer(world, "MESSAGE", body="x") == (415, {"Accept": "image/*"})

    def test_480_when_another_one_would_have_been_taken(self) -> None:
        world = World()
        world.owner("bot", Claim(methods=["MESSAGE"], headers={"Subject": "urgent"}))
        world.owner("im", Claim(methods=["INVITE"], features=["+g.oma.sip-im"]))
        assert answer(world, "MESSAGE", "Subject: later") == (480, {})
        assert answer(world, "INVITE") == (480, {})

    def test_never_a_6xx(self) -> None:
        world = World()
        world.owner("bot", Claim(events=["presence"], methods=["NOTIFY"]))
        assert {answer(world, method)[0] // 100 for method in (*METHODS, "X")} <= {2, 4}


class TestOptions:
    """RFC 3261 §11.2: the union of all claims."""

    def test_the_union(self) -> None:
        world = World()
        world.owner("bot", Claim(methods=["MESSAGE"], content_types=["text/plain"]))
        world.owner("watcher", Claim(events=["message-summary"]))
        status, headers = answer(world, "OPTIONS")
        assert status == 200
        assert headers["Allow"] == "OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY, PUBLISH"
        assert headers["Accept"] == "text/plain, */*"
        assert headers["Allow-Events"] == "message-summary"

    def test_calls_bring_what_belongs_to_them(self) -> None:
        world = World()
        world.owner("phone", Claim(methods=["INVITE"]))
        world.owner("bot", Claim(methods=["MESSAGE"], content_types=["text/plain"]))
        _, headers = answer(world, "OPTIONS")
        assert set(headers["Allow"].split(", ")) >= {"INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE"}
        assert headers["Accept"] == "application/sdp, text/plain, */*"

    def test_a_default_takes_all(self) -> None:
        world = World()
        world.owner("bridge", Claim(default=True))
        assert answer(world, "OPTIONS")[1]["Allow"] == ", ".join(METHODS)

    def test_it_is_answered_by_the_service(self) -> None:
        world = World()
        phone = world.owner("phone", Claim(default=True))
        assert world.statuses(world.receive("OPTIONS")) == [200]
        assert phone.told == []

    def test_unless_somebody_claims_it_by_name(self) -> None:
        world = World()
        hook = world.owner("hook", Claim(methods=["OPTIONS"]))
        world.receive("OPTIONS")
        assert hook.told == [("requested", 1)]


class TestWhoMayComeBack:
    def world(self) -> World:
        return World(lingers=lambda _: 10.0)

    def test_480_with_retry_after_while_a_lost_session_is_waited_for(self) -> None:
        world = self.world()
        bot = world.owner("bot", Claim(methods=["MESSAGE"]))
        world.delivery.owners_gone([bot], world.now)
        world.pass_time(3.5)
        assert answer(world, "MESSAGE") == (480, {"Retry-After": "7"})
        assert answer(world, "INVITE") == (480, {})
        world.pass_time(6.5)
        assert answer(world, "MESSAGE") == (480, {})

    def test_for_an_event_too(self) -> None:
        world = self.world()
        watcher = world.owner("watcher", Claim(events=["message-summary"]))
        world.delivery.owners_gone([watcher], world.now)
        assert answer(world, "NOTIFY", "Event: message-summary") == (480, {"Retry-After": "10"})
        assert answer(world, "NOTIFY", "Event: presence")[0] == 489

    def test_who_lets_go_is_not_waited_for(self) -> None:
        world = self.world()
        bot = world.owner("bot", Claim(methods=["MESSAGE"]))
        world.claims.release(1, bot)
        assert answer(world, "MESSAGE") == (480, {})

    def test_nor_who_ends_without_being_lost(self) -> None:
        world = self.world()
        bot = world.owner("bot", Claim(methods=["MESSAGE"]))
        world.delivery.owners_gone([bot], world.now, lost=False)
        assert answer(world, "MESSAGE") == (480, {})

    def test_many_losses_are_not_kept_for_ever(self) -> None:
        world = self.world()
        for _ in range(5_000):
            world.claims.owner_gone(world.owner("bot", Claim(methods=["MESSAGE"])), world.now)
        assert len(world.claims._departed[1]) <= 4_096
        world.pass_time(11)
        world.claims.owner_gone(world.owner("bot", Claim(methods=["INVITE"])), world.now)
        assert len(world.claims._departed[1]) == 1
