"""A stored profile that is like one before it becomes exactly what it would have become the long way."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine_driver import a_profile, ok
from twins import Twins

from sipprofile.agents.base import Plan
from sipprofile.agents.ietf import IetfAgent
from sipprofile.profile import Profile, ServerParameters, TlsSettings
from sipprofile.records import FlowRecord, NonceRecord, ProfileRecord
from sipprofile.registration import alike, native
from sipprofile.registration.changes import bound_as, sent_as
from sipprofile.registration.kept_plan import whole
from sipprofile.registration.settings import RegistrationSettings

WALL = 1.7e9
NOW = 1000.0
ROW = FlowRecord(
    0,
    expires_granted=3600,
    boot_id="boot",
    wall_offset=WALL,
    protocol="udp",
    local_host="198.51.100.1",
    local_port=5060,
    target_host="192.0.2.1",
    target_port=5060,
)
CHALLENGE = NonceRecord("reg.test", "", "MD5", True, "auth", None, False, 16)


def server(number: int, uri: str = "sip:192.0.2.1", **changes: Any) -> ServerParameters:
    return ServerParameters(**{"uri": uri, "username": f"user{number}", "password": f"secret{number}", **changes})


def profile_of(number: int, **changes: Any) -> Profile:
    given = {"aor": f"sip:user{number}@example.com", "registrar": server(number), "name": f"user{number}"}
    return a_profile(number, **{**given, **changes})


def row_of(profile: Profile, seed: int = 0, **changes: Any) -> FlowRecord:
    """The row of a profile that is registered."""
    number, rng = profile.id, Random(profile.id * 1000 + seed)
    token = changes.pop("contact_token", f"{rng.getrandbits(120):030x}")
    try:
        plan: Plan | None = IetfAgent().plan(profile, token)
    except ValueError:
        plan = None
    place = changes.pop("place", "@198.51.100.1:5060")
    own = {
        "profile": number,
        "call_id": f"{rng.getrandbits(128):032x}",
        "cseq_reserved": 256 * rng.randint(1, 4),
        "contact_token": token,
        "lease_ends": WALL + NOW + rng.randint(1000, 3000),
        "refresh_at": WALL + NOW + rng.randint(-10, 2000),
        "contact": f"sip:{token}{place}",
        "registered_aors": (plan.aor if plan else profile.aor,),
        "nonces": (msgspec.structs.replace(CHALLENGE, nonce=f"{rng.getrandbits(64):x}"),),
        "since": WALL + NOW - rng.randint(0, 3600),
        "state_revision": rng.randint(0, 40),
        "bound_as": bound_as(plan) if plan else 0,
        "sent_as": sent_as(plan) if plan else 0,
    }
    return msgspec.structs.replace(ROW, **{**own, **changes})


def record(number: int, **changes: Any) -> ProfileRecord:
    profile = profile_of(number, **changes)
    return ProfileRecord(profile, 1, "", (row_of(profile),))


def taken_short(twins: Twins, monkeypatch: pytest.MonkeyPatch, records: list[ProfileRecord]) -> int:
    """How many of ``records`` went the short way."""
    made: list[int] = []
    add = alike.Alike.add

    def counting(self: Any, *arguments: Any) -> bool:
        found = add(self, *arguments)
        made.append(found)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(alike.Alike, "add", counting)
        twins.load(records)
    return sum(made)


class TestTaken:
    def test_all_but_the_first_where_only_what_is_their_own_differs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        twins = Twins()
        twins.load([record(1)])  # opens the socket
        assert taken_short(twins, monkeypatch, [record(number) for number in range(2, 30)]) == 27

    @pytest.mark.skipif(native.module is None, reason="the quick path is not compiled, or turned off")
    def test_by_the_compiled_quick_path_where_there_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        twins = Twins()
        twins.load([record(1)])
        load, loaded = native.module.load, []

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(native.module, name)

            def load(self, *arguments: Any) -> bool:
                loaded.append(load(*arguments))
                return bool(loaded[-1])

        twins.short.quick = Counting()
        assert taken_short(twins, monkeypatch, [record(number) for number in range(2, 30)]) == 27
        assert sum(loaded) == 27
        registration = twins.short.by_profile[20]
        assert registration.plan.credentials is not None
        user = registration.plan.credentials.username
        (key,) = (key for key in twins.short.addresses._users if key == user)
        assert key is user, "one object for both"

    def test_those_of_several_registrars_in_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        twins = Twins()

        def some(number: int) -> ProfileRecord:
            return record(number, registrar=server(number, "sip:reg.test" if number % 2 else "sip:192.0.2.1"))

        twins.load([some(1), some(2)])
        assert taken_short(twins, monkeypatch, [some(number) for number in range(3, 30)]) == 25

    def test_those_without_a_lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        records = [
            ProfileRecord(profile_of(number), 1, "", (row_of(profile_of(number), lease_ends=0.0),))
            for number in range(1, 20)
        ]
        assert taken_short(Twins(), monkeypatch, records) == 18

    def test_nobody_where_an_agent_makes_its_own_plans(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Own(IetfAgent):
            def plan(self, profile: Profile, contact_token: str) -> Plan:
                return msgspec.structs.replace(super().plan(profile, contact_token), note=profile.name)

        twins = Twins(agent=Own())
        assert taken_short(twins, monkeypatch, [record(number) for number in range(1, 20)]) == 0
        assert {each.plan.note for each in twins.short.by_profile.values()} == {f"user{n}" for n in range(1, 20)}

    def test_nobody_with_another_agent_than_the_one_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        twins = Twins()
        twins.load([record(1)])
        assert taken_short(twins, monkeypatch, [record(2), record(3)]) == 1
        twins.agent = IetfAgent()
        assert taken_short(twins, monkeypatch, [record(4)]) == 0


class TestGoesOn:
    def test_it_is_refreshed_as_if_nothing_had_happened(self) -> None:
        twins = Twins(settings=RegistrationSettings(udp_keepalive=0.0, rate=1000.0, burst=1000.0))
        twins.load([record(number) for number in range(1, 20)])
        twins.load([record(number) for number in range(20, 40)])
        for number in range(1, 40):
            twins.both(lambda room, number=number: room.want(number, True, twins.now))  # type: ignore[misc]
        twins.settle()
        twins.pass_time(900)
        waiting = twins.open_requests()
        assert waiting
        for key, request in waiting:
            assert request.header("authorization") is not None
            twins.receive(ok()(request, key), key)
        twins.update(30, aor="sip:other@example.com")
        twins.both(lambda room: room.remove(31, twins.now))
        twins.settle()


# What a profile or a row may have that others have not.
SETTINGS: list[dict[str, Any]] = [
    {"aor": "sip:user1@example.com"},
    {"aor": "sips:user@example.com"},
    {"aor": "sip:us%65r@example.com"},
    {"aor": "sip:user@Example.COM"},
    {"aor": "SIP:user@example.com"},
    {"aor": "sip:user@example.com:5070"},
    {"aor": "sip:user@example.com;user=phone"},
    {"aor": "sip:user@example.com?subject=x"},
    {"aor": "sip:user:word@example.com"},
    {"aor": "sip:user@[2001:db8::1]"},
    {"aor": "sip:example.com"},
    {"aor": "sip:@example.com"},
    {"aor": "sip:a@b@example.com"},
    {"aor": "tel:+1234"},
    {"registrar": None},
    {"registrar": server(7, "sip:two.test")},
    {"registrar": server(7, "sip:192.0.2.1;transport=tls")},
    {"registrar": server(7, "sip:192.0.2.1", username=None)},
    {"registrar": server(7, "sip:192.0.2.1", username="")},
    {"registrar": server(7, "sip:192.0.2.1", username="Jürgen")},
    {"registrar": server(7, "sip:192.0.2.1", password=None)},
    {"registrar": server(7, "sip:192.0.2.1", password="")},
    {"registrar": server(7, "sip:192.0.2.1", realm="reg.test")},
    {"registrar": server(7, "sip:192.0.2.1", realm="elsewhere")},
    {"registrar": server(7, "sip:192.0.2.1", loose_routing=False)},
    {"registrar": server(7, "sip:192.0.2.1", tls=TlsSettings(server_name="x"))},
    {"registrar": server(7, "sip:192.0.2.1", extensions={"ws-path": "/x"})},
    {"proxies": [ServerParameters(uri="sip:192.0.2.1")]},
    {"proxies": [ServerParameters(uri="sip:192.0.2.1", password="p")]},
    {"proxies": [ServerParameters(uri="sip:two.test"), ServerParameters(uri="sip:reg.test")]},
    {"private_identity": "private"},
    {"private_identity": "private", "registrar": server(7, username=None)},
    {"contact_user": "fixed"},
    {"contact_uri": "sip:elsewhere@example.com"},
    {"contact_params": ["methods"]},
    {"headers": ["X-Own: 1"]},
    {"expires": 600},
    {"dscp": 24},
    {"gruu": True},
    {"outbound": False},
    {"reg_event": True},
    {"reachable_interval": 600},
    {"instance_id": ""},
    {"instance_id": "not one"},
    {"allowed_identities": ["sip:*@example.com"]},
    {"token_source": "source"},
    {"register": "always"},
    {"labels": {"a": "b"}, "default": True, "linger": 5.0, "locked": True, "provider_name": "x"},
]
ROWS: list[dict[str, Any]] = [
    {"call_id": "one of others"},
    {"call_id": "ABCDEF"},
    {"call_id": "abc"},
    {"cseq_reserved": 0},
    {"contact_token": "with space"},
    {"contact_token": 'quoted "'},
    {"contact_token": "übel"},
    {"contact_token": ""},
    {"lease_ends": 0.0},
    {"lease_ends": 0.0, "rejected_attempts": 2},
    {"lease_ends": 0.0, "public_gruu": "sip:user@example.com;gr=x"},
    {"lease_ends": 0.0, "bridge_port": 5080},
    {"lease_ends": WALL + 900.0},
    {"refresh_at": 0.0},
    {"refresh_at": WALL + 9000.0},
    {"expires_granted": 60},
    {"boot_id": "another"},
    {"boot_id": "another", "lease_ends": WALL + 9000.0},
    {"wall_offset": WALL - 100.0},
    {"protocol": "tcp"},
    {"local_port": 5061},
    {"local_host": "198.51.100.2"},
    {"target_host": "192.0.2.2"},
    {"target_port": 5070},
    {"contact": "sip:elsewhere@198.51.100.1:5060"},
    {"place": "@203.0.113.9:40000"},
    {"place": "@198.51.100.1:5060;ob"},
    {"registered_aors": ()},
    {"registered_aors": ("sip:associated@example.com",)},
    {"registered_aors": ("sip:associated@example.com", "tel:+1234")},
    {"service_route": ("<sip:192.0.2.9;lr>",)},
    {"path": ("<sip:192.0.2.9;lr>",)},
    {"nonces": ()},
    {"nonces": (msgspec.structs.replace(CHALLENGE, nonce="n", realm="elsewhere"),)},
    {"nonces": (msgspec.structs.replace(CHALLENGE, nonce="n", opaque="o", algorithm="SHA-256"),)},
    {"nonces": (msgspec.structs.replace(CHALLENGE, nonce="n", algorithm="unknown"),)},
    {"nonces": (msgspec.structs.replace(CHALLENGE, nonce="n", proxy=True), CHALLENGE)},
    {"nonces": (CHALLENGE, msgspec.structs.replace(CHALLENGE, nonce="n", proxy=True))},
    {"rejected_attempts": 2},
    {"since": 0.0},
    {"since": WALL + 9000.0},
    {"state_revision": 0},
    {"bound_as": 0},
    {"bound_as": 1},
    {"sent_as": 0},
    {"sent_as": 1},
    {"leaving": True},
    {"hop": 1},
    {"hop": 1, "outbound": True},
    {"outbound": True},
    {"public_gruu": "sip:user@example.com;gr=x"},
    {"temporary_gruu": "sip:temporary@example.com;gr"},
    {"bridge_port": 5080},
]
EDITED: list[dict[str, Any]] = [
    {"lease_ends": math.nan},
    {"lease_ends": math.inf},
    {"lease_ends": -1.0},
    {"wall_offset": math.nan},
    {"wall_offset": -math.inf},
    {"refresh_at": math.nan},
    {"refresh_at": math.inf},
    {"since": math.nan},
    {"since": -math.inf},
    {"expires_granted": -1},
    {"expires_granted": 2**64 - 1},
    {"expires_granted": 2**64 - 1, "boot_id": "another"},
    {"cseq_reserved": -1},
    {"cseq_reserved": 2**62},
    {"cseq_reserved": 2**64 + 255},
    {"state_revision": -40},
    {"state_revision": 2**64 - 1},
    {"bound_as": -1},
    {"bound_as": 2**64},
    {"nonces": (msgspec.structs.replace(CHALLENGE, nonce="n", count_reserved=-1),)},
    {"nonces": (msgspec.structs.replace(CHALLENGE, nonce="n", count_reserved=2**64 - 1),)},
    {"lease_ends": 0.0, "hop": -1},
]
"""Nobody writes these, but a store can be edited."""
_same = st.just({})
_settings = st.one_of(_same, _same, st.sampled_from(SETTINGS))
_rows = st.one_of(_same, _same, st.sampled_from(ROWS))
_held = st.sampled_from(("", "", "", "", "", "paused", "forcibly_disabled"))
_runs = st.lists(st.tuples(_settings, _rows, _held, st.integers(1, 4)), min_size=1, max_size=8)


def run_of(first: int, changes: dict[str, Any], of_row: dict[str, Any], held: Any, length: int) -> list[ProfileRecord]:
    """Some that are alike."""
    found = []
    for number in range(first, first + length):
        profile = profile_of(number, **changes)
        found.append(ProfileRecord(profile, 1, held, (row_of(profile, **of_row),)))
    return found


class TestAgrees:
    @given(_runs, _runs, st.booleans())
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def test_whatever_is_stored(self, some: Any, others: Any, fails: bool) -> None:
        twins = Twins(settings=RegistrationSettings(udp_keepalive=0.0, rate=1000.0, burst=1000.0))
        twins.fails = fails
        first = 1
        for runs in (some, others, some):
            for changes, of_row, held, length in runs:
                twins.load(run_of(first, changes, of_row, held, length))
                first += length
            twins.fails = False
            twins.pass_time(1)
        for number in list(twins.short.by_profile):
            assert whole(twins.short.by_profile[number].plan) == whole(twins.long.by_profile[number].plan)
            twins.both(lambda room, number=number: room.want(number, number % 3 > 0, twins.now))  # type: ignore[misc]
        twins.settle()
        twins.pass_time(100)

    @pytest.mark.parametrize("changes", SETTINGS, ids=str)
    def test_one_whose_settings_differ_after_one_like_most(self, changes: dict[str, Any]) -> None:
        for of_row in ({}, {"lease_ends": 0.0}):
            twins = Twins()
            twins.load([record(1)])
            twins.load([record(2), record(3)])
            twins.load(run_of(4, changes, of_row, "", 3))

    @pytest.mark.parametrize("of_row", [*ROWS, *EDITED], ids=str)
    def test_one_whose_row_differs_after_one_like_most(self, of_row: dict[str, Any]) -> None:
        twins = Twins()
        twins.load([record(1)])
        twins.load([record(2), record(3)])
        twins.load(run_of(4, {}, of_row, "", 3))

    def test_one_whose_contact_shows_an_address_that_is_no_longer_ours(self) -> None:
        twins = Twins()
        place = {"place": "@203.0.113.9:40000"}
        twins.load(run_of(1, {}, place, "", 1))
        twins.load(run_of(2, {}, place, "", 2))
        for room in (twins.short, twins.long):
            (transport,) = room.transports.values()
            assert transport.public == ("203.0.113.9", 40000)
            transport.public = None  # as an answer may show
        twins.load(run_of(4, {}, place, "", 1))

    @pytest.mark.parametrize("fails", [False, True])
    def test_one_after_the_socket_has_failed_or_has_another_address(self, fails: bool) -> None:
        twins = Twins()
        twins.load([record(1)])
        twins.load([record(2), record(3)])
        (key,) = twins.short.transports
        twins.local = ("198.51.100.7", 5060)
        if fails:
            twins.both(lambda room: room.transport_failed(key, "transport_unreachable", "", twins.now))
        else:
            twins.both(lambda room: room.transport_opened(key, twins.local, twins.now))
        twins.load([record(4), record(5)])

    def test_one_with_another_number_of_rows(self) -> None:
        twins = Twins()
        twins.load([record(1)])
        twins.load([record(2), record(3)])
        one = profile_of(4)
        further = row_of(one, number=2, hop=1)
        twins.load([ProfileRecord(one, 1, "", (row_of(one), further)), ProfileRecord(profile_of(5), 1)])

    def test_one_whose_predecessor_still_removes_its_binding(self) -> None:
        twins = Twins()
        twins.load([record(1)])
        twins.load([record(2), record(3)])
        twins.both(lambda room: room.remove(3, twins.now))
        twins.settle()
        assert 3 in twins.short.flows
        twins.load([record(3)])

    def test_one_while_the_service_stops(self) -> None:
        twins = Twins()
        twins.load([record(1)])
        twins.load([record(2), record(3)])
        twins.both(lambda room: room.stop(False, twins.now))
        twins.load([record(4)])
