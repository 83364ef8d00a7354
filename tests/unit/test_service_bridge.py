"""The bridge in the whole core: its socket, who may use it, and what it has claimed without being asked."""

from __future__ import annotations

from typing import Any

import pytest
from claims_world import Owner
from service_requests import arrive, request, statuses
from service_world import World

from sipprofile.claims import Claim
from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import Listen, Send, StopListening, TransportKey
from sipprofile.service.operations import Get, Patch, Remove


def world(**bridge: Any) -> tuple[World, int]:
    """A service with a profile that has a bridge, and its socket."""
    one = World()
    one.service._registry.registrations.by_profile = {}
    profile = one.create(contact_user="token-1", bridge={"uri": "sip:127.0.0.1:5062", **bridge})
    return one, profile


def listens(one: World, profile: int, port: int = 5080) -> None:
    one.service.listening(profile, port, one.now)
    one.perform()


def of_kind(one: World, kind: type) -> list[Any]:
    return [action for action in one.actions if isinstance(action, kind)]


def from_program(one: World, host: str = "127.0.0.1", port: int = 5080) -> None:
    via = f"SIP/2.0/UDP {host}:5062;branch=z9hG4bKp"
    key = TransportKey("udp", host, 5062, local_port=port)
    one.service.received(request("OPTIONS", "sip:127.0.0.1:5080", via=via), (host, 5062), key, one.now)
    one.perform()


class TestItsSocket:
    def test_is_wanted_and_shown(self) -> None:
        one, profile = world(port=5090)
        assert of_kind(one, Listen) == [Listen(profile, "127.0.0.1", 5090)]
        assert one.ask(Get(profile))["registration"]["bridge_port"] is None
        listens(one, profile, 5090)
        assert one.ask(Get(profile))["registration"]["bridge_port"] == 5090

    def test_goes_with_the_bridge(self) -> None:
        one, profile = world()
        listens(one, profile)
        one.ask(Patch(profile, {"bridge": None}))
        assert of_kind(one, StopListening) == [StopListening(5080)]
        assert one.ask(Get(profile))["registration"]["bridge_port"] is None

    def test_is_not_shown_while_there_is_none_though_the_port_is_remembered_and_the_profile_is_used(self) -> None:
        one, profile = world()
        listens(one, profile)
        one.ask(Patch(profile, {"bridge": {"uri": "sip:127.0.0.1:5062", "port": 5090}}))
        one.session().ask("enable", profile=profile)
        state = one.ask(Get(profile))["registration"]
        assert (state["users"], state["bridge_port"]) == (1, None)
        assert one.service._registry.registrations.by_profile[profile].bridge_port == 5080

    def test_and_with_the_profile(self) -> None:
        one, profile = world()
        listens(one, profile)
        one.ask(Remove(profile))
        assert of_kind(one, StopListening) == [StopListening(5080)]

    def test_the_profile_is_registered_as_long_as_it_has_one(self) -> None:
        one, profile = world()
        registrations = one.service._registry.registrations
        assert registrations.wanted(profile)
        one.ask(Patch(profile, {"bridge": None}))
        assert not registrations.wanted(profile)


class TestWhoMayUseIt:
    def test_loopback(self) -> None:
        one, profile = world()
        listens(one, profile)
        from_program(one)
        assert statuses(one) == [503], "it is answered; the profile is not registered"
        (sent,) = of_kind(one, Send)
        assert sent.key == TransportKey("udp", "127.0.0.1", 5062, local_port=5080)

    def test_nobody_else(self) -> None:
        one, profile = world()
        listens(one, profile)
        from_program(one, "192.0.2.7")
        assert statuses(one) == [403]

    def test_but_who_is_allowed(self) -> None:
        one, profile = world(allowed=["192.0.2.0/24"])
        listens(one, profile)
        from_program(one, "192.0.2.7")
        assert statuses(one) == [503]

    def test_and_nobody_after_its_end(self) -> None:
        one, profile = world()
        listens(one, profile)
        one.ask(Patch(profile, {"bridge": None}))
        from_program(one)
        assert statuses(one) == [403]


class TestWhatItClaims:
    def test_calls_and_nothing_else(self) -> None:
        one, profile = world()
        listens(one, profile)
        arrive(one, "MESSAGE")
        assert statuses(one) == [405]
        with pytest.raises(SipProfileError) as refused:
            one.service._claims.claim(Owner("app"), profile, Claim(methods=["INVITE"]), None, one.now)
        assert (refused.value.code, refused.value.members["by"]) == ("claim_in_use", "bridge")

    def test_what_the_profile_says(self) -> None:
        one, profile = world()
        one.ask(Patch(profile, {"claims": [{"to": "bridge", "methods": ["MESSAGE"]}]}))
        one.service._claims.claim(Owner("app"), profile, Claim(methods=["INVITE"]), None, one.now)
