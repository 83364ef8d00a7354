"""A soft phone of somebody else at the same registrar: neither it nor we are in each other's way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .baresip import Baresip
from .conftest import require
from .kamailio import Binding, Kamailio
from .stored_profile import StoredProfile

ALICE = "sip:alice@example.test"
QUIET = 0.5  # seconds of silence after which nothing more is expected on the wire

Start = Callable[..., Kamailio]
StartBaresip = Callable[..., Baresip]
Add = Callable[..., StoredProfile]


@pytest.fixture
def start_baresip(tmp_path: Path) -> Iterator[StartBaresip]:
    """Starts a phone of a user at a Kamailio; it ends with the test."""
    require(Baresip.program(), "baresip", "baresip-core")
    with ExitStack() as running:

        def start(kamailio: Kamailio, user: str, *, expires: int = 60, correspondent: str = "") -> Baresip:
            directory = tmp_path / f"baresip-{len(list(tmp_path.iterdir()))}"
            phone = Baresip(directory, kamailio, user, expires=expires, correspondent=correspondent)
            return running.enter_context(phone)

        yield start


def theirs(kamailio: Kamailio) -> list[Binding]:
    """What baresip has registered as Alice, by Kamailio's view."""
    return [binding for binding in kamailio.bindings(ALICE) if binding.user_agent.startswith("baresip")]


def ours(kamailio: Kamailio) -> list[Binding]:
    """What anybody else has."""
    return [binding for binding in kamailio.bindings(ALICE) if not binding.user_agent.startswith("baresip")]


def wait_for_both(kamailio: Kamailio) -> tuple[Binding, Binding]:
    """Our binding and the phone's."""
    kamailio.wait_until(lambda: bool(ours(kamailio) and theirs(kamailio)), 10.0, "both have a binding")
    (our,), (their,) = ours(kamailio), theirs(kamailio)
    return our, their


def same(before: Binding, after: list[Binding]) -> bool:
    """Whether `before` is all there is, and no REGISTER has touched it since."""
    return [(one.contact, one.call_id, one.cseq) for one in after] == [(before.contact, before.call_id, before.cseq)]


def requests(kamailio: Kamailio, binding: Binding) -> int:
    """How many REGISTER requests with the Call-ID of `binding` Kamailio has seen."""
    return sum(register.call_id == binding.call_id for register in kamailio.register_log())


