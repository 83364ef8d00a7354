"""The real daemon, real programs and a real registrar: what is promised is looked up at Kamailio, not at ourselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from running_service import RunningService

from .application import Application
from .kamailio import Binding, Kamailio, Registered
from .raw_client import RawClient
from .stored_profile import StoredProfile, alice

ALICE = "sip:alice@example.test"
SHORT_LEASE = 4  # seconds that Kamailio grants where a refresh is waited for; it comes after 2 to 2.4 s
QUIET = 0.5  # seconds of silence after which nothing more is expected on the wire

Start = Callable[..., Kamailio]
Add = Callable[..., StoredProfile]
StartApplication = Callable[[RunningService, str], Application]


def registers(kamailio: Kamailio) -> list[Registered]:
    """Every REGISTER of Alice, retransmissions left out."""
    seen: dict[tuple[str, int], Registered] = {}
    for register in kamailio.register_log():
        if register.aor == ALICE:
            seen.setdefault((register.call_id, register.cseq), register)
    return list(seen.values())


def verdicts(kamailio: Kamailio) -> list[int]:
    return [register.verdict for register in registers(kamailio)]


def the_binding(kamailio: Kamailio) -> Binding:
    """Alice's only binding."""
    (binding,) = kamailio.bindings(ALICE)
    return binding


def wait_for_binding(kamailio: Kamailio, limit: float = 10.0) -> Binding:
    kamailio.wait_until(lambda: bool(kamailio.bindings(ALICE)), limit, "Alice has a binding")
    return the_binding(kamailio)


def wait_until_gone(kamailio: Kamailio, limit: float = 5.0) -> None:
    kamailio.wait_until(lambda: not kamailio.bindings(ALICE), limit, "Alice has no binding")


def wait_for_registers(kamailio: Kamailio, count: int, limit: float = 10.0) -> list[Registered]:
    kamailio.wait_until(lambda: len(registers(kamailio)) >= count, limit, f"{count} REGISTER requests")
    return registers(kamailio)


def stays_silent(kamailio: Kamailio, seconds: float = QUIET) -> bool:
    """Whether no REGISTER comes for a while."""
    before = len(kamailio.register_log())
    time.sleep(seconds)
    return len(kamailio.register_log()) == before


class TestSharing:
    """One profile, one registration, many programs."""

    def test_two_programs_have_one_binding(
        self, kamailio: Kamailio, daemon: RunningService, add_alice: Add, start_application: StartApplication
    ) -> None:
        profile = add_alice(kamailio, register="on-demand", linger_lost=1)
        programs = [start_application(daemon, "alice") for _ in range(2)]
        for program in programs:
            program.wait_for("ready", limit=30)
        assert registers(kamailio) == []
        for program in programs:
            program.tell("enable")
        for program in programs:
            assert program.wait_for("registered")["status"] == "registered"
            program.wait_for("done")
        assert profile.state()["users"] == 2
        binding = the_binding(kamailio)
        assert verdicts(kamailio) == [-5, 1]

        killed, last = programs
        killed.kill()
        profile.wait(users=1)
        assert stays_silent(kamailio)
        assert the_binding(kamailio).call_id == binding.call_id
        assert profile.state()["status"] == "registered"

        last.tell("disable")
        assert last.wait_for("deregistered")["status"] == "unregistered"
        assert kamailio.bindings(ALICE) == []
        assert verdicts(kamailio) == [-5, 1, 1]
        assert registers(kamailio)[-1].expires == "0"

    def test_a_lost_program_is_a_user_until_linger_lost_is_over(
        self, kamailio: Kamailio, daemon: RunningService, add_alice: Add, start_application: StartApplication
    ) -> None:
        add_alice(kamailio, register="on-demand", linger_lost=1)
        program = start_application(daemon, "alice")
        program.tell("enable")
        program.wait_for("registered", limit=30)
        program.kill()
        killed_at = time.time()
        wait_until_gone(kamailio)
        assert registers(kamailio)[-1].expires == "0"
        assert registers(kamailio)[-1].at - killed_at > 0.9


