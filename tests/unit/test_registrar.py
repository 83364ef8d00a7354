"""The registrar that `sipprofile.testing` offers: RFC 3261 §10.3 step by step."""

from __future__ import annotations

import random

import pytest
from phone import (
    AOR,
    CONTACT,
    SOURCE,
    Phone,
    challenges,
    contacts_of,
    final,
    open_phone,
    open_registrar,
    phone,
    registrar,
)

from sipprofile.sip import digest
from sipprofile.sip.message import Request, build_response, parse
from sipprofile.testing.registrar import Binding, Registrar

__all__ = ["open_phone", "open_registrar", "phone", "registrar"]


class TestStep2Extensions:
    def test_a_required_extension_is_refused_by_name(self, phone: Phone) -> None:
        response = phone.send(headers=[("Require", "path, outbound")])
        assert (response.status, response.header("unsupported")) == (420, "path, outbound")


class TestStep3Authentication:
    """RFC 3261 §22 and RFC 7616."""

    def test_without_credentials_a_challenge(self, phone: Phone) -> None:
        response = phone.send()
        assert response.status == 401
        [challenge] = challenges(response)
        assert (challenge.realm, challenge.algorithm, challenge.qop) == ("example.test", "MD5", ("auth",))
        assert not challenge.stale
        assert phone.registrar.bindings(AOR, 0) == []

    def test_right_credentials_register(self, phone: Phone) -> None:
        assert phone.register().status == 200
        assert [b.contact for b in phone.registrar.bindings(AOR, 0)] == ["sip:t1@192.0.2.10:5060"]

    def test_wrong_password_is_challenged_without_stale(self, phone: Phone) -> None:
        phone.password = "wrong"
        response = phone.register()
        assert response.status == 401
        assert not challenges(response)[0].stale

    def test_an_unknown_user_is_challenged_like_a_wrong_password(self, phone: Phone) -> None:
        phone.username = "mallory"
        assert phone.register().status == 401

    def test_a_nonce_serves_many_requests_with_rising_count(self, phone: Phone) -> None:
        phone.register()
        assert [phone.send().status for _ in range(3)] == [200, 200, 200]
        assert phone.nonce_count == 4

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_nonce_count_not_above_the_last_is_stale(self, phone: Phone, count: int) -> None:
        phone.register()
        phone.send()
        response = phone.send(nonce_count=count)
        assert response.status == 401
        assert challenges(response)[0].stale

    def test_a_wrong_password_does_not_use_up_the_count(self, phone: Phone) -> None:
        phone.register()
        phone.password, right = "wrong", phone.password
        phone.send(nonce_count=9)
        phone.password = right
        assert phone.send(nonce_count=2).status == 200

    def test_a_nonce_ends_with_its_lifetime(self, phone: Phone) -> None:
        phone.registrar.faults.nonce_lifetime = 100
        phone.register()
        assert phone.send(now=99.9).status == 200
        response = phone.send(now=100)
        assert response.status == 401
        assert challenges(response)[0].stale
        assert phone.register(now=100).status == 200

    def test_a_nonce_of_somebody_else_is_stale(self, phone: Phone) -> None:
        phone.challenge = digest.Challenge("made-up", digest.Terms("example.test", qop=("auth",)))
        assert challenges(phone.send())[0].stale

    def test_a_digest_uri_that_is_not_the_request_uri_is_a_bad_request(self, phone: Phone) -> None:
        phone.register()
        assert phone.send(digest_uri="sip:elsewhere.test").status == 400

    def test_an_answer_without_qop_to_an_offer_of_it_is_wrong(self, phone: Phone) -> None:
        phone.learn(phone.send())
        assert phone.challenge is not None
        phone.challenge = digest.Challenge(phone.challenge.nonce, digest.Terms(phone.challenge.realm))
        assert not challenges(phone.send())[0].stale

    @pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
    def test_every_algorithm(self, phone: Phone, algorithm: str) -> None:
        phone.registrar.faults.algorithms = (algorithm,)
        response = phone.register()
        assert response.status == 200
        assert phone.challenge is not None
        assert phone.challenge.algorithm == algorithm

    def test_several_algorithms_in_the_order_offered(self, phone: Phone) -> None:
        phone.registrar.faults.algorithms = ("SHA-256", "MD5")
        assert [c.algorithm for c in challenges(phone.send())] == ["SHA-256", "MD5"]
        assert phone.register().status == 200

    def test_an_algorithm_no_longer_offered_is_wrong(self, phone: Phone) -> None:
        phone.register()
        phone.registrar.faults.algorithms = ("SHA-256",)
        assert phone.send().status == 401

    def test_a_changed_password_is_obeyed_at_once(self, phone: Phone) -> None:
        phone.register()
        phone.registrar.users["alice"] = "another"
        assert phone.send().status == 401

    def test_nobody_is_asked_when_no_algorithm_is_offered(self, open_phone: Phone) -> None:
        assert open_phone.send().status == 200