class TestTwoDevicesOfOneUser:
    """RFC 3261 §10.2.1: each contact of an address-of-record has a lease of its own."""

    @pytest.mark.pain(6)
    @pytest.mark.parametrize(("our_expires", "their_expires"), [(10, 3600), (3600, 6)])
    @pytest.mark.parametrize("phone_first", [True, False])
    def test_our_lease_is_that_of_our_contact(
        self,
        kamailio: Kamailio,
        add_alice: Add,
        start_baresip: StartBaresip,
        our_expires: int,
        their_expires: int,
        phone_first: bool,
    ) -> None:
        if phone_first:
            start_baresip(kamailio, "alice", expires=their_expires)
            kamailio.wait_until(lambda: bool(theirs(kamailio)), 5.0, "the phone is registered")
        profile = add_alice(kamailio, expires=our_expires)
        profile.wait(status="registered")
        if not phone_first:
            start_baresip(kamailio, "alice", expires=their_expires)
            first, _ = wait_for_both(kamailio)
            profile.patch(contact_params=["x=1"])  # one more REGISTER of ours, whose answer lists both
            kamailio.wait_until(lambda: ours(kamailio)[0].cseq > first.cseq, 5.0, "our refresh")
            profile.wait(status="registered")
        our, their = wait_for_both(kamailio)
        assert our_expires - 3 <= our.expires <= our_expires
        assert their_expires - 3 <= their.expires <= their_expires

        state = profile.state()
        assert state["expires_granted"] == our_expires
        assert our_expires - 5 < state["lease_ends"] - time.time() <= our_expires
        since = state["since"]

        # Whoever has the short lease refreshes it, on a Call-ID of its own, and the other one does nothing.
        short, long = (our, their) if our_expires < their_expires else (their, our)
        count = requests(kamailio, short)
        kamailio.wait_until(lambda: requests(kamailio, short) > count, 12.0, "a refresh of the short lease")
        time.sleep(QUIET)
        our_now, their_now = wait_for_both(kamailio)
        short_now, long_now = (our_now, their_now) if short is our else (their_now, our_now)
        assert same(long, [long_now])
        assert (short_now.contact, short_now.call_id) == (short.contact, short.call_id)
        assert short_now.cseq > short.cseq
        state = profile.state()
        assert (state["status"], state["since"]) == ("registered", since)
        assert state["expires_granted"] == our_expires

    def test_what_we_end_is_only_ours(self, kamailio: Kamailio, add_alice: Add, start_baresip: StartBaresip) -> None:
        start_baresip(kamailio, "alice", expires=3600)
        profile = add_alice(kamailio)
        our, their = wait_for_both(kamailio)

        profile.control("pause")
        profile.wait(status="unregistered", reason="paused")
        assert ours(kamailio) == []
        assert same(their, theirs(kamailio))

        profile.control("resume")
        our, their_now = wait_for_both(kamailio)
        assert same(their, [their_now])

        profile.control("force-disable")
        profile.wait(status="unregistered", reason="forcibly_disabled")
        time.sleep(QUIET)
        assert same(our, ours(kamailio))
        assert same(their, theirs(kamailio))

        assert profile.remove() == 204
        time.sleep(QUIET)
        assert same(their, theirs(kamailio))

    def test_removing_the_profile_leaves_the_phone(
        self, kamailio: Kamailio, add_alice: Add, start_baresip: StartBaresip
    ) -> None:
        start_baresip(kamailio, "alice", expires=3600)
        profile = add_alice(kamailio)
        _, their = wait_for_both(kamailio)
        assert profile.remove() == 204
        kamailio.wait_until(lambda: not ours(kamailio), 5.0, "our binding is removed")
        assert same(their, theirs(kamailio))

    def test_a_phone_that_comes_and_goes_moves_nothing(
        self, kamailio: Kamailio, add_alice: Add, start_baresip: StartBaresip
    ) -> None:
        profile = add_alice(kamailio)
        profile.wait(status="registered")
        phone = start_baresip(kamailio, "alice", expires=3600)
        our, first = wait_for_both(kamailio)
        before = profile.state()

        phone.stop()  # it de-registers
        kamailio.wait_until(lambda: not theirs(kamailio), 5.0, "the phone has given its binding back")
        assert same(our, ours(kamailio))

        phone.start()
        _, second = wait_for_both(kamailio)
        phone.kill()  # its binding stays behind, and beside it comes the one of the next start
        assert same(second, theirs(kamailio))
        phone.start()
        kamailio.wait_until(lambda: len(theirs(kamailio)) == 2, 5.0, "the phone is there once more")
        time.sleep(QUIET)
        assert same(our, ours(kamailio))
        assert requests(kamailio, our) == 2  # the challenge and the answer, long ago
        assert profile.state() == before
        assert first.call_id != second.call_id


class TestWhatAPhoneGetsFromUs:
    """RFC 3261 §8.2, §11.2, §21.4.18: the requests of another user come to our contact, and nobody is there."""

    @pytest.fixture
    def proxy(self, start_kamailio: Start) -> Kamailio:
        return start_kamailio(users={"alice": "secret", "bob": "another"}, forwards=True)

    def test_options_message_and_a_call(self, proxy: Kamailio, add_alice: Add, start_baresip: StartBaresip) -> None:
        profile = add_alice(proxy)
        profile.wait(status="registered")
        (binding,) = proxy.bindings(ALICE)
        phone = start_baresip(proxy, "bob", correspondent=ALICE)
        proxy.wait_until(lambda: bool(proxy.bindings("sip:bob@example.test")), 5.0, "Bob is registered")

        answer = phone.options(ALICE)
        assert (answer.status, answer.reason) == (200, "OK")
        assert {"INVITE", "MESSAGE", "OPTIONS"} <= set((answer.header("Allow") or "").split(", "))
        assert answer.header("Server") != "kamailio"
        assert phone.message("are you there?").status == 480
        call = phone.dial(ALICE)
        assert (call.status, call.reason) == (480, "Temporarily Unavailable")

        proxy.wait_until(lambda: all(one.status for one in proxy.forward_log()), 5.0, "every request is answered")
        assert [(one.method, one.contact, one.status) for one in proxy.forward_log()] == [
            ("OPTIONS", binding.contact, 200),
            ("MESSAGE", binding.contact, 480),
            ("INVITE", binding.contact, 480),
        ]
        assert same(binding, proxy.bindings(ALICE))
        assert profile.state()["status"] == "registered"

    def test_nothing_comes_while_it_is_paused(
        self, proxy: Kamailio, add_alice: Add, start_baresip: StartBaresip
    ) -> None:
        profile = add_alice(proxy)
        profile.wait(status="registered")
        phone = start_baresip(proxy, "bob", correspondent=ALICE)
        assert phone.options(ALICE).status == 200
        profile.control("pause")
        profile.wait(status="unregistered", reason="paused")
        assert phone.options(ALICE).status == 480
        assert [one.method for one in proxy.forward_log()] == ["OPTIONS"]
