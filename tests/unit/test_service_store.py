"""The service with its real store and its real registrations: what survives a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from registrar_network import AOR, PASSWORD, Network
from service_world import WALL_OFFSET, World

from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.records import Query
from sipprofile.service import effects
from sipprofile.service.operations import Control, Create, Get, History, List, Patch, Remove
from sipprofile.service.service import Service
from sipprofile.service.settings import ServiceSettings
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store

DOCUMENT = {"name": "alice", "aor": AOR, "registrar": {"uri": "sip:example.test", "password": PASSWORD}}


class StoredWorld(Network):
    """The network's world with everything on disk; :meth:`restart` forgets all the rest."""

    def __init__(self, store: Store) -> None:
        self.store = store
        super().__init__()

    def _perform_one(self, effect: Any) -> None:
        if isinstance(effect, effects.Save):
            self.store.save(effect.rows)
        if isinstance(effect, effects.ReadHistory):
            self.service.read_done(effect.token, self.store.history(effect.profile), self.now)
            return
        super()._perform_one(effect)

    def commit(self) -> None:
        effect = self.commits.pop(0)
        try:
            self.store.commit(effect.writes)
        except SipProfileError as error:
            self.service.committed(effect.token, error, self.now)
        else:
            self.service.committed(effect.token, None, self.now)

    def _matching(self, query: Query) -> Any:
        return self.store.read(query)

    def restart(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.commits.clear()
        self.actions.clear()
        self.store.reserve()
        self.service = Service(
            agents={"ietf": IetfAgent()},
            settings=ServiceSettings(),
            random=Random(int(self.now)),
            now=self.now,
            wall_offset=WALL_OFFSET,
            boot_id="boot",
            next_profile_id=self.store.next_profile_id(),
        )
        self.service.load(self.store.load(), self.now)
        self.perform()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[StoredWorld]:
    store = Store.open(tmp_path / "store", KeyRing.generate(), synchronous="OFF")
    yield StoredWorld(store)
    store.close()


def cseqs(world: World) -> list[int]:
    return [seen.cseq for seen in world.registrar.log]  # type: ignore[attr-defined]


def test_everything_is_there_after_a_restart(world: StoredWorld) -> None:
    world.ask(Create({**DOCUMENT, "labels": {"site": "a"}}))
    world.ask(Create({"name": "bob", "aor": "sip:bob@example.test", "default": True}))
    world.ask(Patch("alice", {"expires": 600}))
    world.ask(Control("alice", "pause"))
    before = world.ask(List())["profiles"]
    world.restart()
    after = world.ask(List())["profiles"]
    for profile in (*before, *after):
        del profile["registration"]
    assert after == before
    assert world.ask(Get("default"))["name"] == "bob"
    assert world.ask(Get("alice"))["registration"]["held"] == "paused"
    assert [profile["name"] for profile in world.ask(List(label="site=a"))["profiles"]] == ["alice"]
    assert [profile["name"] for profile in world.ask(List(aor="sip:bob@EXAMPLE.test"))["profiles"]] == ["bob"]
    world.ask(Remove("bob"))
    world.restart()
    assert world.ask(Get("default"))["name"] == "alice"
    assert world.ask(Create({"name": "carol", "aor": "sip:carol@example.test"}))["id"] == 3


def test_a_lease_is_resumed_without_register_and_given_back_when_nobody_returns(world: StoredWorld) -> None:
    world.ask(Create(DOCUMENT))
    world.session().ask("enable", profile=1)
    sent = len(cseqs(world))
    world.restart()
    assert world.ask(Get(1))["registration"]["status"] == "registered"
    world.pass_time(29)
    assert (world.bindings(), len(cseqs(world))) == (1, sent)
    world.pass_time(2)
    assert world.bindings() == 0


def test_a_user_who_returns_finds_it_registered(world: StoredWorld) -> None:
    world.ask(Create(DOCUMENT))
    world.session().ask("enable", profile=1)
    sent = len(cseqs(world))
    world.restart()
    assert world.session().ask("enable", profile=1)["registration"]["status"] == "registered"
    world.pass_time(120)
    assert (world.bindings(), len(cseqs(world))) == (1, sent)


def test_cseq_never_goes_back(world: StoredWorld) -> None:
    world.ask(Create({**DOCUMENT, "register": "always"}))
    for _ in range(3):
        world.restart()
        world.ask(Control(1, "retry-now"))
    assert cseqs(world) == sorted(cseqs(world))
    assert len(cseqs(world)) > 3


def test_a_force_disable_lasts_over_restarts(world: StoredWorld) -> None:
    world.ask(Create({**DOCUMENT, "register": "always"}))
    world.ask(Control(1, "force-disable"))
    sent = len(cseqs(world))
    world.restart()
    world.pass_time(100)
    assert (world.ask(Get(1))["registration"]["held"], len(cseqs(world))) == ("forcibly_disabled", sent)
    world.session().ask("enable", profile=1)
    world.restart()
    assert world.ask(Get(1))["registration"]["status"] == "registered"


def test_the_history_has_transitions_and_no_refreshes(world: StoredWorld) -> None:
    world.ask(Create({**DOCUMENT, "register": "always"}))
    world.pass_time(20_000)
    statuses = [row["status"] for row in world.ask(History(1))["history"]]
    assert statuses[-1] == "registered"
    assert statuses.count("registered") == 1
