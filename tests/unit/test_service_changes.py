"""Creating, changing and removing profiles: what is refused, what is kept, what is written, who is told."""

from __future__ import annotations

from uuid import UUID

import pytest
from service_world import USER, World, document, record

from sipprofile.errors import SipProfileError
from sipprofile.service.operations import Control, Create, Get, Operation, Patch, Remove, Replace


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def refused(world: World, operation: Operation, code: str, field: str | None = None) -> SipProfileError:
    with pytest.raises(SipProfileError) as caught:
        world.ask(operation)
    assert caught.value.code == code
    if field is not None:
        assert caught.value.field == field
    return caught.value


class TestCreate:
    def test_a_new_profile_has_id_instance_revision_and_warnings(self, world: World) -> None:
        answer = world.ask(Create(document("trunk")))
        assert (answer["id"], answer["revision"], answer["default"]) == (1, 1, True)
        assert UUID(answer["instance_id"]).version == 4
        assert answer["registration"]["status"] == "unregistered"
        assert "no_password" in [warning["code"] for warning in answer["warnings"]]

    def test_ids_are_never_used_again(self, world: World) -> None:
        world.ask(Remove(world.create("one")))
        assert world.create("two") == 2

    @pytest.mark.parametrize(
        "name", ["default", "Trunk", "1trunk", "a..b", "a.", "a b", "a" * 65, ".a", "trunk\n", "é"]
    )
    def test_bad_names(self, world: World, name: str) -> None:
        refused(world, Create({"name": name, "aor": "sip:a@b.test"}), "invalid_value", "name")

    @pytest.mark.parametrize("name", ["a", "a.b", "a-b_c.1", "a" * 64])
    def test_good_names(self, world: World, name: str) -> None:
        world.ask(Create({"name": name, "aor": "sip:a@b.test"}))

    def test_a_name_is_needed(self, world: World) -> None:
        refused(world, Create({"aor": "sip:a@b.test"}), "missing_field", "name")

    @pytest.mark.parametrize("field", ["id", "instance_id"])
    def test_what_the_service_assigns_cannot_be_chosen(self, world: World, field: str) -> None:
        refused(world, Create({**document(), field: 5 if field == "id" else "abc"}), "invalid_value", field)

    def test_the_agent_judges(self, world: World) -> None:
        refused(world, Create({"name": "a", "aor": "mailto:a@b.test"}), "invalid_value", "aor")
        refused(world, Create({"name": "a", "aor": "sip:a@b.test", "sigcomp": True}), "not_supported", "sigcomp")

    def test_an_unknown_type(self, world: World) -> None:
        refused(world, Create(document(type="acme")), "unknown_type", "type")
        refused(world, Create(document(type=5)), "invalid_value", "type")

    @pytest.mark.parametrize(
        "odd", [None, 5, "x", [], {"proxies": 5}, {"proxies": [{"uri": []}]}, {"labels": 5}, {"nonsense": 1}]
    )
    def test_nonsense_is_an_error_not_a_crash(self, world: World, odd: object) -> None:
        with pytest.raises(SipProfileError):
            world.ask(Create({**document(), **odd} if isinstance(odd, dict) else odd))
        world.create("other")
        with pytest.raises(SipProfileError):
            world.ask(Patch("other", odd))
        with pytest.raises(SipProfileError):
            world.ask(Replace("other", {**document("other"), **odd} if isinstance(odd, dict) else odd))

    def test_a_name_is_taken_once_also_while_it_is_being_written(self, world: World) -> None:
        world.hold_commits = True
        world.begin(Create(document("trunk")))
        second = world.begin(Create(document("trunk")))
        assert world.replies[second].code == "duplicate_name"

    def test_a_failed_commit_changes_nothing(self, world: World) -> None:
        world.fail_commits = True
        refused(world, Create(document("trunk")), "store_failed")
        assert world.events == []
        world.fail_commits = False
        answer = world.ask(Create(document("trunk")))
        assert answer["default"] is True
        assert answer["id"] == 2

    def test_every_session_is_told(self, world: World) -> None:
        client = world.session(USER)
        assert world.create("trunk") == 1
        (event,) = client.read()
        assert (event["event"], event["profile"], event["document"]["name"]) == ("created", 1, "trunk")

    def test_it_is_registered_at_once_only_when_always(self, world: World) -> None:
        world.create("one")
        world.create("two", register="always")
        assert world.registrations.wants == {1: False, 2: True}
        assert [(event.event, event.profile) for event in world.events][-2:] == [("created", 2), ("status", 2)]

    def test_the_flow_is_stored_with_the_profile(self, world: World) -> None:
        world.create()
        assert world.records[1].flows[0].call_id == "call-1"


