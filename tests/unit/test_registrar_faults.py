"""The faults of the registrar that `sipprofile.testing` offers: what each does to requests and answers."""

from __future__ import annotations

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
from sipprofile.testing.registrar import Registrar

__all__ = ["open_phone", "open_registrar", "phone", "registrar"]


class TestFaultsOnTheWay:
    def test_silent(self, phone: Phone) -> None:
        phone.registrar.faults.silent = True
        with pytest.raises(IndexError):
            phone.send()
        assert [seen.status for seen in phone.registrar.log] == [0]
        assert phone.registrar.receive(b"\r\n\r\n", SOURCE, 0) == []

    def test_silent_hides_kept_answers_too(self, open_phone: Phone) -> None:
        open_phone.send()
        open_phone.registrar.faults.silent = True
        assert open_phone.registrar.receive(open_phone.sent, SOURCE, 1) == []

    def test_drop(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.drop = 1.0
        with pytest.raises(IndexError):
            open_phone.send()
        assert not open_phone.registrar.log

    def test_drop_is_a_probability(self, open_registrar: Registrar) -> None:
        open_registrar.faults.drop = 0.25
        answered = sum(bool(open_registrar.receive(b"\r\n\r\n", SOURCE, 0)) for _ in range(1000))
        assert 700 < answered < 800

    def test_drop_answers(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.drop_answers = 1.0
        with pytest.raises(IndexError):
            open_phone.send()
        assert len(open_phone.registrar.bindings(AOR, 0)) == 1
        open_phone.registrar.faults.drop_answers = 0.0
        assert final(open_phone.registrar.receive(open_phone.sent, SOURCE, 0.5)).status == 200

    def test_answer_delay_and_trying(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.answer_delay = 2.5
        open_phone.registrar.faults.trying = True
        open_phone.send()
        replies = open_phone.registrar.receive(open_phone.sent, SOURCE, 0)
        statuses = [(final([reply]).status, reply.delay) for reply in replies]
        assert statuses == [(100, 0.0), (200, 2.5)]

    def test_trying_only(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.trying_only = True
        assert open_phone.send().status == 100
        assert open_phone.registrar.bindings(AOR, 0)

    def test_duplicate_answers_from_another_port(self, registrar: Registrar, open_phone: Phone) -> None:
        faults = open_phone.registrar.faults
        faults.duplicate_answers, faults.answer_port = True, 5099
        open_phone.send()
        replies = open_phone.registrar.receive(open_phone.sent, SOURCE, 0.0)
        assert len(replies) == 2
        assert replies[0] == replies[1]
        assert replies[0].port == 5099

    def test_garbage(self, open_phone: Phone) -> None:
        open_phone.send()
        good = open_phone.registrar.receive(open_phone.sent, SOURCE, 0.0)[0].data
        open_phone.registrar.faults.garbage = 1.0
        spoiled = [open_phone.registrar.receive(open_phone.sent, SOURCE, 0.0)[0].data for _ in range(30)]
        assert good not in spoiled
        assert any(good.startswith(data) for data in spoiled)


class TestFaultsOfJudgement:
    def test_redirections_of_every_kind(self, phone: Phone) -> None:
        phone.registrar.faults.redirect, phone.registrar.faults.redirect_status = "<sip:b.test>", 305
        response = phone.send()
        assert (response.status, response.header("contact")) == (305, "<sip:b.test>")

    def test_an_option_tag_that_is_not_supported_or_wanting(self, open_phone: Phone) -> None:
        faults = open_phone.registrar.faults
        faults.unsupported = ("path",)
        response = open_phone.send(headers=[("Supported", "gruu, path")])
        assert (response.status, response.header("unsupported")) == (420, "path")
        assert open_phone.send(headers=[("Supported", "gruu")]).status == 200
        faults.required = ("sec-agree",)
        response = open_phone.send()
        assert (response.status, response.header("require")) == (421, "sec-agree")
        assert open_phone.send(headers=[("Supported", "sec-agree")]).status == 200

    def test_status(self, phone: Phone) -> None:
        phone.registrar.faults.status = 503
        phone.registrar.faults.reason = "Going Down"
        phone.registrar.faults.retry_after = 30
        response = phone.send()
        assert (response.status, response.reason) == (503, "Going Down")
        assert response.header("retry-after") == "30"

    def test_retry_after_is_not_put_into_challenges_and_successes(self, phone: Phone) -> None:
        phone.registrar.faults.retry_after = 30
        assert phone.send().header("retry-after") is None
        assert phone.register().header("retry-after") is None

    def test_redirect(self, phone: Phone) -> None:
        phone.registrar.faults.redirect = "<sip:other.example.test>"
        response = phone.send()
        assert (response.status, response.header("contact")) == (302, "<sip:other.example.test>")

    def test_reject_users(self, phone: Phone) -> None:
        phone.registrar.faults.reject_users.add("alice")
        assert phone.send().status == 401
        assert phone.register().status == 403
        phone.registrar.faults.reject_users.clear()
        assert phone.register().status == 200


class TestFaultsOfAuthentication:
    def test_without_qop(self, phone: Phone) -> None:
        """RFC 2069."""
        phone.registrar.faults.qop = False
        assert phone.register().status == 200
        assert phone.challenge is not None
        assert phone.challenge.qop == ()
        assert phone.send().status == 200

    def test_qop_as_text(self, phone: Phone) -> None:
        phone.registrar.faults.qop = "auth-int"
        assert phone.register().status == 200
        assert phone.challenge is not None
        assert phone.challenge.qop == ("auth-int",)

    def test_omit_algorithm(self, phone: Phone) -> None:
        phone.registrar.faults.omit_algorithm = True
        assert phone.register().status == 200
        assert phone.challenge is not None
        assert not phone.challenge.terms.algorithm_given

    def test_opaque_must_come_back(self, phone: Phone) -> None:
        phone.registrar.faults.opaque = 'a "quoted" value'
        assert phone.register().status == 200
        assert phone.challenge is not None
        without = digest.Challenge(phone.challenge.nonce, digest.Terms(phone.challenge.realm, qop=("auth",)))
        phone.challenge = without
        assert phone.send().status == 401

    def test_proxy_challenge(self, phone: Phone) -> None:
        phone.registrar.faults.proxy_challenge = True
        assert phone.send().status == 407
        assert phone.register().status == 200

    def test_unknown_algorithm_first(self, phone: Phone) -> None:
        phone.registrar.faults.unknown_algorithm_first = True
        first, _ = phone.send().headers("www-authenticate")
        assert "algorithm=SHA3-512" in first
        assert phone.register().status == 200

    def test_two_challenges_in_one_line(self, phone: Phone) -> None:
        phone.registrar.faults.two_challenges = True
        response = phone.send()
        assert len(response.headers("www-authenticate")) == 1
        assert [c.realm for c in challenges(response)] == ["other.example.test", "example.test"]
        assert phone.register().status == 200

    def test_credentials_for_a_foreign_realm_are_wrong(self, phone: Phone) -> None:
        phone.registrar.faults.two_challenges = True
        phone.challenge = challenges(phone.send())[0]
        response = phone.send()
        assert response.status == 401
        assert not any(challenge.stale for challenge in challenges(response))

    def test_one_time_nonces(self, phone: Phone) -> None:
        phone.registrar.faults.one_time_nonces = True
        assert phone.register().status == 200
        assert phone.send().status == 401
        assert phone.register().status == 200

    def test_another_scheme_first(self, phone: Phone) -> None:
        phone.registrar.faults.other_scheme = 'Bearer realm="x"'
        response = phone.send()
        assert response.headers("www-authenticate")[0] == 'Bearer realm="x"'
        assert response.headers("www-authenticate")[1].startswith("Digest ")

    def test_a_proxy_in_front_has_a_realm_of_its_own(self, phone: Phone) -> None:
        phone.registrar.faults.first_realm = "proxy.test"
        response = phone.send()
        assert response.status == 407
        assert 'realm="proxy.test"' in (response.header("proxy-authenticate") or "")

    def test_always_stale(self, phone: Phone) -> None:
        phone.registrar.faults.always_stale = True
        for _ in range(3):
            response = phone.register()
            assert response.status == 401
            assert challenges(response)[0].stale

    def test_stale_without_flag(self, phone: Phone) -> None:
        phone.register()
        phone.registrar.faults.stale_without_flag = True
        response = phone.send(now=1000)
        assert response.status == 401
        assert not challenges(response)[0].stale


class TestFaultsOfTheGrant:
    def test_min_expires(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.min_expires = 60
        response = open_phone.send(headers=[("Expires", "59")])
        assert (response.status, response.header("min-expires")) == (423, "60")
        assert open_phone.send(headers=[("Expires", "60")]).status == 200
        assert open_phone.send(headers=[("Expires", "0")]).status == 200

    @pytest.mark.parametrize(("fraction", "maximum", "granted"), [(1.0, 300, 300), (0.5, None, 1800), (0.0, None, 1)])
    def test_a_grant_shorter_than_the_wish(
        self, open_phone: Phone, fraction: float, maximum: int | None, granted: int
    ) -> None:
        open_phone.registrar.faults.grant_fraction = fraction
        open_phone.registrar.faults.maximum_expires = maximum
        assert list(contacts_of(open_phone.send()).values()) == [str(granted)]
        assert open_phone.registrar.bindings(AOR, 0)[0].expires_at == granted

    def test_zero_grant(self, open_phone: Phone) -> None:
        open_phone.send(["<sip:t2@192.0.2.11>"])
        open_phone.registrar.faults.zero_grant = True
        response = open_phone.send()
        assert contacts_of(response) == {"sip:t2@192.0.2.11": "3600", "sip:t1@192.0.2.10:5060": "0"}
        assert [b.contact for b in open_phone.registrar.bindings(AOR, 0)] == ["sip:t2@192.0.2.11"]

    def test_max_contacts(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.max_contacts = 1
        assert open_phone.send().status == 200
        assert open_phone.send(["<sip:t2@192.0.2.11>"]).status == 503
        open_phone.registrar.faults.max_contacts_status = 403
        assert open_phone.send(["<sip:t2@192.0.2.11>"]).status == 403
        assert open_phone.send().status == 200
        assert open_phone.send([f"{CONTACT};expires=0", "<sip:t2@192.0.2.11>"]).status == 200

    @pytest.mark.parametrize("value", ["", "x", "60"])
    def test_too_brief(self, open_phone: Phone, value: str) -> None:
        open_phone.registrar.faults.too_brief = value
        response = open_phone.send()
        assert (response.status, response.header("min-expires")) == (423, value or None)
        assert open_phone.send(headers=[("Expires", "0")]).status == 200


class TestFaultsOfTheAnswer:
    def test_contacts_as_intermediaries_write_them(self, open_phone: Phone) -> None:
        faults = open_phone.registrar.faults
        faults.contact_alias, faults.contact_port = True, 5080
        assert list(contacts_of(open_phone.send())) == ["sip:t1@192.0.2.10:5080;alias=192.0.2.10~5060~1"]

    def test_our_contact_is_not_listed(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.omit_own_contact = True
        assert contacts_of(open_phone.send()) == {}
        assert open_phone.registrar.bindings(AOR, 0)

    def test_omit_contact(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.omit_contact = True
        assert open_phone.send().header("contact") is None

    def test_expires_in_header(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.expires_in_header = True
        open_phone.registrar.faults.maximum_expires = 77
        response = open_phone.send()
        assert contacts_of(response) == {"sip:t1@192.0.2.10:5060": None}
        assert response.headers("expires") == ["77"]

    def test_order_and_foreign_contacts(self, open_phone: Phone) -> None:
        open_phone.send(["<sip:t2@192.0.2.11>"])
        open_phone.registrar.faults.reverse_contacts = True
        open_phone.registrar.faults.extra_contacts = ["<sip:desk@192.0.2.77>;expires=5"]
        assert list(contacts_of(open_phone.send())) == [
            "sip:desk@192.0.2.77",
            "sip:t1@192.0.2.10:5060",
            "sip:t2@192.0.2.11",
        ]

    def test_service_route_and_associated_uris(self, open_phone: Phone) -> None:
        open_phone.registrar.faults.service_route = ["<sip:s1.example.test;lr>", "<sip:s2.example.test;lr>"]
        open_phone.registrar.faults.associated_uris = ["<sip:+49123@example.test>"]
        response = open_phone.send()
        assert response.headers("service-route") == ["<sip:s1.example.test;lr>", "<sip:s2.example.test;lr>"]
        assert response.headers("p-associated-uri") == ["<sip:+49123@example.test>"]