class TestSteps4And5Authorization:
    def test_the_address_of_record_of_another_user_is_forbidden(self, phone: Phone) -> None:
        assert phone.register(aor="sip:bob@example.test").status == 403

    def test_an_unknown_address_of_record(self, phone: Phone) -> None:
        assert phone.register(aor="sip:nobody@example.test").status == 404

    def test_a_username_with_a_domain_owns_its_user_part(self) -> None:
        registrar = Registrar(users={"carol@example.test": "x"}, random=random.Random(1))
        phone = Phone(registrar, "carol@example.test", "x")
        assert phone.register(aor="sip:carol@example.test").status == 200

    def test_parameters_do_not_make_another_address_of_record(self, phone: Phone) -> None:
        phone.register(aor="sip:alice@EXAMPLE.test;user=phone")
        assert len(phone.registrar.bindings(AOR, 0)) == 1

    def test_unknown_without_authentication(self, open_phone: Phone) -> None:
        assert open_phone.send(aor="sip:nobody@example.test").status == 404


class TestStep6RemoveAll:
    def test_removes_every_binding(self, open_phone: Phone) -> None:
        open_phone.send()
        open_phone.send(["<sip:t2@192.0.2.11>"])
        response = open_phone.send(["*"], headers=[("Expires", "0")])
        assert (response.status, response.header("contact")) == (200, None)
        assert open_phone.registrar.bindings(AOR, 0) == []

    @pytest.mark.parametrize(("contacts", "expires"), [(["*"], "10"), (["*"], None), (["*", CONTACT], "0")])
    def test_needs_expires_0_and_no_other_contact(
        self, open_phone: Phone, contacts: list[str], expires: str | None
    ) -> None:
        open_phone.send()
        headers = [] if expires is None else [("Expires", expires)]
        assert open_phone.send(contacts, headers=headers).status == 400
        assert len(open_phone.registrar.bindings(AOR, 0)) == 1

    def test_needs_a_higher_cseq_for_the_same_call_id(self, open_phone: Phone) -> None:
        open_phone.send()
        assert open_phone.send(["*"], headers=[("Expires", "0")], cseq=1).status == 500
        assert len(open_phone.registrar.bindings(AOR, 0)) == 1


