"""Our contact among those of a 2xx, and the time that is granted to it (RFC 3261 §10.2.4, §19.1.4)."""

from __future__ import annotations

import pytest

from sipprofile.registration.grant import granted, still_listed
from sipprofile.sip.message import Response, parse

TOKEN = "4f1b2c3d4e5f60718293a4b5c6d7e8"
INSTANCE = "00000000-0000-4000-8000-000000000001"
HOST = "198.51.100.1:5060"
OURS = f"sip:{TOKEN}@{HOST}"
SHORT = f"sip:1001@{HOST}"
ASKED = 3600


def ok(*contacts: str, expires: str | None = None) -> Response:
    lines = ["SIP/2.0 200 OK", *(f"Contact: {contact}" for contact in contacts)]
    if expires is not None:
        lines.append(f"Expires: {expires}")
    response = parse("\r\n".join([*lines, "", ""]).encode())
    assert isinstance(response, Response)
    return response


def grant(
    *contacts: str, ours: str = OURS, instance: str = INSTANCE, old: str = "", expires: str | None = None
) -> int | None:
    user = ours.partition(":")[2].partition("@")[0]
    return granted(ok(*contacts, expires=expires), ours, user, instance, ASKED, old)[0]


class TestOurs:
    """However a registrar, a router or an SBC has written it."""

    @pytest.mark.pain(6)
    @pytest.mark.parametrize("ours", [OURS, SHORT])
    @pytest.mark.parametrize(
        "entry",
        [
            "<{ours}>;expires=77",
            "<{ours}>; expires=77",
            "<{ours}>;EXPIRES=77",
            '<{ours}>;expires="77"',
            "{ours};expires=77",
            '"Alice, \\"at\\" <home>" <{ours}>;q=0.5;expires=77',
            "<{ours};alias=203.0.113.7~40123~1>;expires=77",
            "<{ours};transport=udp>;expires=77",
            "<{ours};transport=UDP;ob;alias=203.0.113.7~40123~1>;expires=77",
            "<{ours};ob>;reg-id=1;expires=77",
            '<{ours};x=1;y>;+sip.instance="<urn:uuid:{instance}>";q=1;expires=77;received="sip:203.0.113.7:1"',
            "<SIP:{rest}>;expires=77",
            "<sip:{rest};lr>;audio;video;expires=77",
        ],
    )
    def test_with_reordered_or_added_parameters(self, ours: str, entry: str) -> None:
        listed = entry.format(ours=ours, rest=ours[4:], instance=INSTANCE)
        other = "<sip:other@203.0.113.9:5060;expires=3>;expires=20"
        for contacts in ([listed], [other, listed], [listed, other], [f"{other}, {listed}"]):
            assert grant(*contacts, ours=ours, instance="") == 77

    @pytest.mark.parametrize("ours", ["sip:1001@Host.Example.Test", f"sip:{TOKEN}@host.example.test"])
    @pytest.mark.parametrize(
        "place", ["HOST.example.TEST", "host.example.test:5060", "host.example.test:5060;transport=udp"]
    )
    def test_with_another_case_of_the_host_or_its_default_port(self, ours: str, place: str) -> None:
        user = ours.partition("@")[0]
        assert grant("<sip:x@y.test>;expires=5", f"<{user}@{place}>;expires=77", ours=ours, instance="") == 77

    def test_the_default_port_is_that_of_the_transport(self) -> None:
        ours = "sip:1001@h.test;transport=tls"
        assert grant("<sip:1001@h.test:5061;transport=TLS>;expires=77", ours=ours, instance="") == 77
        assert grant("<sip:1001@h.test:5060;transport=tls>;expires=77", ours=ours, instance="") is None

    @pytest.mark.parametrize(
        "place", ["203.0.113.77:9999", "198.51.100.1:33333", "nat.example.test", "[2001:db8::1]:1"]
    )
    def test_with_a_changed_host_or_port(self, place: str) -> None:
        assert grant(f"<sip:{TOKEN}@{place};transport=udp>;expires=77", instance="") == 77
        entry = f'<sip:1001@{place}>;+sip.instance="<urn:uuid:{INSTANCE.upper()}>";expires=77'
        assert grant(entry, ours=SHORT) == 77

    @pytest.mark.parametrize(
        "entry",
        [
            "<sip:1001@203.0.113.77>;expires=77",
            '<sip:1001@203.0.113.77>;+sip.instance="<urn:uuid:00000000-0000-4000-8000-000000000002>";expires=77',
            f'<sip:another@203.0.113.77>;+sip.instance="<urn:uuid:{INSTANCE}>";expires=77',
            "<sip:1001@198.51.100.1:5062>;expires=77",
            "<sips:1001@198.51.100.1:5060>;expires=77",
            "<sip:1001@198.51.100.1:5060;transport=tcp>;expires=77",
            "*",
            "<tel:+1001>;expires=77",
        ],
    )
    def test_but_not_that_of_another(self, entry: str) -> None:
        assert grant(entry, ours=SHORT) is None