class TestRefresh:
    """RFC 3261 §10.2.4, RFC 7616 §3.4."""

    def test_reuses_the_nonce_in_one_round_trip(self, start_kamailio: Start, add_alice: Add) -> None:
        kamailio = start_kamailio(max_expires=SHORT_LEASE)
        profile = add_alice(kamailio, expires=10)
        _, first, refresh = wait_for_registers(kamailio, 3)
        assert verdicts(kamailio) == [-5, 1, 1]
        assert (refresh.call_id, refresh.contact, refresh.cseq) == (first.call_id, first.contact, first.cseq + 1)
        assert SHORT_LEASE * 0.5 - 0.1 < refresh.at - first.at < SHORT_LEASE * 0.6 + 0.5
        assert profile.state()["expires_granted"] == SHORT_LEASE
        assert the_binding(kamailio).cseq == refresh.cseq

    @pytest.mark.pain(4)
    @pytest.mark.parametrize("say_stale", [False, True])
    def test_an_expired_nonce_costs_one_more(self, start_kamailio: Start, add_alice: Add, say_stale: bool) -> None:
        kamailio = start_kamailio(max_expires=SHORT_LEASE, nonce_expire=1, say_stale=say_stale)
        profile = add_alice(kamailio)
        since = profile.wait(status="registered")["since"]
        wait_for_registers(kamailio, 4)
        assert verdicts(kamailio) == [-5, 1, -4, 1]
        assert profile.wait(status="registered", reason="none")["since"] == since


class TestRefusedCredentials:
    @pytest.mark.pain(5)
    def test_no_third_attempt_until_the_secret_is_corrected(self, kamailio: Kamailio, add_alice: Add) -> None:
        profile = add_alice(kamailio, registrar={"password": "guess"})
        profile.wait(reason="credentials_needed")
        assert verdicts(kamailio) == [-5, -2, -5, -2]
        assert stays_silent(kamailio, 2.5)  # the back-off would be over after 2 s
        assert profile.wait(reason="credentials_needed", status="unregistered")["next_try"] > time.time() + 60

        profile.patch(registrar={"uri": kamailio.uri, "username": "alice", "password": "secret"})
        wait_for_binding(kamailio, 2)
        assert verdicts(kamailio)[4:] == [-5, 1]
        profile.wait(status="registered")

    def test_an_operator_may_try_again(self, kamailio: Kamailio, add_alice: Add) -> None:
        profile = add_alice(kamailio, registrar={"password": "later"})
        profile.wait(reason="credentials_needed")
        kamailio.set_password("alice", "later")
        assert stays_silent(kamailio)
        profile.control("retry-now")
        wait_for_binding(kamailio, 2)

    def test_a_password_that_is_changed_at_the_registrar(self, start_kamailio: Start, add_alice: Add) -> None:
        kamailio = start_kamailio(max_expires=SHORT_LEASE)
        profile = add_alice(kamailio)
        profile.wait(status="registered")
        kamailio.set_password("alice", "another")
        state = profile.wait(reason="credentials_needed")
        assert state["status"] == "unregistered"
        # The refresh meets a new nonce, answers it and is refused; so is one attempt more.
        assert verdicts(kamailio) == [-5, 1, -2, -2, -5, -2]


