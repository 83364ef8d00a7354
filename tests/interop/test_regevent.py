"""Our registration as Kamailio sees it: reg-event subscriptions (RFC 3680) and the OPTIONS that comes back to us."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest

from running_service import RunningService

from .conftest import require
from .kamailio import Binding, Kamailio
from .raw_client import RawClient
from .stored_profile import StoredProfile, alice

ALICE = "sip:alice@example.test"
QUIET = 0.7  # seconds of silence after which nothing more is expected

Start = Callable[..., Kamailio]
Add = Callable[..., StoredProfile]


@dataclasses.dataclass(frozen=True)
class Subscribe:
    """One SUBSCRIBE as Kamailio's script saw it."""

    verdict: int
    call_id: str
    in_dialog: bool
    expires: int


@pytest.fixture
def presence(start_kamailio: Start) -> Kamailio:
    """A Kamailio that tells who is registered, and passes OPTIONS on."""
    require(Kamailio.module("presence_reginfo"), "Kamailio's presence_reginfo", "kamailio-presence-modules")
    require(Kamailio.module("db_sqlite"), "Kamailio's db_sqlite", "kamailio-sqlite-modules")
    return start_kamailio(reginfo=True, forwards=True)


def subscribes(kamailio: Kamailio) -> list[Subscribe]:
    return [
        Subscribe(int(verdict), call_id, tag != "<null>", int(expires))
        for _, verdict, call_id, _, tag, expires in kamailio.marked("SUBSCRIBE-SEEN|", 6)
    ]


def ours(kamailio: Kamailio, profile: StoredProfile) -> Binding | None:
    """Our binding at Kamailio."""
    contact = profile.state()["registered_contact"]
    return next((binding for binding in kamailio.bindings(ALICE) if binding.contact == contact), None)


def subscribed(profile: StoredProfile, kamailio: Kamailio) -> dict[str, Any]:
    """The state once the first document has told of us; what Kamailio publishes comes a moment after the grant."""
    state = profile.wait(status="registered", reg_event_state="active")
    time.sleep(QUIET)
    assert ours(kamailio, profile) is not None
    return state


def back(kamailio: Kamailio, profile: StoredProfile, before: Binding) -> Binding:
    """Our binding once Kamailio has it again."""
    kamailio.wait_until(
        lambda: (again := ours(kamailio, profile)) is not None and again.cseq > before.cseq,
        5,
        "we are registered again",
    )
    found = ours(kamailio, profile)
    assert found is not None
    return found


