"""Registrations over TLS and WebSocket: Contact, Via, sharing, and what follows from each failure."""

from __future__ import annotations

from typing import Any

import pytest
from certificates import AUTHORITY
from machine_driver import Driver, answer, server, silence

from sipprofile.profile import Identity, TlsSettings
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.locating import Naptr, Question, Srv

NAMED = Identity("reg.test")


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.names = {"reg.test": ("192.0.2.1",), "two.reg.test": ("192.0.2.2",)}
    driver.local.update(tls=("198.51.100.1", 40000), ws=("a.invalid", 0), wss=("b.invalid", 0))
    return driver


class TestRequest:
    @pytest.mark.parametrize(
        ("aor", "registrar", "via", "contact"),
        [
            (
                "sip:a@reg.test",
                "sip:reg.test;transport=tls",
                "TLS 198.51.100.1:4",
                "<sip:{}@198.51.100.1:{};transport=tls>",
            ),
            ("sip:a@reg.test", "sips:reg.test", "TLS 198.51.100.1:4", "<sip:{}@198.51.100.1:{};transport=tls>"),
            ("sips:a@reg.test", "sips:reg.test", "TLS 198.51.100.1:4", "<sips:{}@198.51.100.1:{}>"),
            ("sip:a@reg.test", "sip:reg.test;transport=ws", "WS a.invalid;", "<sip:{}@a.invalid;transport=ws>"),
            ("sip:a@reg.test", "sip:reg.test;transport=wss", "WSS b.invalid;", "<sip:{}@b.invalid;transport=ws>"),
            ("sips:a@reg.test", "sip:reg.test;transport=wss", "WSS b.invalid;", "<sips:{}@b.invalid;transport=ws>"),
        ],
    )
    def test_via_and_contact(self, driver: Driver, aor: str, registrar: str, via: str, contact: str) -> None:
        driver.registered(aor=aor, registrar=server(registrar))
        _, key, request = driver.sends[-1]
        assert (key.host, key.identity) == ("192.0.2.1", NAMED)
        assert (request.header("via") or "").startswith(f"SIP/2.0/{via}")
        port = driver.flow().local[1] if driver.flow().local else 0
        expected = contact.format(driver.flow().contact_token, port)
        assert (request.header("contact") or "").startswith(expected)
        assert request.header(
            "from",
        ).startswith(f"<{aor}>")  # type: ignore[union-attr]

    def test_there_are_no_retransmissions(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(registrar=server("sips:reg.test"))
        driver.run(33)
        assert not driver.retransmissions
        driver.assert_status("unregistered", "timeout")


class TestSharing:
    def test_profiles_with_the_same_identity_share_one_connection(self, driver: Driver) -> None:
        own = TlsSettings(ca=AUTHORITY.pem)
        for number in (1, 2):
            driver.registered(number, registrar=server("sips:reg.test"))
        driver.registered(3, registrar=server("sips:reg.test", tls=own))
        driver.registered(4, registrar=server("sips:reg.test", tls=TlsSettings(ca=AUTHORITY.pem)))
        assert driver.open == {
            TransportKey("tls", "192.0.2.1", 5061, None, NAMED),
            TransportKey("tls", "192.0.2.1", 5061, None, Identity("reg.test", ca=AUTHORITY.pem)),
        }
        plans = [driver.registrations.by_profile[number].plan for number in (1, 2, 3, 4)]
        assert plans[0].hops[0].identity is plans[1].hops[0].identity
        assert plans[2].hops[0].identity is plans[3].hops[0].identity

    def test_another_certificate_is_another_connection_that_replaces_the_contact(self, driver: Driver) -> None:
        driver.registered(registrar=server("sips:reg.test"))
        driver.update(registrar=server("sips:reg.test", tls=TlsSettings(ca=AUTHORITY.pem)))
        driver.run(1)
        driver.assert_status("registered")
        assert [key.identity for key in driver.open] == [Identity("reg.test", ca=AUTHORITY.pem)]


class TestLocating:
    """RFC 5922 §4: the certificate is to be for the configured domain, not for what DNS makes of it."""

    @pytest.mark.parametrize(("service", "protocol"), [("SIPS+D2T", "tls"), ("SIPS+D2W", "wss"), ("SIP+D2W", "ws")])
    def test_naptr_may_lead_to_it(self, driver: Driver, service: str, protocol: str) -> None:
        driver.names = {"a.other.test": ("192.0.2.9",)}
        driver.records = {
            Question("reg.test", "NAPTR"): (Naptr(1, 1, "s", service, "_x.reg.test"),),
            Question("_x.reg.test", "SRV"): (Srv(1, 1, 5070, "a.other.test"),),
        }
        driver.registered(registrar=server("sip:reg.test"))
        assert driver.sends[-1][1] == TransportKey(protocol, "192.0.2.9", 5070, None, NAMED)


class TestFailures:
    @pytest.mark.parametrize(
        "code", ["tls_wrong_name", "tls_expired", "tls_self_signed", "tls_unknown_issuer", "tls_failed"]
    )
    def test_the_reason_is_told_and_it_is_tried_again(self, driver: Driver, code: str) -> None:
        driver.unopened = {"192.0.2.1"}
        driver.add(registrar=server("sips:reg.test"))
        driver.fail(TransportKey("tls", "192.0.2.1", 5061, None, NAMED), code)
        driver.assert_status("unregistered", code)
        driver.run(45)
        assert driver.state().reason.code == code  # not that the target is down: somebody must mend it
        driver.unopened = set()
        driver.run(200)
        driver.assert_status("registered")

    def test_the_next_profile_is_told_the_same(self, driver: Driver) -> None:
        """What is wrong with a server's certificate is wrong for everybody, whoever met it."""
        driver.unopened = {"192.0.2.1"}
        driver.add(1, registrar=server("sips:reg.test"))
        driver.fail(TransportKey("tls", "192.0.2.1", 5061, None, NAMED), "tls_expired")
        driver.add(2, registrar=server("sips:reg.test"))
        driver.assert_status("unregistered", "tls_expired", number=2)
        driver.run(20)
        assert driver.state(1).reason.code == driver.state(2).reason.code == "tls_expired"
        driver.unopened = set()
        driver.run(200)
        driver.assert_status("registered", "none", number=2)

    def test_a_certificate_that_was_mended_is_not_blamed_for_what_follows(self, driver: Driver) -> None:
        driver.unopened = {"192.0.2.1"}
        driver.add(1, registrar=server("sips:reg.test"))
        driver.fail(TransportKey("tls", "192.0.2.1", 5061, None, NAMED), "tls_expired")
        driver.unopened, driver.refused = set(), {"192.0.2.1"}
        driver.run(70)
        driver.add(2, registrar=server("sips:reg.test"))
        driver.assert_status("unregistered", "target_down", number=2)

    def test_a_refused_client_certificate_leaves_no_binding_behind(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(registrar=server("sips:reg.test"))
        driver.fail(TransportKey("tls", "192.0.2.1", 5061, None, NAMED), "tls_certificate_wanted")
        driver.assert_status("unregistered", "tls_certificate_wanted")
        driver.sent()
        driver.disable()
        driver.assert_quiet()

    def test_a_lost_connection_registers_again_with_a_new_contact(self, driver: Driver) -> None:
        driver.registered(registrar=server("sip:reg.test;transport=wss"))
        driver.run(60)
        driver.local["wss"] = ("c.invalid", 0)
        driver.fail(TransportKey("wss", "192.0.2.1", 443, None, NAMED))
        driver.run(1)
        driver.assert_status("registered")
        assert "@c.invalid;transport=ws>" in (driver.sends[-1][2].header("contact") or "")

    def test_after_a_restart_it_is_removed_where_it_was_made(self, driver: Driver) -> None:
        driver.registered(registrar=server("sips:reg.test"))
        driver.crash()
        driver.want(wanted=True)
        driver.run(1)
        driver.assert_status("registered")
        driver.crash()
        driver.disable()
        driver.run(1)
        _, key, request = driver.sends[-1]
        assert (key.identity, request.header("expires")) == (NAMED, "0")


class TestRedirect:
    """Same domain, same security."""

    def redirected(self, driver: Driver, aor: str, registrar: str, contact: str) -> None:
        driver.answers.append(answer(302, f"Contact: {contact}"))
        driver.add(aor=aor, registrar=server(registrar, tls=TlsSettings(ca=AUTHORITY.pem)))
        driver.run(1)

    @pytest.mark.parametrize(
        ("aor", "contact"),
        [("sip:a@reg.test", "<sip:two.reg.test;transport=tls>"), ("sips:a@reg.test", "<sips:two.reg.test>")],
    )
    def test_the_certificate_is_to_be_that_of_the_new_host(self, driver: Driver, aor: str, contact: str) -> None:
        self.redirected(driver, aor, "sips:reg.test", contact)
        driver.assert_status("registered")
        expected = TransportKey("tls", "192.0.2.2", 5061, None, Identity("two.reg.test", ca=AUTHORITY.pem))
        assert driver.sends[-1][1] == expected

    @pytest.mark.parametrize("contact", ["<sip:two.reg.test>", "<sip:two.reg.test;transport=ws>", "<sip:reg.test>"])
    def test_not_to_less_security(self, driver: Driver, contact: Any) -> None:
        self.redirected(driver, "sip:a@reg.test", "sips:reg.test", contact)
        driver.assert_status("unregistered", "redirected")
