"""Lists and their cursors, types, the status report, the explanation of a profile, and the service's end."""

from __future__ import annotations

from typing import Any

import pytest
from service_world import USER, WALL_OFFSET, World, record

from sipprofile import __version__
from sipprofile.errors import SipProfileError
from sipprofile.events import REASONS, Reason, RegistrationState
from sipprofile.registration import native
from sipprofile.registration.actions import Resolve
from sipprofile.service import reading
from sipprofile.service.explanation import explained
from sipprofile.service.operations import Create, Get, History, List, Patch, Remove, StatusReport, Test, Types
from sipprofile.service.policy import Actor
from sipprofile.service.remedies import remedy
from sipprofile.sip.locating import Question, Record, Srv


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def pages(world: World, **query: Any) -> list[list[int]]:
    """The ids on every page."""
    found = []
    after = 0
    while True:
        answer = world.ask(List(after=after, **query))
        found.append([profile["id"] for profile in answer["profiles"]])
        if answer["cursor"] is None:
            return found
        after = int(answer["cursor"])


class TestList:
    def test_pages_in_order_of_id(self, world: World) -> None:
        for number in range(5):
            world.create(f"p{number}")
        assert pages(world, limit=2) == [[1, 2], [3, 4], [5]]
        assert pages(world, limit=5) == [[1, 2, 3, 4, 5]]
        world.ask(Remove(3))
        assert pages(world, limit=2) == [[1, 2], [4, 5]]

    def test_an_empty_service(self, world: World) -> None:
        assert world.ask(List()) == {"profiles": [], "cursor": None}
        assert world.ask(List(status="registered")) == {"profiles": [], "cursor": None}

    def test_by_status(self, world: World) -> None:
        for number in range(6):
            world.create(f"p{number}", register="always")
        for profile in (2, 3, 6):
            world.registrations.become(profile, "registered", "registered")
        assert pages(world, status="registered", limit=2) == [[2, 3], [6]]
        assert pages(world, status="registering") == [[1, 4, 5]]

    def test_the_work_for_one_page_is_bounded(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "MAXIMUM_LOOKS", 2)
        for number in range(5):
            world.create(f"p{number}", register="always")
        world.registrations.become(5, "registered", "registered")
        assert pages(world, status="registered") == [[], [], [5]]

    @pytest.mark.parametrize(("field", "value"), [("limit", 0), ("limit", 1001), ("status", "happy")])
    def test_bad_values(self, world: World, field: str, value: Any) -> None:
        with pytest.raises(SipProfileError) as caught:
            world.ask(List(**{field: value}))
        assert (caught.value.code, caught.value.field, caught.value.value) == ("invalid_value", field, value)


class TestGet:
    def test_by_id_name_and_default(self, world: World) -> None:
        world.create("one")
        assert [world.ask(Get(key))["id"] for key in (1, "one", "default")] == [1, 1, 1]
        for key in (2, 0, -1, "two", ""):
            with pytest.raises(SipProfileError, match="no profile"):
                world.ask(Get(key))

    def test_a_profile_that_is_being_removed(self, world: World) -> None:
        world.create("one")
        world.hold_commits = True
        world.begin(Remove(1))
        world.records.clear()  # the store was faster than its answer
        with pytest.raises(SipProfileError) as caught:
            world.ask(Get(1))
        assert caught.value.code == "not_found"

    def test_history(self, world: World) -> None:
        world.create()
        assert world.ask(History(1)) == {"history": []}

    def test_reading_needs_read(self, world: World) -> None:
        for operation in (Get(1), List(), History(1), Types(), StatusReport(), Test(1)):
            with pytest.raises(SipProfileError) as caught:
                world.ask(operation, Actor("x", frozenset(("use", "write", "control"))))
            assert caught.value.code == "permission_denied"
        for change in (Create({}), Patch(1, {}), Remove(1)):
            with pytest.raises(SipProfileError) as caught:
                world.ask(change, USER)
            assert caught.value.code == "permission_denied"


class TestStatusReport:
    def test_figures(self, world: World) -> None:
        world.create("one")
        world.create("two", register="always")
        world.session()
        world.pass_time(5)
        world.service.store_reports("disk full")
        report = world.ask(StatusReport())
        assert report == {
            "version": __version__,
            "native": native.usable(),
            "protocol": 1,
            "uptime": 5.0,
            "started_at": WALL_OFFSET + 1000.0,
            "profiles": 2,
            "by_status": {"unregistered": 1, "registering": 1, "registered": 0, "unregistering": 0},
            "sessions": 1,
            "queues": [],
            "store": {"failing": "disk full"},
            "ready": True,
        }
        counts = world.service.counts()
        assert (counts["profiles"], counts["sessions"]) == (2, 1)
        assert counts["registrations"]["registering", "none", "registrar.test:5060"] == 1

    def test_types(self, world: World) -> None:
        (kind,) = world.ask(Types())["types"]
        assert (kind["name"], kind["class"]) == ("ietf", "internet")
        assert "sigcomp" in kind["not_supported"]