@pytest.mark.pain(3)
class TestRegEvent:
    def test_one_subscription_that_ends_with_the_registration(self, presence: Kamailio, add_alice: Add) -> None:
        profile = add_alice(presence, reg_event=True)
        state = subscribed(profile, presence)
        assert state["other_contacts"] == []
        (subscribe,) = subscribes(presence)
        assert subscribe == Subscribe(1, subscribe.call_id, False, 3600)  # the registration's nonce was good for it too
        profile.control("pause")
        profile.wait(status="unregistered")
        *_, last = subscribes(presence)
        assert (last.call_id, last.in_dialog, last.expires) == (subscribe.call_id, True, 0)
        assert presence.bindings(ALICE) == []

    @pytest.mark.pain(18)
    @pytest.mark.parametrize("command", ["ul.rm", "ul.rm_contact"])
    def test_what_an_operator_removes_is_registered_again_at_once(
        self, presence: Kamailio, add_alice: Add, command: str
    ) -> None:
        profile = add_alice(presence, reg_event=True)
        state = subscribed(profile, presence)
        before = ours(presence, profile)
        assert before is not None
        contact = (before.contact,) if command == "ul.rm_contact" else ()
        began = time.monotonic()
        presence.call(command, "location", ALICE.removeprefix("sip:"), *contact)
        again = back(presence, profile, before)
        assert time.monotonic() - began < 2
        assert (again.call_id, again.contact) == (before.call_id, before.contact)
        assert profile.wait(status="registered")["since"] > state["since"]
        time.sleep(QUIET)
        told = [row["text"] for row in profile.history() if row.get("code") == "deregistered_by_network"]
        assert "(unregistered)" in told[0]
        assert presence.register_log()[-1].cseq == again.cseq  # once

    def test_without_a_subscription_nobody_would_have_known(self, presence: Kamailio, add_alice: Add) -> None:
        profile = add_alice(presence)
        profile.wait(status="registered")
        presence.call("ul.rm", "location", ALICE.removeprefix("sip:"))
        time.sleep(QUIET)
        assert profile.state()["status"] == "registered"
        assert presence.bindings(ALICE) == []
        assert subscribes(presence) == []

    def test_another_device_is_seen_to_come_and_go(self, presence: Kamailio, add_alice: Add) -> None:
        profile = add_alice(presence, reg_event=True)
        subscribed(profile, presence)
        with RawClient(presence.port) as phone:
            assert phone.register().status == 401
            assert phone.register("secret").status == 200
            contact = phone.contact.strip("<>")
            profile.wait(other_contacts=[{"uri": contact, "instance": None}])
            assert {binding.contact for binding in presence.bindings(ALICE)} == {
                contact,
                profile.state()["registered_contact"],
            }
            assert phone.register("secret", expires=0).status == 200
        profile.wait(other_contacts=[])
        assert profile.state()["status"] == "registered"

    def test_a_device_that_removes_all_contacts(self, presence: Kamailio, add_alice: Add) -> None:
        profile = add_alice(presence, reg_event=True)
        subscribed(profile, presence)
        before = ours(presence, profile)
        assert before is not None
        with RawClient(presence.port) as phone:
            phone.register(contact="*", expires=0)
            assert phone.register("secret", contact="*", expires=0).status == 200
        back(presence, profile, before)
        profile.wait(status="registered")

    def test_a_large_document(self, presence: Kamailio, add_alice: Add) -> None:
        """Five devices with long contacts: 2 kB of XML, all of them shown."""
        profile = add_alice(presence, reg_event=True)
        subscribed(profile, presence)
        with contextlib.ExitStack() as phones:
            for number in range(4):
                phone = phones.enter_context(RawClient(presence.port))
                contact = f"<sip:alice@127.0.0.1:{phone.port};phone={number};long={'x' * 180}>"
                assert phone.register(contact=contact).status == 401
                assert phone.register("secret", contact=contact).status == 200
                seen = number + 1  # one after the other: Kamailio's database is locked while it writes
                profile.wait_until(lambda state, seen=seen: len(state["other_contacts"]) == seen, f"phone {number}")

    def test_a_restart_subscribes_anew(self, presence: Kamailio, own_daemon: RunningService) -> None:
        profile = StoredProfile(own_daemon, alice(presence, reg_event=True))
        subscribed(profile, presence)
        own_daemon.kill()
        own_daemon.start()
        presence.wait_until(lambda: len(subscribes(presence)) == 2, 15, "another SUBSCRIBE")
        first, second = subscribes(presence)
        assert first.call_id != second.call_id
        assert not second.in_dialog
        profile.wait(status="registered", reg_event_state="active")

    def test_a_registrar_without_it(self, kamailio: Kamailio, add_alice: Add) -> None:
        profile = add_alice(kamailio, reg_event=True)
        assert profile.wait(status="registered", reg_event_state="unsupported")["last_error"] is None


@pytest.mark.pain(3)
class TestReachable:
    def step(self, profile: StoredProfile) -> dict[str, Any]:
        """The last step of an explanation."""
        steps = profile.test()
        assert steps[-1]["step"] == "reachable", steps
        return steps[-1]

    def test_an_options_to_ourselves_arrives(self, presence: Kamailio, add_alice: Add) -> None:
        profile = add_alice(presence)
        profile.wait(status="registered")
        assert self.step(profile)["ok"] is True
        ((_, method, uri, _),) = presence.marked("FORWARDED|", 4)
        assert method == "OPTIONS"
        assert uri == profile.state()["registered_contact"]
        assert profile.state()["reachable"] is True

    def test_a_contact_removed_behind_our_back(self, presence: Kamailio, add_alice: Add) -> None:
        profile = add_alice(presence)
        profile.wait(status="registered")
        presence.call("ul.rm", "location", ALICE.removeprefix("sip:"))
        assert profile.state()["status"] == "registered"
        found = self.step(profile)
        assert (found["ok"], "480" in found["detail"]) == (False, True)
        assert "After another REGISTER" in found["detail"]
        assert len(presence.bindings(ALICE)) == 1
        assert self.step(profile)["ok"] is True

    def test_a_registrar_that_answers_itself_proves_nothing(self, kamailio: Kamailio, add_alice: Add) -> None:
        profile = add_alice(kamailio)
        profile.wait(status="registered")
        assert self.step(profile)["detail"].startswith("Not known")
        assert profile.state()["reachable"] is None
