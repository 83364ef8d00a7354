"""SIPp and baresip behind bridges call, and are called, through a Kamailio that challenges with 407."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService

from .baresip import Baresip
from .bridged_baresip import BridgedBaresip
from .conftest import require
from .kamailio import Kamailio
from .ports import free_port
from .sipp import Sipp
from .stored_profile import StoredProfile

USERS = {"alice": "secret", "bob": "sesame"}

StartSipp = Callable[..., Sipp]
AddUser = Callable[..., StoredProfile]


@pytest.fixture
def proxy(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    return start_kamailio(routes=True, users=USERS)


@pytest.fixture
def add_user(daemon: RunningService, proxy: Kamailio) -> Iterator[AddUser]:
    """Stores the profile of a user with a bridge, registered when it returns."""
    added: list[StoredProfile] = []

    def add(user: str, bridge: dict[str, Any], **changes: Any) -> StoredProfile:
        registrar = {"uri": proxy.uri, "username": user, "password": USERS[user]}
        document = {"name": user, "aor": proxy.aor(user), "registrar": registrar, "bridge": bridge, **changes}
        profile = StoredProfile(daemon, document)
        added.append(profile)
        profile.wait(status="registered")
        profile.wait_until(lambda state: bool(state["bridge_port"]), "its bridge has a port")
        return profile

    yield add
    for profile in added:
        profile.discard()


def call(start_sipp: StartSipp, alice: StoredProfile, *, identity: str = "100", **more: Any) -> Sipp:
    """SIPp begins to call Bob through Alice's bridge."""
    remote = f"127.0.0.1:{alice.state()['bridge_port']}"
    return start_sipp("caller", {"callee": "bob", "identity": identity}, remote=remote, **more)


class TestSipp:
    def test_twenty_calls_out_and_in(self, start_sipp: StartSipp, add_user: AddUser, proxy: Kamailio) -> None:
        """Both programs are behind bridges of one service; SDP, X-headers and nothing else is what they see."""
        callee = start_sipp("callee", {}, calls=20)
        alice = add_user("alice", {"uri": f"sip:127.0.0.1:{free_port()}"})
        add_user("bob", {"uri": f"sip:127.0.0.1:{callee.port}"})
        caller = call(start_sipp, alice, calls=20)
        for verdict in (caller.wait(), callee.wait()):
            assert (verdict.exit_code, verdict.successful_calls, verdict.failed_calls) == (0, 20, 0), verdict.errors
        seen = proxy.routed("INVITE")
        assert {(one.caller, one.called, one.uri) for one in seen} == {("alice", "bob", "sip:bob@example.test")}
        assert len(seen) > 20  # the first of them was challenged
        assert len({one.call_id for one in proxy.sent("INVITE")}) == 20

    @pytest.mark.long
    def test_twenty_calls_a_second_for_a_minute(self, start_sipp: StartSipp, add_user: AddUser) -> None:
        callee = start_sipp("callee", {}, calls=1200, limit=100)
        alice = add_user("alice", {"uri": f"sip:127.0.0.1:{free_port()}"})
        add_user("bob", {"uri": f"sip:127.0.0.1:{callee.port}"})
        caller = call(start_sipp, alice, calls=1200, rate=20, limit=100)
        for verdict in (caller.wait(), callee.wait()):
            assert (verdict.exit_code, verdict.successful_calls, verdict.failed_calls) == (0, 1200, 0), verdict.errors

    @pytest.mark.long
    def test_lost_messages(self, start_sipp: StartSipp, add_user: AddUser) -> None:
        """Every tenth message to or from the caller is lost, ACKs too: what is sent again sets up and ends calls."""
        callee = start_sipp("callee", {}, calls=100, limit=120)  # it ends after 32 s without an ACK, as it must
        alice = add_user("alice", {"uri": f"sip:127.0.0.1:{free_port()}"})
        add_user("bob", {"uri": f"sip:127.0.0.1:{callee.port}"})
        verdict = call(start_sipp, alice, calls=100, rate=20, limit=120, lost=10).wait()
        assert (verdict.successful_calls, verdict.failed_calls) == (100, 0), verdict.errors

    def test_an_allowed_identity_is_kept(self, start_sipp: StartSipp, add_user: AddUser, proxy: Kamailio) -> None:
        callee = start_sipp("callee", {})
        alice = add_user(
            "alice", {"uri": f"sip:127.0.0.1:{free_port()}"}, allowed_identities=["sip:+4930*@example.test"]
        )
        add_user("bob", {"uri": f"sip:127.0.0.1:{callee.port}"})
        caller = call(start_sipp, alice, calls=1, identity="+493077")
        assert (caller.wait().exit_code, callee.wait().exit_code) == (0, 0)
        assert {one.caller for one in proxy.routed("INVITE")} == {"+493077"}

    def test_the_port_outlives_a_restart(
        self, start_sipp: StartSipp, own_daemon: RunningService, proxy: Kamailio
    ) -> None:
        registrar = {"uri": proxy.uri, "username": "alice", "password": "secret"}
        document = {"name": "alice", "aor": proxy.aor("alice"), "registrar": registrar, "bridge": {}}
        profile = StoredProfile(own_daemon, document)
        port = profile.wait_until(lambda state: bool(state["bridge_port"]), "a port")["bridge_port"]
        assert port >= 5080
        profile.wait(status="registered")
        own_daemon.stop()
        own_daemon.start()
        assert profile.wait_until(lambda state: bool(state["bridge_port"]), "a port")["bridge_port"] == port

    def test_a_program_that_is_gone_is_not_available(
        self, start_sipp: StartSipp, add_user: AddUser, proxy: Kamailio
    ) -> None:
        alice = add_user("alice", {"uri": f"sip:127.0.0.1:{free_port()}"})
        add_user("bob", {"uri": f"sip:127.0.0.1:{free_port()}"})
        caller = call(start_sipp, alice, calls=1)
        verdict = caller.wait()
        assert verdict.failed_calls == 1
        assert "SIP/2.0 480" in caller.messages()


