"""`bridge` of a profile: what is refused at save, and the socket that it has."""

from __future__ import annotations

from typing import Any

import pytest

from sipprofile.agents.ietf import IetfAgent
from sipprofile.profile import decode
from sipprofile.registration.actions import Listen, StopListening
from sipprofile.service.bridge.sockets import TRY_AGAIN, Sockets
from sipprofile.service.timers import Timers


def fields(bridge: dict[str, Any], **more: Any) -> list[str]:
    document = {"name": "a", "aor": "sip:alice@example.test", "bridge": bridge, **more}
    return [problem.field for problem in IetfAgent().problems(decode(document))]


class TestValidation:
    @pytest.mark.parametrize(
        "bridge",
        [
            {},
            {"uri": "sip:127.0.0.1:5062"},
            {"uri": "sip:agent@127.0.0.1"},
            {"uri": "sip:[::1]:5062", "host": "::1"},
            {"uri": "sip:172.17.0.2:5060", "host": "172.17.0.1", "allowed": ["172.17.0.0/16"]},
            {"port": 5090, "request_user": "p-called-party-id"},
        ],
    )
    def test_fine(self, bridge: dict[str, Any]) -> None:
        assert fields(bridge) == []

    @pytest.mark.parametrize(
        ("bridge", "field"),
        [
            ({"uri": "sip:192.0.2.7:5060"}, "bridge.uri"),
            ({"uri": "sip:livekit.example:5060"}, "bridge.uri"),
            ({"uri": "sips:127.0.0.1"}, "bridge.uri"),
            ({"uri": "sip:127.0.0.1;transport=tcp"}, "bridge.uri"),
            ({"uri": "sip:127.0.0.1:99999"}, "bridge.uri"),
            ({"uri": "nonsense"}, "bridge.uri"),
            ({"uri": "sip:172.18.0.2", "allowed": ["172.17.0.0/16"]}, "bridge.uri"),
            ({"uri": "sip:[::1]:5062"}, "bridge.host"),
            ({"host": "0.0.0.0"}, "bridge.host"),
            ({"host": "localhost"}, "bridge.host"),
            ({"port": 70000}, "bridge.port"),
            ({"port": 5062, "uri": "sip:127.0.0.1:5062"}, "bridge.port"),
            ({"allowed": ["everybody"]}, "bridge.allowed[0]"),
            ({"allowed": ["10.0.0.1"] * 65}, "bridge.allowed"),
        ],
    )
    def test_refused(self, bridge: dict[str, Any], field: str) -> None:
        assert fields(bridge) == [field]

    def test_a_profile_that_only_registers_has_none(self) -> None:
        assert fields({}, contact_uri="sip:sbc.example.test") == ["bridge"]


class Asked:
    """Sockets of profile 7 whose last port was 5083, and what they asked the shell for."""

    def __init__(self, remembered: int = 5083) -> None:
        self.actions: list[Any] = []
        self.timers = Timers()
        self.sockets = Sockets(self.actions.append, self.timers, lambda _: remembered)


class TestSockets:
    def test_the_port_of_the_last_time_then_any(self) -> None:
        asked = Asked()
        assert asked.sockets.want(7, "127.0.0.1", 0)
        asked.sockets.not_listening(7, 10.0)
        assert asked.sockets.listening(7, 5080)
        assert asked.actions == [Listen(7, "127.0.0.1", 5083), Listen(7, "127.0.0.1", 0)]
        assert not asked.sockets.want(7, "127.0.0.1", 0)

    def test_a_configured_port_that_is_taken_is_tried_again(self) -> None:
        asked = Asked()
        asked.sockets.want(7, "127.0.0.1", 5090)
        asked.sockets.not_listening(7, 10.0)
        asked.timers.run(10.0 + TRY_AGAIN - 0.1)
        assert asked.actions == [Listen(7, "127.0.0.1", 5090)]
        asked.timers.run(10.0 + TRY_AGAIN)
        assert asked.actions == [Listen(7, "127.0.0.1", 5090)] * 2

    def test_another_port_closes_the_first(self) -> None:
        asked = Asked()
        asked.sockets.want(7, "127.0.0.1", 5090)
        asked.sockets.listening(7, 5090)
        assert asked.sockets.want(7, "127.0.0.1", 5091)
        assert asked.actions[1:] == [StopListening(5090), Listen(7, "127.0.0.1", 5091)]

    def test_what_was_asked_for_before_a_change_is_closed(self) -> None:
        asked = Asked()
        asked.sockets.want(7, "127.0.0.1", 5090)
        asked.sockets.want(7, "127.0.0.1", 5091)
        assert not asked.sockets.listening(7, 5090)
        assert asked.actions[1:] == [StopListening(5090), Listen(7, "127.0.0.1", 5091)]
        assert asked.sockets.listening(7, 5091)

    @pytest.mark.parametrize("opened", [True, False])
    def test_without_a_bridge_there_is_no_socket(self, opened: bool) -> None:
        asked = Asked()
        asked.sockets.want(7, "127.0.0.1", 5090)
        asked.sockets.unwant(7)
        if opened:
            assert not asked.sockets.listening(7, 5090)
            assert asked.actions[1:] == [StopListening(5090)]
        else:
            asked.sockets.not_listening(7, 1.0)
        assert asked.timers.next() is None
        asked.sockets.want(7, "127.0.0.1", 0)
        assert asked.actions[-1] == Listen(7, "127.0.0.1", 5083)