class TestDefault:
    """Exactly one default profile exists while any profile exists."""

    def defaults(self, world: World) -> list[int]:
        return [number for number, stored in world.records.items() if stored.profile.default]

    def test_the_first_becomes_it_and_another_takes_it(self, world: World) -> None:
        world.create("one")
        world.create("two")
        assert self.defaults(world) == [1]
        assert world.ask(Patch("two", {"default": True}))["default"] is True
        assert self.defaults(world) == [2]
        assert world.ask(Get(1))["default"] is False
        world.create("three", default=True)
        assert self.defaults(world) == [3]
        assert world.ask(Get("default"))["name"] == "three"

    def test_two_at_once_on_an_empty_store(self, world: World) -> None:
        world.hold_commits = True
        for name in ("one", "two"):
            world.begin(Create(document(name)))
        while world.commits:
            world.commit()
            world.perform()
        assert self.defaults(world) == [1]

    def test_it_cannot_be_given_up(self, world: World) -> None:
        world.create("one")
        refused(world, Patch(1, {"default": False}), "invalid_value", "default")
        refused(world, Replace(1, document("one", default=False)), "invalid_value", "default")
        assert world.ask(Replace(1, document("one")))["default"] is True

    def test_deleting_it_moves_it_to_the_lowest_id_left(self, world: World) -> None:
        for name in ("one", "two", "three"):
            world.create(name)
        world.ask(Patch("three", {"default": True}))
        world.ask(Remove("three"))
        assert self.defaults(world) == [1]
        world.ask(Remove(1))
        assert self.defaults(world) == [2]
        world.ask(Remove(2))
        refused(world, Get("default"), "not_found")

    def test_a_removal_and_another_at_the_same_time(self, world: World) -> None:
        for name in ("one", "two", "three"):
            world.create(name)
        world.hold_commits = True
        tokens = [world.begin(Remove(2)), world.begin(Remove(1))]
        while world.commits:
            world.commit()
            world.perform()
        assert [world.answer(token) for token in tokens] == [None, None]
        assert self.defaults(world) == [3]

    def test_holders_see_who_lost_it(self, world: World) -> None:
        world.create("one")
        world.create("two")
        client = world.session()
        client.ask("hold", ids=[1, 2])
        world.ask(Control(2, "default"))
        told = {frame["profile"]: frame["document"]["default"] for frame in client.read()}
        assert told == {1: False, 2: True}