@pytest.fixture
def start_bridged_baresip(tmp_path: Path) -> Iterator[Callable[[StoredProfile], BridgedBaresip]]:
    """Starts the phone of docs/recipes/baresip.md behind a profile's bridge."""
    require(Baresip.program(), "baresip", "baresip-core")
    phones: list[BridgedBaresip] = []

    def start(profile: StoredProfile) -> BridgedBaresip:
        phone = BridgedBaresip(tmp_path / f"phone-{len(phones)}", profile.state()["bridge_port"])
        phones.append(phone)
        phone.start()
        return phone

    yield start
    for phone in phones:
        phone.kill()  # its bridge has gone with the profile, and would not answer when it gives its binding back


class TestBaresip:
    """With the configuration of docs/recipes/baresip.md and nothing else."""

    def test_registers_calls_and_is_called(
        self,
        start_sipp: StartSipp,
        start_bridged_baresip: Callable[[StoredProfile], BridgedBaresip],
        add_user: AddUser,
        proxy: Kamailio,
    ) -> None:
        bob = add_user("bob", {})
        phone = start_bridged_baresip(bob)
        phone.wait_until_registered()
        alice = add_user("alice", {})
        other = start_bridged_baresip(alice)
        other.wait_until_registered()

        other.command("dial", "bob")
        phone.wait_for("CALL_INCOMING")
        phone.command("accept")
        other.wait_for("CALL_ESTABLISHED")
        phone.wait_for("CALL_ESTABLISHED")
        invites = proxy.routed("INVITE")
        assert [(one.caller, one.called) for one in invites] == [("alice", "bob")] * 2  # without and with credentials
        assert len(proxy.sent("INVITE")) == 1
        assert not re.search(r"(WWW|Proxy)-Authenticate|Record-Route", other.shown())
        phone.command("hangup")
        other.wait_for("CALL_CLOSED")

    def test_a_refused_and_a_cancelled_call(
        self,
        start_bridged_baresip: Callable[[StoredProfile], BridgedBaresip],
        add_user: AddUser,
        proxy: Kamailio,
    ) -> None:
        bob, alice = add_user("bob", {}), add_user("alice", {})
        phone, other = start_bridged_baresip(bob), start_bridged_baresip(alice)
        for each in (phone, other):
            each.wait_until_registered()
        other.command("dial", "bob")
        phone.wait_for("CALL_INCOMING")
        phone.command("hangup")
        assert other.wait_for("CALL_CLOSED")["param"].startswith("486")

        other.command("dial", "bob")
        phone.wait_for("CALL_INCOMING", count=2)
        other.wait_for("CALL_RINGING", count=2)
        other.command("hangup")
        phone.wait_for("CALL_CLOSED", count=2)