class TestSeveralThatMayBeOurs:
    """An address changed, and the registrar still lists the contact of the old one."""

    BEFORE = f"sip:{TOKEN}@192.0.2.50:5060"

    @pytest.mark.pain(6)
    def test_the_equal_one_wins(self) -> None:
        for contacts in ([self.BEFORE, OURS], [OURS, self.BEFORE]):
            entries = [f"<{uri}>;expires={3000 if uri == self.BEFORE else 77}" for uri in contacts]
            assert grant(*entries) == 77

    @pytest.mark.pain(6)
    def test_then_the_one_at_our_address(self) -> None:
        assert grant(f"<{self.BEFORE};transport=udp>;expires=3000", f"<{OURS};transport=udp>;expires=77") == 77

    def test_then_the_one_that_ours_does_not_replace(self) -> None:
        nat = f"<sip:{TOKEN}@203.0.113.7:40123>;expires=77"
        assert grant(f"<{self.BEFORE}>;expires=3", nat, old=self.BEFORE) == 77

    def test_then_the_one_with_the_least_time(self) -> None:
        """To renew too early does no harm."""
        entries = [f"<sip:{TOKEN}@203.0.113.{n}:1>;expires={time}" for n, time in ((1, 300), (2, 77), (3, 900))]
        assert grant(*entries) == 77


class TestTime:
    @pytest.mark.parametrize(
        ("param", "header", "granted"),
        [
            (";expires=10", "20", 10),
            ("", "20", 20),
            ("", None, ASKED),
            (";expires=x", "20", 20),
            (";expires=", None, ASKED),
            (";expires=-1", None, ASKED),
            (";expires=٦٠", None, ASKED),
            (f";expires={ASKED + 1}", None, ASKED),
            (";expires=99999999999999999999999999", None, ASKED),
            ("", "4294967296", ASKED),
            (";expires=0", "20", 0),
        ],
    )
    def test_what_is_granted_is_never_more_than_was_asked(self, param: str, header: str | None, granted: int) -> None:
        assert grant(f"<{OURS}>{param}", expires=header) == granted
        assert grant("<sip:x@y.test>;expires=5", f"<{OURS}>{param}", expires=header) == granted


class TestStillListed:
    @pytest.mark.parametrize(
        ("contacts", "expires", "listed"),
        [
            ([], None, False),
            ([], "60", False),
            ([f"<{OURS}>;expires=0"], "60", False),
            ([f"<{OURS}>;expires=1"], "0", True),
            ([f"<{OURS}>"], None, False),
            ([f"<{OURS}>"], "0", False),
            ([f"<{OURS}>"], "60", True),
            ([f"<sip:{TOKEN}@203.0.113.1:1>;expires=100"], None, False),
        ],
    )
    def test_what_was_removed(self, contacts: list[str], expires: str | None, listed: bool) -> None:
        assert still_listed(ok(*contacts, expires=expires), OURS) is listed
