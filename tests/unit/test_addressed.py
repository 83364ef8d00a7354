"""Which profile a request is for, and that it is never told by the source's address alone."""

from __future__ import annotations

from typing import Any

import pytest
from registration_world import server
from server_world import PROXY, UDP, World, request

from sipprofile.registration.actions import TransportKey
from sipprofile.useragent.profile_line import profile_line

ELSEWHERE = TransportKey("udp", "192.0.2.66", 5060)


def asked(world: World, key: TransportKey = UDP, *extra: str, **changes: Any) -> int:
    """The profile that gets a MESSAGE; 0: it was answered 404."""
    number = len(world.sent) + len(world.owner.incoming)
    before = len(world.owner.incoming)
    data = request("MESSAGE", *extra, branch=f"z9hG4bK{number}", call_id=f"c{number}", **changes)
    responses = world.receive(data, key, (key.host, key.port))
    if len(world.owner.incoming) > before:
        return world.owner.incoming[-1].line.profile
    assert [response.status for response in responses] == [404]
    return 0


def registered(world: World, **changes: Any) -> None:
    """A second profile."""
    act, world.room.act = world.room.act, world.act
    world.registrations.add(2, **changes)
    world.registrations.run(1.0)
    world.room.act = act  # type: ignore[method-assign]
    assert world.registrations.state(2).status == "registered"


@pytest.fixture
def world() -> World:
    return World()


class TestToken:
    def test_from_wherever_it_comes(self, world: World) -> None:
        assert asked(world) == 1
        assert asked(world, ELSEWHERE) == 1

    def test_a_user_that_two_profiles_have_chosen_is_told_by_the_flow(self, world: World) -> None:
        second = TransportKey("udp", "192.0.2.2", 5060)
        world.registrations.add_registrar("192.0.2.2")
        registered(world, contact_user="token", registrar=server("192.0.2.2"))
        assert asked(world, UDP) == 1
        assert asked(world, second) == 2
        assert asked(world, ELSEWHERE) == 2, "the one that came last, as long as nobody says more"

    def test_a_profile_that_has_gone(self, world: World) -> None:
        world.room.remove(1, world.now)
        assert asked(world) == 0
        assert asked(world, UDP, uri="sip:alice@192.0.2.10") == 0

    def test_a_changed_one(self, world: World) -> None:
        world.registrations.update(contact_user="other")
        assert asked(world, ELSEWHERE) == 0
        assert asked(world, ELSEWHERE, uri="sip:other@192.0.2.10") == 1


class TestIdentity:
    def test_the_user_of_the_request_uri_on_its_flow(self, world: World) -> None:
        assert asked(world, uri="sip:alice@192.0.2.10", to="<sip:x@y>") == 1
        assert asked(world, ELSEWHERE, uri="sip:alice@192.0.2.10", to="<sip:x@y>") == 0

    def test_p_called_party_id(self, world: World) -> None:
        header = "P-Called-Party-ID: <sip:alice@example.test>"
        assert asked(world, UDP, header, uri="sip:192.0.2.10", to="<sip:x@y>") == 1
        assert asked(world, ELSEWHERE, header, uri="sip:192.0.2.10", to="<sip:x@y>") == 0

    def test_to(self, world: World) -> None:
        assert asked(world, uri="sip:192.0.2.10") == 1
        assert asked(world, ELSEWHERE, uri="sip:192.0.2.10") == 0

    def test_nobody(self, world: World) -> None:
        assert asked(world, uri="sip:nobody@192.0.2.10", to="<sip:nobody@example.test>") == 0
        assert asked(world, UDP, "P-Called-Party-ID: <<", uri="sip:nobody@192.0.2.10", to="<tel:+123>") == 0

    def test_several_on_one_flow(self, world: World) -> None:
        """The same address-of-record twice: only the token tells them apart."""
        registered(world)
        assert asked(world, uri="sip:alice@192.0.2.10") == 0

    def test_several_of_which_one_has_the_host(self, world: World) -> None:
        world.registrations.add(2, aor="sip:alice@other.test")
        flow = world.room.by_profile[2].first
        flow.bound, flow.lease_end = world.room.by_profile[1].first.bound, world.now + 1000
        assert asked(world, uri="sip:alice@192.0.2.10", to="<sip:alice@other.test>") == 2
        assert asked(world, uri="sip:alice@192.0.2.10", to="<sip:alice@example.test>") == 1

    def test_an_associated_identity(self, world: World) -> None:
        registration = world.room.by_profile[1]
        registration.first.registered_aors = ("sip:alice@example.test", "sip:+4912345@example.test", "tel:+4912345")
        world.room.addresses.learn(registration)
        assert asked(world, uri="sip:+4912345@192.0.2.10", to="<sip:x@y>") == 1
        registration.first.registered_aors = ("sip:alice@example.test",)
        world.room.addresses.learn(registration)
        assert asked(world, uri="sip:+4912345@192.0.2.10", to="<sip:x@y>") == 0

    def test_without_a_lease(self, world: World) -> None:
        world.room.by_profile[1].first.lease_end = 0.0
        assert asked(world, uri="sip:alice@192.0.2.10") == 0

    def test_a_contact_elsewhere(self, world: World) -> None:
        """Such a profile only registers."""
        world.registrations.update(contact_uri="sip:sbc.test")
        assert asked(world, uri="sip:alice@192.0.2.10") == 0