class TestSettingsOfTheRegistrar:
    def test_423(self, start_kamailio: Start, add_alice: Add) -> None:
        """RFC 3261 §10.2.8."""
        kamailio = start_kamailio(min_expires=60)
        profile = add_alice(kamailio, expires=20)
        profile.wait(status="registered")
        kamailio.wait_until(lambda: len(kamailio.answer_log()) == 3, 5, "every answer is in the log")
        assert [answer.status for answer in kamailio.answer_log()] == [401, 423, 200]
        assert [register.expires for register in registers(kamailio)] == ["20", "20", "60"]
        assert verdicts(kamailio) == [-5, 1, 1]
        assert 55 <= the_binding(kamailio).expires <= 60
        assert profile.state()["expires_granted"] == 60

    def test_challenge_without_qop(self, start_kamailio: Start, add_alice: Add) -> None:
        """RFC 2069: neither cnonce nor nonce count; the nonce is reused all the same."""
        kamailio = start_kamailio(qop=False, max_expires=SHORT_LEASE)
        add_alice(kamailio)
        wait_for_registers(kamailio, 3)
        assert verdicts(kamailio) == [-5, 1, 1]

    def test_tcp(self, start_kamailio: Start, add_alice: Add) -> None:
        kamailio = start_kamailio(max_expires=SHORT_LEASE)
        profile = add_alice(kamailio, registrar={"uri": f"{kamailio.uri};transport=tcp"})
        wait_for_registers(kamailio, 3)
        assert verdicts(kamailio) == [-5, 1, 1]
        assert {register.transport for register in registers(kamailio)} == {"tcp"}
        assert len({register.source for register in registers(kamailio)}) == 1
        assert the_binding(kamailio).contact.endswith(";transport=tcp")
        profile.control("pause")
        wait_until_gone(kamailio)

    def test_outbound_proxy(self, kamailio: Kamailio, add_alice: Add) -> None:
        """RFC 3261 §8.1.2: the request goes to the proxy; the registrar's own name has no address."""
        server = {"uri": f"sip:{kamailio.host}:{kamailio.port};lr", "username": "alice", "password": "secret"}
        profile = add_alice(kamailio, registrar={"uri": "sip:example.test"}, proxies=[server])
        wait_for_binding(kamailio)
        assert verdicts(kamailio) == [-5, 1]
        assert profile.wait(status="registered")["target"] == f"udp:{kamailio.host}:{kamailio.port}"


class TestRegistrarTrouble:
    def test_a_restart_loses_the_binding_until_the_next_refresh(self, start_kamailio: Start, add_alice: Add) -> None:
        kamailio = start_kamailio(max_expires=6)  # a refresh comes after 3 to 3.6 s
        profile = add_alice(kamailio)
        profile.wait(status="registered")
        before = the_binding(kamailio)
        kamailio.restart()
        assert kamailio.bindings(ALICE) == []
        after = wait_for_binding(kamailio, 4)
        assert (after.contact, after.call_id) == (before.contact, before.call_id)
        assert after.cseq > before.cseq
        assert verdicts(kamailio) in ([-5, 1, -1, 1], [-5, 1, -4, 1])  # the nonce was the old Kamailio's

    @pytest.mark.pain(1)
    def test_down_at_first(self, kamailio: Kamailio, add_alice: Add) -> None:
        """A canary finds out that it is there."""
        kamailio.stop()
        profile = add_alice(kamailio)
        state = profile.wait(reason="transport_refused")
        assert state["next_try"] < time.time() + 4
        kamailio.start()
        wait_for_binding(kamailio, 3)
        profile.wait(status="registered", reason="none")

    @pytest.mark.pain(25)
    def test_503_to_one_user_does_not_stop_another(self, start_kamailio: Start, add_alice: Add) -> None:
        """A registrar that answers one user with 503 may be down for everybody; a canary finds out that it is not."""
        kamailio = start_kamailio(max_contacts=1, users={"alice": "secret", "bob": "secret"})
        with RawClient(kamailio.port) as phone:
            phone.register()
            assert phone.register("secret").status == 200
        refused = add_alice(kamailio)
        state = refused.wait(reason="response")
        assert state["reason"]["status_code"] == 503
        bob = add_alice(kamailio, name="bob", aor=kamailio.aor("bob"), registrar={"username": "bob"})
        bob.wait(status="registered", limit=20)
        assert len(kamailio.bindings(kamailio.aor("bob"))) == 1
        assert refused.state()["reason"]["status_code"] == 503