class TestStep7Bindings:
    def test_what_is_kept(self, open_phone: Phone) -> None:
        open_phone.send(['"Desk" <sip:t1@192.0.2.10>;q=0.5;expires=60;+sip.instance="<urn:uuid:1>"'], now=100)
        assert open_phone.registrar.bindings(AOR, 100) == [
            Binding(
                "sip:t1@192.0.2.10",
                "call-alice",
                1,
                160.0,
                SOURCE,
                (("q", "0.5"), ("+sip.instance", "<urn:uuid:1>")),
            )
        ]

    @pytest.mark.parametrize(
        ("contact", "header", "granted"),
        [
            ("<sip:a@192.0.2.1>;expires=70", "90", 70),
            ("<sip:a@192.0.2.1>", "90", 90),
            ("<sip:a@192.0.2.1>", None, 3600),
            ("<sip:a@192.0.2.1>;expires=soon", "90", 3600),
            ("<sip:a@192.0.2.1>", "soon", 3600),
        ],
    )
    def test_the_wish_is_the_parameter_else_the_header_else_an_hour(
        self, open_phone: Phone, contact: str, header: str | None, granted: int
    ) -> None:
        headers = [] if header is None else [("Expires", header)]
        assert contacts_of(open_phone.send([contact], headers=headers)) == {"sip:a@192.0.2.1": str(granted)}

    def test_a_binding_ends_with_its_time(self, open_phone: Phone) -> None:
        open_phone.send(headers=[("Expires", "60")])
        assert len(open_phone.registrar.bindings(AOR, 59.9)) == 1
        assert open_phone.registrar.bindings(AOR, 60) == []

    def test_equivalent_contacts_are_one_binding(self, open_phone: Phone) -> None:
        """RFC 3261 §19.1.4."""
        open_phone.send(["<sip:t1@HOST.example.test;newparam=5>"])
        response = open_phone.send(["<sip:%741@host.example.test;security=on>"])
        assert len(contacts_of(response)) == 1

    def test_a_port_makes_another_binding(self, open_phone: Phone) -> None:
        open_phone.send(["<sip:t1@192.0.2.10>"])
        assert len(contacts_of(open_phone.send(["<sip:t1@192.0.2.10:5060>"]))) == 2

    @pytest.mark.parametrize("cseq", [6, 7])
    def test_a_cseq_not_above_the_last_aborts_the_update(self, open_phone: Phone, cseq: int) -> None:
        open_phone.send(cseq=7)
        assert open_phone.send(cseq=cseq).status == 500
        assert [b.cseq for b in open_phone.registrar.bindings(AOR, 0)] == [7]

    def test_another_call_id_may_begin_anywhere(self, open_phone: Phone) -> None:
        open_phone.send(cseq=7)
        open_phone.call_id = "another"
        assert open_phone.send(cseq=1).status == 200

    def test_expires_0_removes_that_binding_only(self, open_phone: Phone) -> None:
        open_phone.send([CONTACT, "<sip:t2@192.0.2.10>"])
        response = open_phone.send([f"{CONTACT};expires=0"])
        assert list(contacts_of(response)) == ["sip:t2@192.0.2.10"]

    def test_removing_what_is_not_there_succeeds(self, open_phone: Phone) -> None:
        assert open_phone.send(headers=[("Expires", "0")]).status == 200
        assert open_phone.registrar.all_bindings(0) == {}

    def test_a_request_that_fails_changes_nothing(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.min_expires = 60
        assert open_phone.send([f"{CONTACT};expires=600", "<sip:t2@192.0.2.10>;expires=30"]).status == 423
        assert open_phone.registrar.bindings(AOR, 0) == []


class TestStep8Answer:
    def test_lists_every_contact_with_its_seconds_left(self, open_phone: Phone) -> None:
        open_phone.send(["<sip:t1@192.0.2.10>;expires=100"])
        response = open_phone.send(["<sip:t2@192.0.2.10>;expires=50;q=0.3"], now=30)
        assert contacts_of(response) == {"sip:t1@192.0.2.10": "70", "sip:t2@192.0.2.10": "50"}
        assert "q=0.3" in response.headers("contact")[1]

    def test_a_query_changes_nothing(self, open_phone: Phone) -> None:
        """RFC 3261 §10.2.3."""
        open_phone.send()
        assert contacts_of(open_phone.send([], now=600)) == {"sip:t1@192.0.2.10:5060": "3000"}

    def test_copies_what_makes_it_a_response(self, open_phone: Phone) -> None:
        """RFC 3261 §8.2.6.2."""
        response = open_phone.send()
        assert response.header("call-id") == "call-alice"
        assert response.cseq() == (1, "REGISTER")
        assert ";tag=" in (response.header("to") or "")


class TestTransport:
    """RFC 3261 §17.2.2, §18.2 and RFC 3581."""

    def test_rport_is_answered_to_the_source(self, open_phone: Phone) -> None:
        open_phone.send()
        source = ("198.51.100.9", 40000)
        request = open_phone.sent.replace(b"z9hG4bK1", b"z9hG4bKx").replace(b"CSeq: 1", b"CSeq: 2")
        [reply] = open_phone.registrar.receive(request, source, 0)
        assert reply.destination == source
        assert b"received=198.51.100.9;rport=40000" in reply.data

    def test_without_rport_the_answer_goes_to_the_sent_by_port(self, open_phone: Phone) -> None:
        open_phone.send(via="SIP/2.0/UDP 192.0.2.10:5080")
        assert open_phone.registrar.receive(open_phone.sent, SOURCE, 0)[0].destination == ("192.0.2.10", 5080)

    def test_on_tcp_the_answer_goes_back_on_the_connection(self, open_phone: Phone) -> None:
        open_phone.send(via="SIP/2.0/TCP 192.0.2.10:5080")
        assert open_phone.registrar.receive(open_phone.sent, SOURCE, 0)[0].destination == SOURCE

    def test_a_retransmission_gets_the_same_bytes(self, phone: Phone) -> None:
        phone.register()
        registrar = phone.registrar
        first, again = (registrar.receive(phone.sent, SOURCE, now) for now in (1, 31.9))
        assert first == again
        assert [(seen.status, seen.retransmission) for seen in registrar.log][-3:] == [
            (200, False),
            (200, True),
            (200, True),
        ]

    def test_after_timer_j_it_is_a_new_request(self, open_phone: Phone) -> None:
        open_phone.send()
        assert final(open_phone.registrar.receive(open_phone.sent, SOURCE, 32)).status == 500

    def test_a_new_branch_is_a_new_request(self, phone: Phone) -> None:
        phone.register()
        again = phone.sent.replace(b"z9hG4bK2", b"z9hG4bK3")
        assert final(phone.registrar.receive(again, SOURCE, 0)).status == 401

    def test_a_ping_gets_its_pong(self, registrar: Registrar) -> None:
        """RFC 5626 §3.5.1."""
        assert [reply.data for reply in registrar.receive(b"\r\n\r\n", SOURCE, 0)] == [b"\r\n"]
        assert registrar.receive(b"\r\n", SOURCE, 0) == []

    @pytest.mark.parametrize("data", [b"", b"\0\1\2", b"hello\r\n\r\n", b"SIP/2.0 200 OK\r\n"])
    def test_noise_is_not_answered(self, registrar: Registrar, data: bytes) -> None:
        assert registrar.receive(data, SOURCE, 0) == []

    def test_a_malformed_request_is_answered(self, open_phone: Phone) -> None:
        assert open_phone.send(["<sip:unclosed"]).status == 400
        assert open_phone.send(aor="tel:+4912345").status == 400

    def test_options_and_other_methods(self, phone: Phone) -> None:
        assert phone.send([], method="OPTIONS").status == 200
        response = phone.send([], method="MESSAGE")
        assert (response.status, response.header("allow")) == (405, "REGISTER, OPTIONS")

    @pytest.mark.parametrize(("user", "status"), [("alice", 480), ("nobody", 404)])
    def test_a_request_for_a_user_who_is_not_there(self, phone: Phone, user: str, status: int) -> None:
        assert phone.send([], method="MESSAGE", uri=f"sip:{user}@example.test").status == status


class TestRequestsToUsers:
    def test_one_to_every_binding(self, open_phone: Phone) -> None:
        open_phone.send([CONTACT, "<sip:t2@192.0.2.11;transport=tcp>"])
        registrar = open_phone.registrar
        one, two = registrar.request(AOR, "MESSAGE", 1, headers=[("Content-Type", "text/plain")], body=b"hi")
        request = parse(two.data)
        assert isinstance(request, Request)
        assert (one.destination, two.destination) == (SOURCE, SOURCE)
        assert (request.method, request.uri, request.body) == (
            "MESSAGE",
            "sip:t2@192.0.2.11;transport=tcp",
            b"hi",
        )
        assert (request.header("via") or "").startswith("SIP/2.0/TCP ")

    def test_responses_are_collected(self, open_phone: Phone) -> None:
        open_phone.send()
        registrar = open_phone.registrar
        [reply] = registrar.request(AOR, "OPTIONS", 1)
        request = parse(reply.data)
        assert isinstance(request, Request)
        assert registrar.receive(build_response(request, 486, to_tag="x"), SOURCE, 1) == []
        assert [response.status for response in registrar.responses] == [486]

    def test_nobody_bound(self, registrar: Registrar) -> None:
        assert registrar.request(AOR, "OPTIONS", 1) == []


class TestLog:
    def test_says_what_was_asked_and_answered(self, phone: Phone) -> None:
        phone.register(headers=[("Expires", "120")], now=5)
        first, second = phone.registrar.log
        assert (first.status, first.authorized, second.status, second.authorized) == (401, False, 200, True)
        assert (second.now, second.method, second.aor, second.cseq) == (5, "REGISTER", AOR, 2)
        assert (second.contact, second.expires) == ("sip:t1@192.0.2.10:5060", 120)

    def test_holds_no_password(self, phone: Phone) -> None:
        phone.register()
        assert "wonder" not in repr(phone.registrar.log) + repr(phone.registrar)


class TestRestart:
    def test_forgets_bindings_nonces_and_transactions(self, phone: Phone) -> None:
        phone.register()
        phone.registrar.restart(10)
        assert phone.registrar.bindings(AOR, 10) == []
        response = final(phone.registrar.receive(phone.sent, SOURCE, 10))
        assert response.status == 401
        assert challenges(response)[0].stale
