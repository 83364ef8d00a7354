"""The counterparts keep what the other tests rely on: proven with a client that has no logic of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .capture import Capture
from .kamailio import Kamailio, RpcError
from .raw_client import RawClient
from .sipp import Sipp

SIPP_KEYS = {"realm": "example.test", "username": "alice", "password": "secret", "expires": "8"}


@pytest.fixture
def alice(kamailio: Kamailio) -> Iterator[RawClient]:
    with RawClient(kamailio.port) as client:
        yield client


class TestKamailioRegistrar:
    """RFC 3261 §10.3."""

    def test_registers_refreshes_and_removes(self, kamailio: Kamailio, alice: RawClient) -> None:
        assert kamailio.bindings(alice.aor) == []
        assert alice.register().status == 401
        assert kamailio.bindings(alice.aor) == []
        assert alice.register("secret", expires=300).status == 200
        first = kamailio.bindings(alice.aor)
        assert [(b.contact, b.call_id, b.cseq) for b in first] == [(alice.contact.strip("<>"), alice.call_id, 2)]
        assert 298 <= first[0].expires <= 300
        assert alice.register("secret", expires=600).status == 200
        (second,) = kamailio.bindings(alice.aor)
        assert (second.cseq, second.contact) == (3, first[0].contact)
        assert second.expires > 590
        assert list(kamailio.location()) == ["alice@example.test"]
        assert alice.register("secret", expires=0).status == 200
        assert kamailio.bindings(alice.aor) == []
        assert kamailio.location() == {}

    def test_registers_over_tcp(self, kamailio: Kamailio) -> None:
        with RawClient(kamailio.port, transport="TCP") as client:
            assert client.register().status == 401
            assert client.register("secret").status == 200
            assert len(kamailio.bindings(client.aor)) == 1
        assert [seen.transport for seen in kamailio.register_log()] == ["tcp", "tcp"]

    def test_grants_no_more_than_the_maximum(self, start_kamailio: Callable[..., Kamailio]) -> None:
        kamailio = start_kamailio(max_expires=20)
        with RawClient(kamailio.port) as client:
            client.register()
            answer = client.register("secret", expires=3600)
            assert (answer.header("contact") or "").endswith(";expires=20")

    def test_forgets_a_binding_at_its_end(self, start_kamailio: Callable[..., Kamailio]) -> None:
        kamailio = start_kamailio(max_expires=1)
        with RawClient(kamailio.port) as client:
            client.register()
            client.register("secret")
            assert len(kamailio.bindings(client.aor)) == 1
            kamailio.wait_until(lambda: kamailio.bindings(client.aor) == [], 5, "the binding lapsed")

    def test_refuses_a_short_interval(self, start_kamailio: Callable[..., Kamailio]) -> None:
        kamailio = start_kamailio(min_expires=60)
        with RawClient(kamailio.port) as client:
            client.register()
            answer = client.register("secret", expires=59)
            assert (answer.status, answer.header("min-expires")) == (423, "60")
            assert kamailio.bindings(client.aor) == []
            assert client.register("secret", expires=60).status == 200
            assert client.register("secret", expires=0).status == 200

    def test_refuses_one_contact_too_many(self, start_kamailio: Callable[..., Kamailio]) -> None:
        kamailio = start_kamailio(max_contacts=1)
        with RawClient(kamailio.port) as client:
            client.register()
            assert client.register("secret").status == 200
            assert client.register("secret", contact="<sip:alice@127.0.0.1:9>").status == 503
            assert len(kamailio.bindings(client.aor)) == 1

    def test_refuses_a_cseq_that_goes_back(self, kamailio: Kamailio, alice: RawClient) -> None:
        alice.cseq = 10
        alice.register()
        assert alice.register("secret").status == 200
        alice.cseq = 5
        assert alice.register("secret").status == 400
        assert [binding.cseq for binding in kamailio.bindings(alice.aor)] == [12]

    def test_answers_options(self, alice: RawClient) -> None:
        assert alice.request("OPTIONS").status == 200


class TestKamailioDigest:
    """RFC 7616 and RFC 2617."""

    def test_a_wrong_password_is_challenged_again(self, kamailio: Kamailio, alice: RawClient) -> None:
        alice.register()
        assert alice.register("guess").status == 401
        assert alice.challenge is not None
        assert not alice.challenge.stale
        assert kamailio.bindings(alice.aor) == []
        assert [seen.verdict for seen in kamailio.register_log()] == [-5, -2]

    def test_an_unknown_user_is_challenged_again(self, kamailio: Kamailio) -> None:
        with RawClient(kamailio.port, "mallory") as client:
            client.register()
            assert client.register("secret").status == 401
        assert [seen.verdict for seen in kamailio.register_log()] == [-5, -3]

    def test_nobody_registers_for_another(self, kamailio: Kamailio) -> None:
        with RawClient(kamailio.port, "bob") as client:
            client.register()
            client.user = "alice"
            assert client.register("secret").status == 403

    def test_a_changed_password_counts_at_once(self, kamailio: Kamailio, alice: RawClient) -> None:
        alice.register()
        kamailio.set_password("alice", 'new "quoted" \\ one')
        assert alice.register("secret").status == 401
        assert alice.register('new "quoted" \\ one').status == 200

    def test_a_password_outlives_a_restart(self, kamailio: Kamailio, alice: RawClient) -> None:
        kamailio.set_password("alice", 'new "quoted" \\ one')
        kamailio.restart()
        alice.register()
        assert alice.register('new "quoted" \\ one').status == 200

    def test_challenges_without_qop(self, start_kamailio: Callable[..., Kamailio]) -> None:
        kamailio = start_kamailio(qop=False)
        with RawClient(kamailio.port) as client:
            client.register()
            assert client.challenge is not None
            assert client.challenge.qop == ()
            assert client.register("secret").status == 200
            assert client.register("secret").status == 200

    def test_a_nonce_count_is_used_once(self, alice: RawClient) -> None:
        alice.register()
        assert alice.challenge is not None
        assert alice.challenge.qop == ("auth",)
        assert alice.register("secret").status == 200
        alice.nonce_count = 0
        assert alice.register("secret").status == 401

    @pytest.mark.parametrize("say_stale", [False, True])
    def test_a_nonce_expires(self, start_kamailio: Callable[..., Kamailio], say_stale: bool) -> None:
        kamailio = start_kamailio(nonce_expire=1, say_stale=say_stale)
        with RawClient(kamailio.port) as client:
            client.register()
            kamailio.wait_until(lambda: client.register("secret").status == 401, 5, "the nonce expired")
            assert client.challenge is not None
            assert client.challenge.stale is say_stale
            assert client.register("secret").status == 200
        assert kamailio.register_log()[-2].verdict == -4


class TestKamailioControl:
    def test_a_restart_forgets_bindings_and_nonces(self, kamailio: Kamailio, alice: RawClient) -> None:
        alice.register()
        assert alice.register("secret").status == 200
        port = kamailio.port
        kamailio.restart()
        assert kamailio.port == port
        assert kamailio.bindings(alice.aor) == []
        assert alice.register("secret").status == 401
        assert alice.challenge is not None
        assert not alice.challenge.stale
        assert alice.register("secret").status == 200

    def test_a_restart_takes_other_settings(self, kamailio: Kamailio, alice: RawClient) -> None:
        kamailio.restart(max_expires=30)
        alice.register()
        answer = alice.register("secret", expires=300)
        assert (answer.header("contact") or "").endswith(";expires=30")

    def test_a_stopped_one_is_silent(self, kamailio: Kamailio, alice: RawClient) -> None:
        kamailio.stop()
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            alice.register()
        kamailio.start()

    def test_logs_every_register_before_its_answer(self, kamailio: Kamailio, alice: RawClient) -> None:
        alice.register(expires=77)
        (seen,) = kamailio.register_log()
        assert (seen.verdict, seen.authorized, seen.cseq) == (-5, False, 1)
        assert (seen.call_id, seen.aor, seen.contact) == (alice.call_id, alice.aor, alice.contact)
        assert (seen.expires, seen.transport, seen.source) == ("77", "udp", f"127.0.0.1:{alice.port}")
        alice.register("secret")
        # An answer is logged just after it left: a restart before that would lose the line.
        kamailio.wait_until(lambda: len(kamailio.answer_log()) == 2, 5, "both answers are in the log")
        kamailio.restart()
        alice.register()
        assert [seen.authorized for seen in kamailio.register_log()] == [False, True, False]
        kamailio.wait_until(lambda: len(kamailio.answer_log()) == 3, 5, "every answer is in the log")
        assert [answer.status for answer in kamailio.answer_log()] == [401, 200, 401]

    def test_counts(self, kamailio: Kamailio, alice: RawClient) -> None:
        before = kamailio.counters()
        alice.register()
        alice.register("secret")
        names = ("core.rcv_requests_register", "registrar.accepted_regs", "sl.401_replies")

        def risen() -> list[int]:
            after = kamailio.counters()
            return [after[name] - before[name] for name in names]

        kamailio.wait_until(lambda: risen() == [2, 1, 1], 5, "two requests, one accepted, one challenged")

    def test_a_refused_call_says_why(self, kamailio: Kamailio) -> None:
        with pytest.raises(RpcError, match=r"no\.such"):
            kamailio.call("no.such")


class TestSippStaleNonce:
    """RFC 7616 §3.3: stale=true asks for the same credentials under a new nonce."""

    def test_accepts_a_client_that_goes_on_with_the_new_nonce(self, start_sipp: Callable[..., Sipp]) -> None:
        sipp = start_sipp("stale_nonce", SIPP_KEYS)
        with RawClient(sipp.port) as client:
            assert client.register().status == 401
            granted = client.register("secret")
            assert (granted.status, granted.header("contact")) == (200, f"{client.contact};expires=8")
            assert client.register("secret").status == 401
            assert client.challenge is not None
            assert (client.challenge.stale, client.challenge.nonce) == (True, "second-nonce")
            assert client.register("secret").status == 200
            assert client.register("secret", expires=0).status == 200
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.successful_calls, verdict.errors) == (0, 1, "")

    def test_fails_a_wrong_digest(self, start_sipp: Callable[..., Sipp]) -> None:
        sipp = start_sipp("stale_nonce", SIPP_KEYS)
        with RawClient(sipp.port) as client:
            client.register()
            assert client.register("guess").status == 403
        verdict = sipp.wait()
        assert verdict.exit_code != 0
        assert "the digest response is wrong" in verdict.errors

    def test_fails_a_client_that_keeps_the_stale_nonce(self, start_sipp: Callable[..., Sipp]) -> None:
        sipp = start_sipp("stale_nonce", SIPP_KEYS)
        with RawClient(sipp.port) as client:
            client.register()
            client.register("secret")
            old = client.challenge
            client.register("secret")
            client.challenge, client.nonce_count = old, 2
            client.register("secret")
            client.register("secret", expires=0)
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.failed_calls) == (1, 1)
        assert "second-nonce" in verdict.errors

    def test_fails_a_client_that_does_not_come_back(self, start_sipp: Callable[..., Sipp]) -> None:
        sipp = start_sipp("stale_nonce", SIPP_KEYS, limit=1)
        with RawClient(sipp.port) as client:
            client.register()
            client.register("secret")
        assert sipp.wait().exit_code != 0


class TestCapture:
    def test_sees_the_requests_and_not_the_answers(self, kamailio: Kamailio, alice: RawClient) -> None:
        with Capture(kamailio.directory, kamailio.port) as capture:
            if not capture.running:
                pytest.skip("tshark is not installed or may not capture")
            alice.register()
            alice.register("secret")
        requests = capture.requests()
        assert len(requests) == 2
        assert all(line.endswith("REGISTER sip:example.test SIP/2.0") for line in requests)