class TestServiceEnds:
    """SIGTERM and a crash keep what is registered, SIGINT and `stop --deregister` give it back."""

    @pytest.fixture
    def profile(self, start_kamailio: Start, own_daemon: RunningService) -> StoredProfile:
        self.kamailio = start_kamailio(max_expires=12)  # a refresh comes after 6 s at the earliest
        profile = StoredProfile(own_daemon, alice(self.kamailio))
        profile.wait(status="registered")
        return profile

    @pytest.mark.pain(19)
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_restart_goes_on_without_a_register(
        self, own_daemon: RunningService, profile: StoredProfile, number: signal.Signals
    ) -> None:
        kamailio = self.kamailio
        before = profile.state()
        binding = the_binding(kamailio)
        time.sleep(0.2)  # a lease is on disk 50 ms after its grant
        own_daemon.stop(number)
        own_daemon.start()
        after = profile.state()
        assert after["status"] == "registered"
        for name in ("refresh_at", "lease_ends", "since"):
            assert after[name] == pytest.approx(before[name], abs=0.05)
        assert after["registered_contact"] == before["registered_contact"]
        assert verdicts(kamailio) == [-5, 1]
        assert the_binding(kamailio).cseq == binding.cseq

        refresh = wait_for_registers(kamailio, 3)[2]
        assert refresh.at >= before["refresh_at"] - 0.1
        assert refresh.call_id == binding.call_id
        assert refresh.cseq > binding.cseq
        kamailio.wait_until(lambda: the_binding(kamailio).cseq > binding.cseq, 5, "the refresh is accepted")
        assert the_binding(kamailio).contact == binding.contact

    def test_a_broken_connection_is_made_anew(self, kamailio: Kamailio, own_daemon: RunningService) -> None:
        """Over TCP nobody reaches a new process through the old connection: it registers at once."""
        uri = f"{kamailio.uri};transport=tcp"
        profile = StoredProfile(own_daemon, alice(kamailio, registrar={"uri": uri}))
        profile.wait(status="registered")
        before = the_binding(kamailio)
        time.sleep(0.2)
        own_daemon.kill()
        own_daemon.start()
        state = profile.wait(status="registered")
        after = the_binding(kamailio)
        assert (after.contact, after.call_id) == (state["registered_contact"], before.call_id)
        assert after.cseq > before.cseq
        assert registers(kamailio)[-1].source.rpartition(":")[2] in after.contact

    def test_sigint(self, own_daemon: RunningService, profile: StoredProfile) -> None:
        assert own_daemon.stop(signal.SIGINT) == 0
        assert self.kamailio.bindings(ALICE) == []
        assert verdicts(self.kamailio) == [-5, 1, 1]
        own_daemon.start()  # what is always registered is so from the start
        wait_for_binding(self.kamailio)
        profile.wait(status="registered")

    def test_stop_deregister(self, own_daemon: RunningService, profile: StoredProfile) -> None:
        command = [sys.executable, "-m", "sipprofile.cli.main", "stop", "--deregister"]
        environment = {**os.environ, "SIPPROFILE_URL": own_daemon.url}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=30)
        assert own_daemon.wait() == 0
        assert self.kamailio.bindings(ALICE) == []
        assert verdicts(self.kamailio) == [-5, 1, 1]

    def test_programs_go_on_with_a_restarted_service(
        self, kamailio: Kamailio, own_daemon: RunningService, start_application: StartApplication
    ) -> None:
        profile = StoredProfile(own_daemon, alice(kamailio, register="on-demand"))
        program = start_application(own_daemon, "alice")
        program.tell("enable")
        program.wait_for("registered", limit=30)
        time.sleep(0.2)
        own_daemon.kill()
        program.wait_for("service_gone")
        own_daemon.configuration = own_daemon.configuration.replace("resume_grace = 2", "resume_grace = 6")
        own_daemon.start()
        program.wait_for("service_back", limit=15)
        assert profile.wait(users=1)["status"] == "registered"
        assert stays_silent(kamailio, 6.2)  # resume_grace is over
        assert verdicts(kamailio) == [-5, 1]
        program.tell("disable")
        wait_until_gone(kamailio)

    def test_a_lease_nobody_comes_back_to_is_given_back(
        self, kamailio: Kamailio, own_daemon: RunningService, start_application: StartApplication
    ) -> None:
        profile = StoredProfile(own_daemon, alice(kamailio, register="on-demand"))
        program = start_application(own_daemon, "alice")
        program.tell("enable")
        program.wait_for("registered", limit=30)
        assert own_daemon.stop() == 0
        program.kill()
        own_daemon.start()
        assert profile.state()["status"] == "registered"
        assert verdicts(kamailio) == [-5, 1]
        wait_until_gone(kamailio)
        assert registers(kamailio)[-1].expires == "0"