class TestExplanation:
    def steps(self, world: World, token: int) -> list[tuple[str, bool]]:
        return [(step["step"], step["ok"]) for step in world.answer(token)["steps"]]

    def resolve(self, world: World, records: dict[Question, tuple[Record, ...]] | None = None) -> None:
        """Answer every question, by default with an address alone."""
        if records is None:
            records = {Question("registrar.test"): ("192.0.2.1",)}
        while asked := [action.question for action in world.actions if isinstance(action, Resolve)]:
            world.actions.clear()
            for question in asked:
                if question in records:
                    world.service.resolved(question, records[question], 60, world.now)
                else:
                    world.service.resolve_failed(question, "resolve_not_found", 60, world.now)
            world.perform()

    def test_every_step(self, world: World) -> None:
        world.create()
        token = world.begin(Test(1))
        assert world.actions == [Resolve(Question("registrar.test", "NAPTR"))]
        self.resolve(world)
        assert world.registrations.wants[1] is True
        world.registrations.become(1, "registered", "registered")
        world.perform()
        names = ("settings", "dns", "transport", "answer", "digest", "lease", "reachable")
        assert self.steps(world, token) == [(name, True) for name in names]
        assert world.registrations.wants[1] is False  # it was ours alone

    def test_a_name_that_does_not_exist(self, world: World) -> None:
        world.create()
        token = world.begin(Test(1))
        self.resolve(world, {})
        assert self.steps(world, token) == [("settings", True), ("dns", False)]
        assert "resolve_not_found" in world.answer(token)["steps"][-1]["detail"]

    def test_where_srv_records_lead_is_said(self, world: World) -> None:
        world.create()
        token = world.begin(Test(1), Actor("reader", frozenset(("read",))))
        records: dict[Question, tuple[Record, ...]] = {
            Question("_sip._tcp.registrar.test", "SRV"): (Srv(0, 0, 5070, "one.test"),),
            Question("one.test"): ("192.0.2.1", "2001:db8::1"),
        }
        self.resolve(world, records)
        said = "registrar.test is tcp:192.0.2.1:5070, tcp:[2001:db8::1]:5070."
        assert world.answer(token)["steps"][1] == {"step": "dns", "ok": True, "detail": said}

    def test_nothing_comes_back(self, world: World) -> None:
        world.create()
        token = world.begin(Test(1))
        world.pass_time(16)
        assert self.steps(world, token) == [("settings", True), ("dns", False)]

    def test_a_stuck_attempt_ends(self, world: World) -> None:
        world.create()
        token = world.begin(Test(1))
        self.resolve(world)
        world.pass_time(41)
        assert self.steps(world, token)[-1] == ("transport", False)
        assert world.ask(Get(1))["registration"]["users"] == 0

    def test_who_may_only_read_causes_nothing(self, world: World) -> None:
        world.create()
        token = world.begin(Test(1), Actor("reader", frozenset(("read",))))
        self.resolve(world)
        assert self.steps(world, token)[-1] == ("transport", False)
        assert not [call for call in world.registrations.calls if call[0] in ("want", "retry_now")]

    def test_what_was_wrong_before_the_attempt_is_said_although_it_helped(self) -> None:
        before = RegistrationState("registered", reachable=False, reachable_at=1.0, reachable_reason="It was lost.")
        after = RegistrationState("registered", reachable=True, reachable_at=2.0, reachable_reason="It arrived.")
        assert explained(after, before)[-1] == {
            "step": "reachable",
            "ok": False,
            "detail": "It was lost. After another REGISTER: It arrived.",
        }

    @pytest.mark.parametrize(
        ("code", "failed"),
        [
            ("transport_refused", "transport"),
            ("target_down", "transport"),
            ("timeout", "answer"),
            ("response", "answer"),
            ("rejected_credentials", "digest"),
            ("no_credentials", "digest"),
            ("contact_missing", "lease"),
        ],
    )
    def test_the_step_that_failed_comes_last(self, code: str, failed: str) -> None:
        state = RegistrationState(
            "unregistered", reason=Reason.of(code, 404 if code == "response" else None, "Not Found")
        )
        *good, last = explained(state)
        assert all(step["ok"] for step in good)
        assert (last["step"], last["ok"]) == (failed, False)
        assert last["detail"]
        assert last["remedy"].endswith(".")
        assert not any("remedy" in step for step in good)


@pytest.mark.parametrize("code", [code for code in REASONS if code.startswith(("resolve_", "transport_", "tls_"))])
def test_what_to_do_about_a_server_that_is_not_reached(code: str) -> None:
    assert remedy(Reason.of(code)).endswith(".")


@pytest.mark.parametrize(("status", "said"), [(403, "may register"), (404, "AOR"), (500, "Ask the provider")])
def test_what_to_do_about_an_answer(status: int, said: str) -> None:
    assert said in remedy(Reason.of("response", status))


class TestStop:
    def test_sessions_end_and_leases_stay(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("enable", profile=1)
        world.service.stop(False, world.now)
        world.perform()
        assert world.ended[client.number].code == "shutting_down"
        assert world.registrations.wants[1] is True
        assert world.stopped
        world.pass_time(60)
        assert world.registrations.wants[1] is True

    def test_nothing_new_begins(self, world: World) -> None:
        world.service.stop(True, world.now)
        world.perform()
        assert ("stop", True) in world.registrations.calls
        for attempt in (lambda: world.ask(List()), world.session):
            with pytest.raises(SipProfileError) as caught:
                attempt()
            assert caught.value.code == "shutting_down"

    def test_it_waits_for_commits_and_for_registrations(self, world: World) -> None:
        world.hold_commits = True
        token = world.begin(Create({"name": "a", "aor": "sip:a@b.test"}))
        world.registrations.stopped = False
        world.service.stop(True, world.now)
        world.perform()
        assert not world.stopped
        world.commit()
        world.perform()
        assert world.answer(token)["id"] == 1
        assert not world.stopped
        world.registrations.stopped = True
        world.perform()
        assert world.stopped

    def test_a_test_under_way_is_given_up(self, world: World) -> None:
        world.create()
        token = world.begin(Test(1))
        world.service.stop(False, world.now)
        world.perform()
        assert world.replies[token].code == "shutting_down"


def test_ids_continue_after_what_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, records=(record(7, "seven", default=True), record(9, "nine")))
    assert world.create("next") == 10
    assert world.ask(Get("default"))["id"] == 7
