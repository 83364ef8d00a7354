"""By which flow, and with which Contact, a profile's requests go out (RFC 5626 §4.3, §5.3; RFC 3261 §12.2.1)."""

from __future__ import annotations

from typing import Any

import pytest
from machine_driver import Driver, reply, server
from subscription_world import World
from useragent_world import BOB, FakeOwner

from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import Request
from sipprofile.useragent import client
from sipprofile.useragent.agent import UserAgent
from sipprofile.useragent.draft import Draft
from sipprofile.useragent.leg import Leg
from sipprofile.useragent.profile_line import FEW, profile_line

A, B = "192.0.2.11", "192.0.2.12"
KEY_A, KEY_B = TransportKey("tcp", A, 5060), TransportKey("tcp", B, 5060)
EDGES = [server(f"sip:{A};transport=tcp", None), server(f"sip:{B};transport=tcp", None)]


def outbound(request: Request, _: TransportKey) -> bytes:
    kept = [contact for contact in request.headers("contact") if "expires=0" not in contact]
    return reply(request, 200, *(f"Contact: {contact};expires=3600" for contact in kept), "Require: outbound")


class TwoFlows(Driver):
    """A profile that is registered over two edges."""

    def __init__(self) -> None:
        super().__init__()
        self.always = outbound
        self.pongs = True
        self.ways: list[TransportKey] = []
        self.others = self._answered
        self.registered(proxies=EDGES)
        assert [flow.status for flow in self.state().flows] == ["registered", "registered"]
        self.agent_of_all = UserAgent(self.registrations, lambda *_: None, b"secret")
        self.owner = FakeOwner()

    def _answered(self, request: Request, key: TransportKey) -> bytes:
        if request.method != "ACK":
            self.ways.append(key)
        data = reply(request, 200, f"Contact: <{BOB}>")
        to = request.header("to") or ""
        return data if "tag=" in to else data.replace(f"To: {to}".encode(), f"To: {to};tag=b".encode())

    def send(self, method: str, leg: Leg | None = None, **draft: Any) -> None:
        line = profile_line(self.agent_of_all, 1)
        client.send(self.agent_of_all, self.owner, line, Draft(method, uri=BOB, **draft), self.now, leg)
        self.settle()
        self.run(0.1)


@pytest.fixture
def driver() -> TwoFlows:
    return TwoFlows()


class TestSeveralFlows:
    def test_the_first_that_lives_is_taken(self, driver: TwoFlows) -> None:
        driver.send("MESSAGE")
        driver.refused.add(A)
        driver.fail(KEY_A)
        driver.send("MESSAGE")
        assert driver.ways == [KEY_A, KEY_B]
        assert [request.headers("route") for request in driver.requests] == [
            [f"<sip:{A};transport=tcp;lr>"],
            [f"<sip:{B};transport=tcp;lr>"],
        ]

    def test_a_dialog_stays_on_the_flow_that_it_began_on_while_that_lives(self, driver: TwoFlows) -> None:
        driver.refused.add(A)
        driver.fail(KEY_A)
        driver.send("INVITE", body=b"v=0", content_type="application/sdp")
        (leg,) = driver.agent_of_all.legs.values()
        driver.refused.clear()
        driver.run(600)
        driver.send("MESSAGE")
        driver.send("INFO", leg)
        assert driver.ways == [KEY_B, KEY_A, KEY_B]
        driver.refused.add(B)
        driver.fail(KEY_B)
        driver.send("UPDATE", leg)
        assert driver.ways[-1] == KEY_A
        assert driver.requests[-1].header("contact") == f"<{driver.flow(1, 1).contact};ob>"  # where we are now

    def test_without_any_there_is_none(self, driver: TwoFlows) -> None:
        for key in (KEY_A, KEY_B):
            driver.refused.add(key.host)
            driver.fail(key)
        with pytest.raises(SipProfileError) as raised:
            driver.send("MESSAGE")
        assert raised.value.code == "not_registered"


class TestLines:
    def test_a_profile_has_one(self, driver: TwoFlows) -> None:
        agent = driver.agent_of_all
        assert profile_line(agent, 1) is profile_line(agent, 1)

    def test_those_of_removed_profiles_are_forgotten(self, driver: TwoFlows) -> None:
        agent = driver.agent_of_all
        ours = profile_line(agent, 1)
        for number in range(2, 10 * FEW):
            profile_line(agent, number)
        assert len(agent.profile_lines) <= FEW + 4
        assert profile_line(agent, 1) is ours


class TestAnErrorOfUdp:
    def test_requests_go_out_after_it(self) -> None:
        """An ICMP error while a server restarts ends no binding, which may last for an hour."""
        world = World()
        key = world.room.by_profile[1].first.bound
        assert key is not None
        world.room.transport_failed(key, "transport_refused", "The port is closed.", world.now)
        world.registrations.settle()
        assert world.room.by_profile[1].status == "registered"
        world.send("MESSAGE", body=b"hi", content_type="text/plain")
        assert world.methods() == ["MESSAGE"]

    def test_requests_go_out_when_there_is_a_way_again(self) -> None:
        world = World()
        key = world.room.by_profile[1].first.bound
        assert key is not None
        del world.room.transports[key]
        with pytest.raises(SipProfileError):
            world.send("MESSAGE", body=b"hi", content_type="text/plain")
        world.registrations.settle()
        world.send("MESSAGE", body=b"hi", content_type="text/plain")
        assert world.methods() == ["MESSAGE"]