class TestReplaceAndPatch:
    def test_revision_rises_and_if_match_is_honoured(self, world: World) -> None:
        world.create()
        assert world.ask(Patch(1, {"expires": 600}, 1))["revision"] == 2
        error = refused(world, Patch(1, {"expires": 700}, 1), "revision_mismatch")
        assert error.members == {"revision": 2}
        refused(world, Replace(1, document(), 1), "revision_mismatch")
        refused(world, Remove(1, 1), "revision_mismatch")

    def test_id_and_instance_id_stay(self, world: World) -> None:
        world.create()
        before = world.ask(Get(1))
        after = world.ask(Replace(1, {**before, "expires": 600}))
        assert (after["id"], after["instance_id"]) == (1, before["instance_id"])
        assert world.ask(Replace(1, document()))["instance_id"] == before["instance_id"]
        refused(world, Patch(1, {"id": 2}), "invalid_value", "id")
        refused(world, Patch(1, {"instance_id": "other"}), "invalid_value", "instance_id")

    def test_an_absent_secret_is_kept_and_null_clears_it(self, world: World) -> None:
        world.create(registrar={"uri": "sip:r.test", "password": "secret"}, proxies=[{"uri": "sip:p.test"}])

        def stored() -> str | None:
            registrar = world.records[1].profile.registrar
            return None if registrar is None else registrar.password

        answer = world.ask(Get(1))
        assert answer["registrar"]["password_set"] is True
        world.ask(Replace(1, answer))
        assert stored() == "secret"
        world.ask(Patch(1, {"registrar": {"username": "me"}}))
        assert stored() == "secret"
        world.ask(Patch(1, {"registrar": {"password": None}}))
        assert stored() is None
        world.ask(Patch(1, {"registrar": {"password": "new"}}))
        world.ask(Replace(1, document(registrar={"uri": "sip:r.test", "password": None})))
        assert stored() is None

    def test_passwords_of_proxies_follow_their_uris(self, world: World) -> None:
        proxies = [{"uri": "sip:a.test", "password": "A"}, {"uri": "sip:b.test", "password": "B"}]
        world.create(proxies=proxies)
        world.ask(Patch(1, {"proxies": [{"uri": "sip:b.test"}, {"uri": "sip:a.test", "password": None}]}))
        assert [server.password for server in world.records[1].profile.proxies] == ["B", None]
        world.ask(Patch(1, {"proxies": None}))
        assert world.records[1].profile.proxies == []

    def test_no_secret_leaves(self, world: World) -> None:
        client = world.session()
        world.create(registrar={"uri": "sip:r.test", "password": "s3cret"})
        client.ask("hold", profile=1)
        world.ask(Patch(1, {"expires": 600}))
        everything = repr((world.replies, world.events, client.read()))
        assert "s3cret" not in everything

    def test_a_rename_frees_the_old_name(self, world: World) -> None:
        world.create("one")
        world.ask(Patch("one", {"name": "uno"}))
        assert world.ask(Get("uno"))["id"] == 1
        refused(world, Get("one"), "not_found")
        world.create("one")
        refused(world, Patch("one", {"name": "uno"}), "duplicate_name", "name")

    def test_changes_of_one_profile_take_turns_and_others_go_on(self, world: World) -> None:
        world.create("one")
        world.create("two")
        world.hold_commits = True
        first = world.begin(Patch("two", {"expires": 600}))
        second = world.begin(Patch("two", {"linger": 5}))
        other = world.begin(Patch(1, {"linger": 7, "default": None}))
        assert len(world.commits) == 2  # the second waits for its turn
        while world.commits:
            world.commit()
            world.perform()
        assert [world.answer(token)["revision"] for token in (first, second, other)] == [2, 3, 2]
        assert (world.records[2].profile.expires, world.records[2].profile.linger) == (600, 5)

    def test_holders_are_told_before_the_registration_changes(self, world: World) -> None:
        world.create(register="always")
        client = world.session()
        client.ask("hold", profile=1)
        order: list[int] = []
        world.registrations.update = lambda *_: order.append(len(world.service._effects))
        world.ask(Patch(1, {"expires": 600}))
        (event,) = client.read()
        assert (event["event"], event["document"]["expires"], event["document"]["revision"]) == ("updated", 600, 2)
        assert order[0] >= 1  # the event was there already

    def test_a_failed_commit_changes_nothing(self, world: World) -> None:
        world.create()
        world.fail_commits = True
        refused(world, Patch(1, {"name": "other", "expires": 600}), "store_failed")
        assert world.ask(Get("trunk"))["expires"] == 3600
        assert ("update", 1, 3600, 600) not in world.registrations.calls
        world.fail_commits = False
        assert world.ask(Patch(1, {"name": "other"}))["revision"] == 2

    def test_a_profile_in_use_is_changed_with_a_warning(self, world: World) -> None:
        world.create()
        world.session().ask("enable", profile=1)
        warnings = world.ask(Patch(1, {"expires": 600}))["warnings"]
        assert warnings[0]["code"] == "in_use"
        assert "one session" in warnings[0]["detail"]

    def test_register_follows_the_change(self, world: World) -> None:
        world.create()
        world.ask(Patch(1, {"register": "always"}))
        assert world.registrations.wants[1] is True
        world.ask(Patch(1, {"register": "on-demand"}))
        assert world.registrations.wants[1] is False

    def test_an_update_ends_a_force_disable_but_not_a_pause(self, world: World) -> None:
        world.create()
        world.ask(Control(1, "force-disable"))
        world.ask(Patch(1, {"expires": 600}))
        assert not world.records[1].held
        assert ("hold", 1, "") in world.registrations.calls
        world.ask(Control(1, "pause"))
        world.ask(Patch(1, {"expires": 700}))
        assert world.ask(Get(1))["registration"]["held"] == "paused"


