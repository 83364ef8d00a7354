"""The service with its real registrations and a registrar: one registration for many applications."""

from __future__ import annotations

from typing import Any

import pytest
from registrar_network import AOR, PASSWORD, Network
from service_world import Client

from sipprofile.service.operations import Control, Create, Get, Patch, Remove, Test


@pytest.fixture
def network() -> Network:
    network = Network()
    document = {"name": "alice", "aor": AOR, "registrar": {"uri": "sip:example.test", "password": PASSWORD}}
    network.ask(Create(document))
    return network


def state(network: Network) -> dict[str, Any]:
    found: dict[str, Any] = network.ask(Get(1))["registration"]
    return found


def test_two_applications_share_one_registration(network: Network) -> None:
    one, two = network.session(), network.session()
    one.ask("enable", profile=1)
    assert network.bindings() == 1
    sent = network.sent
    assert two.ask("enable", profile=1)["registration"]["status"] == "registered"
    one.close()
    network.pass_time(60)
    assert (network.bindings(), state(network)["users"], network.sent) == (1, 1, sent)
    two.ask("disable", profile=1)
    assert (network.bindings(), state(network)["status"]) == (0, "unregistered")


def test_holders_see_it_come_and_go(network: Network) -> None:
    holder, user = network.session(), network.session()
    holder.ask("hold", profile=1)
    user.ask("enable", profile=1)
    (event,) = holder.read()
    assert (event["event"], event["state"]["status"], event["state"]["users"]) == ("registered", "registered", 1)
    user.ask("disable", profile=1)
    assert ("deregistered", 1) in holder.events()


def test_it_is_refreshed_and_nobody_is_told_too_much(network: Network) -> None:
    client = network.session()
    client.ask("enable", profile=1)
    client.read()
    network.pass_time(3500)
    assert network.bindings() == 1
    assert {name for name, _ in client.events()} <= {"status"}


def test_a_reconnect_puts_nothing_on_the_wire(network: Network) -> None:
    client = network.session()
    client.ask("enable", profile=1)
    sent = network.sent
    client.close()
    network.pass_time(5)
    network.session(resume=client.hello["session"]).ask("enable", profile=1)
    network.pass_time(60)
    assert (network.sent, network.bindings()) == (sent, 1)


def test_force_disable_sends_nothing_and_enable_ends_it(network: Network) -> None:
    client = network.session()
    client.ask("enable", profile=1)
    sent = network.sent
    network.ask(Control(1, "force-disable"))
    assert (network.sent, state(network)["status"], state(network)["users"]) == (sent, "unregistered", 0)
    assert [name for name, _ in client.events()].count("forcibly_disabled") == 1
    client.ask("enable", profile=1)
    assert state(network)["status"] == "registered"
    assert state(network).get("held", "") == ""


def test_pause_gives_the_binding_back_and_resume_takes_it_again(network: Network) -> None:
    network.session().ask("enable", profile=1)
    network.ask(Control(1, "pause"))
    assert (network.bindings(), state(network)["held"], state(network)["users"]) == (0, "paused", 1)
    network.ask(Control(1, "resume"))
    assert (network.bindings(), state(network)["status"]) == (1, "registered")


def test_a_change_is_told_before_it_is_registered(network: Network) -> None:
    client = network.session()
    client.ask("enable", profile=1)
    client.read()
    network.ask(Patch(1, {"contact_params": ["q=0.5"]}))
    assert next(name for name, _ in client.events()) == "updated"
    (binding,) = network.registrar.bindings(AOR, network.now)
    assert binding.contact


def test_removal_gives_the_binding_back(network: Network) -> None:
    network.ask(Patch(1, {"register": "always"}))
    assert network.bindings() == 1
    network.ask(Remove(1))
    assert network.bindings() == 0


def test_a_stop_gives_the_bindings_back_or_keeps_them() -> None:
    for deregister in (True, False):
        network = Network()
        network.ask(
            Create({"name": "alice", "aor": AOR, "registrar": {"uri": "sip:example.test", "password": PASSWORD}})
        )
        network.session().ask("enable", profile=1)
        network.service.stop(deregister, network.now)
        network.perform()
        assert (network.bindings(), network.stopped) == (0 if deregister else 1, True)


def test_a_wrong_password_is_explained(network: Network) -> None:
    network.registrar.users["alice"] = "changed"
    steps = network.ask(Test(1))["steps"]
    assert steps[-1]["step"] == "digest"
    assert steps[-1]["ok"] is False


def test_a_good_profile_is_explained_and_left_as_it_was(network: Network) -> None:
    steps = network.ask(Test(1))["steps"]
    assert [step["step"] for step in steps if step["ok"]] == [
        "settings",
        "dns",
        "transport",
        "answer",
        "digest",
        "lease",
        "reachable",
    ]
    assert (network.bindings(), state(network)["users"]) == (0, 0)


def test_a_registered_profile_is_refreshed_by_its_explanation(network: Network) -> None:
    network.session().ask("enable", profile=1)
    sent = network.sent
    steps = network.ask(Test(1))["steps"]
    assert all(step["ok"] for step in steps)
    assert steps[-1] == {
        "step": "reachable",
        "ok": True,
        "detail": "An OPTIONS to the address-of-record arrived here.",
    }
    assert state(network)["reachable"] is True
    assert network.sent > sent
    assert network.bindings() == 1


def test_no_secret_in_anything_said(network: Network) -> None:
    client: Client = network.session()
    client.ask("watch", all=True)
    frames = [client.ask("hold", profile=1), client.ask("enable", profile=1)]
    network.ask(Patch(1, {"registrar": {"uri": "sip:example.test", "username": "alice"}}))
    frames += client.read()
    said = repr((frames, network.replies, network.events, network.ask(Test(1))))
    assert "s3cret" not in said


def test_many_enables_at_once(network: Network) -> None:
    """One application holding and enabling many profiles at once is answered for each of them."""
    client = network.session()
    for number in range(200):
        network.create(f"p{number}")
    client.read()
    sent = [client.send("enable", profile=number) for number in range(2, 202)]
    replies = [frame["id"] for frame in client.read() if "ok" in frame]
    assert replies == sent