class TestUpdate:
    """A change of a registered profile puts on the wire what it must, and nothing else."""

    @pytest.fixture
    def profile(self, kamailio: Kamailio, add_alice: Add) -> StoredProfile:
        profile = add_alice(kamailio)
        profile.wait(status="registered")
        return profile

    def test_contact_parameters_cost_one_register(self, kamailio: Kamailio, profile: StoredProfile) -> None:
        before = the_binding(kamailio)
        profile.patch(contact_params=["audio", "q=0.5"])
        register = wait_for_registers(kamailio, 3)[2]
        assert (register.verdict, register.call_id) == (1, before.call_id)
        assert ";audio" in register.contact
        assert ";q=0.5" in register.contact
        assert stays_silent(kamailio)
        assert verdicts(kamailio) == [-5, 1, 1]
        assert the_binding(kamailio).contact == before.contact

    @pytest.mark.pain(17)
    def test_names_labels_and_credentials_cost_nothing(self, kamailio: Kamailio, profile: StoredProfile) -> None:
        profile.patch(name="renamed", provider_name="Example", labels={"site": "lab"}, linger=3)
        profile.patch(registrar={"uri": kamailio.uri, "username": "alice", "password": "another"})
        assert stays_silent(kamailio)
        assert profile.state()["status"] == "registered"
        assert verdicts(kamailio) == [-5, 1]

    def test_another_aor_is_registered_before_the_old_one_goes(
        self, kamailio: Kamailio, profile: StoredProfile
    ) -> None:
        kamailio.set_password("bob", "builder")
        bob = kamailio.aor("bob")
        profile.patch(aor=bob, registrar={"uri": kamailio.uri, "username": "bob", "password": "builder"})
        wait_until_gone(kamailio)
        assert len(kamailio.bindings(bob)) == 1
        accepted = [(register.aor, register.expires) for register in kamailio.register_log() if register.authorized]
        assert accepted == [(ALICE, "3600"), (bob, "3600"), (ALICE, "0")]

    @pytest.mark.parametrize(
        "changes", [{"contact_user": "reception"}, {"contact_uri": "sip:reception@sbc.example.test"}, {"dscp": 40}]
    )
    def test_another_contact_replaces_the_old_one(
        self, kamailio: Kamailio, profile: StoredProfile, changes: dict[str, object]
    ) -> None:
        before = the_binding(kamailio)
        profile.patch(**changes)
        wait_for_registers(kamailio, 3)
        kamailio.wait_until(  # a contact elsewhere has no reg-id: for a moment both are there
            lambda: [binding.cseq > before.cseq for binding in kamailio.bindings(ALICE)] == [True], 5, "one new contact"
        )
        assert (the_binding(kamailio).contact != before.contact) is ("dscp" not in changes)
        profile.wait(status="registered", registered_contact=the_binding(kamailio).contact, last_error=None)
        assert stays_silent(kamailio)
        # A contact elsewhere has no reg-id: for Kamailio it is another binding, so the old one is removed.
        removal = [1] if "contact_uri" in changes else []
        assert verdicts(kamailio) == [-5, 1, 1, *removal]

    def test_another_contact_user_where_only_one_contact_is_allowed(
        self, start_kamailio: Start, add_alice: Add
    ) -> None:
        """Kamailio knows the instance, so the second contact is no second one."""
        kamailio = start_kamailio(max_contacts=1)
        profile = add_alice(kamailio)
        profile.wait(status="registered")
        profile.patch(contact_user="reception")
        kamailio.wait_until(lambda: "sip:reception@" in str(kamailio.bindings(ALICE)), 10, "the new contact is there")
        assert the_binding(kamailio).contact.startswith("sip:reception@")
        profile.wait(status="registered", registered_contact=the_binding(kamailio).contact, last_error=None)
        assert verdicts(kamailio) == [-5, 1, 1]

    @pytest.mark.parametrize("uri", ["sip:localhost:{}", "sip:127.0.0.1:{};transport=tcp"])
    def test_the_same_registrar_under_another_uri(self, kamailio: Kamailio, profile: StoredProfile, uri: str) -> None:
        """The new binding is made first, the old one removed then; for the registrar they are the same one."""
        registrar = {"uri": uri.format(kamailio.port), "username": "alice", "password": "secret"}
        profile.patch(registrar=registrar)
        wait_for_registers(kamailio, 4)
        stays_silent(kamailio)
        state = profile.wait(status="registered")
        assert the_binding(kamailio).contact == state["registered_contact"]