class TestGruu:
    """RFC 5627."""

    PUBLIC = "sip:alice@example.test;gr=urn:uuid:f81d4fae"
    TEMPORARY = "sip:tgruu.7hs@example.test;gr"

    @pytest.fixture
    def world(self) -> World:
        world = World()
        registration = world.room.by_profile[1]
        registration.first.gruu = (self.PUBLIC, self.TEMPORARY)
        world.room.addresses.learn(registration)
        return world

    @pytest.mark.parametrize("uri", [PUBLIC, TEMPORARY, PUBLIC.replace("urn:uuid:f", "URN:UUID:F")])
    def test_ours(self, world: World, uri: str) -> None:
        assert asked(world, ELSEWHERE, uri=uri, to="<sip:x@y>") == 1

    @pytest.mark.parametrize(
        "uri", ["sip:alice@example.test;gr=urn:uuid:other", "sip:tgruu.7hs@other.test;gr", "sip:alice@example.test;grx"]
    )
    def test_not_ours(self, world: World, uri: str) -> None:
        assert asked(world, ELSEWHERE, uri=uri, to="<sip:x@y>") == 0


class TestLocalPort:
    def test_belongs_to_its_bridge(self, world: World) -> None:
        line = profile_line(world.agent, 77)
        world.agent.local_lines[5080] = line
        program = TransportKey("udp", "127.0.0.1", 5070, local_port=5080)
        assert asked(world, program, uri="sip:bob@elsewhere.test") == 77
        assert world.owner.incoming[-1].line is line

    def test_where_nobody_listens_any_more(self, world: World) -> None:
        assert asked(world, TransportKey("udp", "127.0.0.1", 5070, local_port=5081)) == 0

    def test_its_dialogs_are_not_those_of_others(self, world: World) -> None:
        world.receive(request("INVITE"))
        world.respond(200)
        to = world.responses()[0].header("to") or ""
        local = TransportKey("udp", "127.0.0.1", 5070, local_port=5080)
        world.agent.local_lines[5080] = profile_line(world.agent, 77)
        (response,) = world.receive(request("INFO", to=to, cseq=2, branch="z9hG4bK2"), local, ("127.0.0.1", 5070))
        assert response.status == 481


def test_the_index_forgets_what_is_gone(world: World) -> None:
    for number in range(2, 6):
        world.registrations.add(number)
    for number in range(1, 6):
        world.room.remove(number, world.now)
    addresses = world.room.addresses
    assert (addresses.tokens, addresses._users, addresses._learnt) == ({}, {}, {})


def test_a_source_alone_is_nobody(world: World) -> None:
    data = request(uri="sip:192.0.2.10", to="<sip:x@y>")
    assert [r.status for r in world.receive(data, UDP, PROXY)] == [404]
