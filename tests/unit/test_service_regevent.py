"""NOTIFYs of our own subscriptions and our own OPTIONS, through the whole service: what goes back, and over what."""

from __future__ import annotations

from typing import Any

import pytest
from service_world import World

from sipprofile.registration.actions import OpenTransport, Resolve, Send, TransportKey
from sipprofile.service.operations import Create, Get, Test
from sipprofile.sip.message import Request, Response, build_response, parse

UDP = TransportKey("udp", "192.0.2.1", 5060)
TCP_FROM_REGISTRAR = TransportKey("tcp", "192.0.2.1", 41234)
LOCAL = ("192.0.2.10", 5060)
REGINFO = "application/reginfo+xml"


class Registered(World):
    """Alice's profile with ``reg_event``, registered and subscribed; the registrar grants whatever it is asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[tuple[TransportKey, Response]] = []
        super().__init__()
        profile = {"name": "alice", "aor": "sip:alice@192.0.2.1", "registrar": {"uri": "sip:192.0.2.1"}}
        self.ask(Create({**profile, "register": "always", "reg_event": True}))
        self.pass_time(0.1)
        self.cseq = 0

    def perform(self) -> None:
        self.perform_actions(self._act)

    def _act(self, action: Any) -> None:
        if isinstance(action, OpenTransport):
            self.service.transport_opened(action.key, LOCAL, self.now)
        elif isinstance(action, Resolve):
            self.service.resolve_failed(action.question, "resolve_not_found", 60.0, self.now)
        elif isinstance(action, Send) and action.data.strip():
            message = parse(action.data)
            if isinstance(message, Response):
                self.answers.append((action.key, message))
                return
            self.requests.append(message)
            headers = [("Expires", message.header("expires") or "0")]
            if message.method == "REGISTER":
                headers.append(("Contact", f"{message.header('contact')};expires={message.header('expires')}"))
            data = build_response(message, 200, to_tag="registrar", headers=headers)
            self.service.received(data, (UDP.host, UDP.port), UDP, self.now)

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(Get(1))["registration"]
        return found

    def notify(self, body: str = "", *headers: str, key: TransportKey = UDP, tag: str = "registrar") -> Response:
        """Send a NOTIFY of the subscription over ``key``; the answer, which went back the same way."""
        subscribe = next(request for request in self.requests if request.method == "SUBSCRIBE")
        self.cseq += 1
        lines = [
            f"NOTIFY {self.state['registered_contact']} SIP/2.0",
            f"Via: SIP/2.0/{key.protocol.upper()} 192.0.2.1:5060;branch=z9hG4bKn{self.cseq}",
            "Max-Forwards: 70",
            f"From: <sip:alice@192.0.2.1>;tag={tag}",
            f"To: {subscribe.header('from')}",
            f"Call-ID: {subscribe.header('call-id')}",
            f"CSeq: {self.cseq} NOTIFY",
            *(headers or ("Event: reg", "Subscription-State: active;expires=3000")),
            *([f"Content-Type: {REGINFO}"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self.answers.clear()
        data = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
        self.service.received(data, (key.host, key.port), key, self.now)
        self.perform()
        ((back, answer),) = self.answers
        assert back == key
        self.pass_time(0)
        return answer

    def document(self, event: str = "registered", state: str = "active", fillers: int = 0) -> str:
        others = "".join(
            f'<contact id="o{n}" state="active" event="registered"><uri>sip:phone{n}@198.51.100.7</uri></contact>'
            for n in range(fillers)
        )
        return (
            '<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="7" state="full">'
            '<registration aor="sip:alice@192.0.2.1" id="r" state="active">'
            f'<contact id="1" state="{state}" event="{event}"><uri>{self.state["registered_contact"]}</uri></contact>'
            f"{others}</registration></reginfo>"
        )


@pytest.fixture
def world() -> Registered:
    return Registered()


def test_a_notify_is_answered_and_takes_effect(world: Registered) -> None:
    assert world.notify(world.document()).status == 200
    assert world.state["reg_event_state"] == "active"
    registers = sum(request.method == "REGISTER" for request in world.requests)
    assert world.notify(world.document("deactivated", "terminated")).status == 200
    assert sum(request.method == "REGISTER" for request in world.requests) == registers + 1
    assert world.state["status"] == "registered"
    assert "deregistered" in [event.event for event in world.events]


def test_a_large_one_comes_over_tcp_to_the_contact_of_udp(world: Registered) -> None:
    body = world.document(fillers=300)
    assert len(body) > 20_000
    assert world.notify(body, key=TCP_FROM_REGISTRAR).status == 200
    assert len(world.state["other_contacts"]) == 16


def test_what_cannot_be_read_is_refused_with_what_can(world: Registered) -> None:
    answer = world.notify("", "Event: reg", "Subscription-State: active", "Content-Type: text/plain")
    assert answer.status == 200  # nothing is in it
    headers = ("Event: reg", "Subscription-State: active", "Content-Encoding: gzip")
    answer = world.notify("<reginfo/>", *headers)
    assert (answer.status, answer.header("accept")) == (415, REGINFO)
    assert world.notify("<reginfo/>").status == 400


def test_another_package_and_another_dialog(world: Registered) -> None:
    answer = world.notify("", "Event: presence", "Subscription-State: active")
    assert (answer.status, answer.header("allow-events")) == (489, "reg")
    assert world.notify(tag="somebody").status == 481
    assert world.notify("", "Event: reg").status == 400


def test_an_explanation_sends_an_options_that_has_to_come_back(world: Registered) -> None:
    token = world.begin(Test(1))
    world.pass_time(0)
    assert token not in world.replies
    world.pass_time(10)  # the registrar answered it itself, before the REGISTER and after it
    steps = world.answer(token)["steps"]
    assert (steps[-1]["step"], steps[-1]["ok"]) == ("reachable", True)
    assert steps[-1]["detail"].startswith("Not known: ")
    assert [request.uri for request in world.requests if request.method == "OPTIONS"] == ["sip:alice@192.0.2.1"] * 2


def test_a_probe_that_arrives_is_answered_too(world: Registered) -> None:
    token = world.begin(Test(1))
    options = next(request for request in world.requests if request.method == "OPTIONS")
    via = f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKp, {options.header('via')}"
    lines = [f"OPTIONS {world.state['registered_contact']} SIP/2.0", via]
    lines += [f"{name}: {value}" for name, value in options.items() if name != "Via"]
    world.service.received(("\r\n".join(lines) + "\r\n\r\n").encode(), (UDP.host, UDP.port), UDP, world.now)
    world.perform()
    ((_, answer),) = world.answers
    assert answer.status == 200
    assert world.answer(token)["steps"][-1]["detail"] == "An OPTIONS to the address-of-record arrived here."
    assert world.state["reachable"] is True
