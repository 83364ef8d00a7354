"""Many documents in one answer are made a little at a time, and say what is true when they are told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from service_world import Client, World

from sipprofile.errors import SipProfileError
from sipprofile.records import Query
from sipprofile.service import pages, reading
from sipprofile.service.operations import List, Patch, Remove
from sipprofile.service.registry import Registry

COUNT = 8


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(monkeypatch)
    for number in range(1, COUNT + 1):
        world.create(f"p{number}", register="always")
    monkeypatch.setattr(pages, "AT_ONCE", 3)
    return world


def turn(world: World) -> None:
    """The loop comes back to the service."""
    world.pass_time(pages.PAUSE)


def held(client: Client) -> dict[int, Any] | None:
    """The documents in the answer to hold, if it has come; nothing else was told before."""
    frames = client.read()
    if not frames:
        return None
    assert "ok" in frames[0], frames
    return {document["id"]: document for document in frames[0]["ok"]["profiles"]}


class TestList:
    def test_a_page_takes_turns(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []
        encoded = Registry.encoded

        def counted(registry: Registry, record: Any) -> bytes:
            made.append(record.profile.id)
            return encoded(registry, record)

        monkeypatch.setattr(Registry, "encoded", counted)
        token = world.begin(List())
        for count in (3, 6):
            assert len(made) == count
            assert token not in world.replies
            turn(world)
        assert [document["id"] for document in world.answer(token)["profiles"]] == list(range(1, COUNT + 1))

    def test_each_is_as_it_is_when_it_is_made(self, world: World) -> None:
        token = world.begin(List())
        for number in (1, 5):
            world.registrations.become(number, "registered", "registered")
        world.ask(Remove(4))
        turn(world)
        turn(world)
        found = {each["id"]: each["registration"]["status"] for each in world.answer(token)["profiles"]}
        assert found == {1: "registering", 5: "registered"} | dict.fromkeys((2, 3, 6, 7, 8), "registering")

    def test_an_encoded_document_is_the_document(self, world: World) -> None:
        world.registrations.become(2, "registered", "registered")
        (record,) = [each for each in world._matching(Query()) if each.profile.id == 2]
        registry = world.service._registry
        assert msgspec.json.decode(registry.encoded(record)) == registry.document(record)

    def test_a_status_is_looked_for_in_turns(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "LOOKS_AT_ONCE", 3)
        looks: list[int] = []
        status = Registry.status

        def counted(registry: Registry, entry: Any) -> Any:
            looks.append(entry.id)
            return status(registry, entry)

        monkeypatch.setattr(Registry, "status", counted)
        world.registrations.become(8, "registered", "registered")
        token = world.begin(List(status="registered"))
        for count in (3, 6):
            assert len(looks) == count
            turn(world)
        assert [document["id"] for document in world.answer(token)["profiles"]] == [8]

    def test_a_stop_ends_one_under_way(self, world: World) -> None:
        token = world.begin(List())
        world.service.stop(False, world.now)
        world.perform()
        with pytest.raises(SipProfileError, match="stop"):
            world.answer(token)
        assert world.service.stopped


class TestHold:
    def hold(self, world: World) -> Client:
        client = world.session()
        client.send("hold", ids=list(range(1, COUNT + 1)))
        return client

    def test_what_changes_meanwhile_is_in_the_answer(self, world: World) -> None:
        client = self.hold(world)
        world.registrations.become(1, "registered", "registered")
        turn(world)
        world.registrations.become(5, "registered", "registered")
        assert held(client) is None
        turn(world)
        documents = held(client)
        assert documents is not None
        shown = {number: each["registration"]["status"] for number, each in documents.items()}
        assert [number for number, status in shown.items() if status == "registered"] == [1, 5]

    def test_what_changes_afterwards_is_told(self, world: World) -> None:
        client = self.hold(world)
        turn(world)
        turn(world)
        assert held(client) is not None
        world.registrations.become(1, "registered", "registered")
        world.perform()
        assert client.events() == [("registered", 1)]

    def test_a_document_that_is_changed_meanwhile_is_read_again(self, world: World) -> None:
        client = self.hold(world)
        world.ask(Patch(2, {"expires": 600}))
        for _ in range(5):
            turn(world)
        documents = held(client)
        assert documents is not None
        assert documents[2]["expires"] == 600

    def test_what_never_rests_is_told_all_the_same(self, world: World) -> None:
        client = self.hold(world)
        documents = None
        for _ in range(3 * (pages.PASSES + 1)):
            if (documents := held(client)) is not None:
                break
            for number in range(1, COUNT + 1):
                world.registrations.become(number, "registered", "status")
            turn(world)
        assert documents is not None
        shown = {each["registration"]["revision"] for each in documents.values()}
        assert shown == {world.registrations.states[1].revision}

    def test_one_that_is_removed_meanwhile(self, world: World) -> None:
        client = self.hold(world)
        world.ask(Remove(2))
        turn(world)
        turn(world)
        (answer,) = [frame for frame in client.read() if frame.get("id")]
        assert answer["error"]["code"] == "not_found"
        assert world.service._hub.holders(1) == ()