class TestLocked:
    def test_it_refuses_change_and_removal(self, world: World) -> None:
        world.create(locked=True)
        refused(world, Patch(1, {"expires": 600}), "locked")
        refused(world, Patch(1, {"locked": True}), "locked")
        refused(world, Replace(1, document()), "locked")
        refused(world, Remove(1), "locked")

    def test_unlocking_goes_together_with_other_changes(self, world: World) -> None:
        world.create(locked=True)
        answer = world.ask(Patch(1, {"locked": False, "expires": 600}))
        assert (answer.get("locked", False), answer["expires"]) == (False, 600)
        world.ask(Remove(1))


class TestRemove:
    def test_in_use_names_the_users(self, world: World) -> None:
        world.create()
        for _ in range(2):
            world.session().ask("enable", profile=1)
        assert refused(world, Remove(1), "in_use").members == {"users": 2}

    def test_holders_are_told_and_hold_nothing(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("hold", profile=1)
        world.ask(Remove(1))
        assert client.events() == [("destroyed", 1)]
        assert ("remove", 1) in world.registrations.calls
        with pytest.raises(SipProfileError, match="no profile"):
            client.ask("release", profile=1)

    def test_an_enable_that_comes_while_it_is_written_is_too_late(self, world: World) -> None:
        world.create()
        client = world.session()
        world.hold_commits = True
        removal = world.begin(Remove(1))
        number = client.send("enable", profile=1)
        assert client.read() == []
        world.commit()
        world.perform()
        assert world.answer(removal) is None
        (reply,) = client.read()
        assert (reply["id"], reply["error"]["code"]) == (number, "not_found")

    def test_a_failed_commit_keeps_it(self, world: World) -> None:
        world.create()
        world.fail_commits = True
        refused(world, Remove(1), "store_failed")
        assert world.ask(Get(1))["id"] == 1
        assert not any(event.event == "destroyed" for event in world.events)


class TestTypeWithoutAgent:
    """A profile whose plug-in is not installed can be read and removed, nothing else."""

    def test_it_does_not_disturb_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, records=(record(1, "odd", type="acme", default=True), record(2, "fine")))
        assert world.ask(Get(1))["registration"]["status"] == "unregistered"
        refused(world, Patch(1, {"expires": 600}), "unknown_type")
        with pytest.raises(SipProfileError, match="acme"):
            world.session().ask("enable", profile=1)
        world.ask(Remove(1))
        assert world.ask(Get("default"))["id"] == 2

    def test_another_type_brings_it_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, records=(record(1, "odd", type="acme", default=True),))
        world.ask(Patch(1, {"type": "ietf"}))
        world.session().ask("enable", profile=1)
        assert world.registrations.wants[1] is True