class TestLife:
    def test_remove(self, kamailio: Kamailio, add_alice: Add) -> None:
        profile = add_alice(kamailio)
        wait_for_binding(kamailio)
        assert profile.remove() == 204
        wait_until_gone(kamailio)
        assert registers(kamailio)[-1].expires == "0"

    def test_force_disable(
        self, kamailio: Kamailio, daemon: RunningService, add_alice: Add, start_application: StartApplication
    ) -> None:
        profile = add_alice(kamailio, register="on-demand")
        program = start_application(daemon, "alice")
        program.tell("enable")
        program.wait_for("registered", limit=30)
        profile.control("force-disable")
        program.wait_for("forcibly_disabled")
        state = profile.wait(status="unregistered", reason="forcibly_disabled", held="forcibly_disabled")
        assert state.get("users", 0) == 0
        assert stays_silent(kamailio)
        assert verdicts(kamailio) == [-5, 1]
        assert len(kamailio.bindings(ALICE)) == 1

        program.tell("enable")
        program.wait_for("registered", count=2)
        assert len(kamailio.bindings(ALICE)) == 1

    def test_pause_and_resume(self, kamailio: Kamailio, add_alice: Add) -> None:
        profile = add_alice(kamailio)
        wait_for_binding(kamailio)
        profile.control("pause")
        wait_until_gone(kamailio)
        profile.wait(status="unregistered", reason="paused", held="paused")
        profile.control("resume")
        wait_for_binding(kamailio)
        profile.wait(status="registered")


class TestIncoming:
    """Requests to the registered contact, while nobody takes them."""

    @pytest.fixture
    def caller(self, kamailio: Kamailio, add_alice: Add) -> RawClient:
        add_alice(kamailio).wait(status="registered")
        contact = the_binding(kamailio).contact
        caller = RawClient(int(contact.rpartition(":")[2]), "bob")
        caller.uri = contact
        return caller

    def test_options(self, caller: RawClient) -> None:
        """RFC 3261 §11.2."""
        with caller:
            assert caller.request("OPTIONS").status == 200

    def test_invite(self, caller: RawClient) -> None:
        """RFC 3261 §21.4.18: reachable, but nobody is there now."""
        with caller:
            assert caller.request("INVITE", ("Contact", caller.contact)).status == 480
