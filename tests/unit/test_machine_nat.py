"""Behind a NAT: the address that answers show is learned, told to the registrar, and settles (RFC 3581)."""

from __future__ import annotations

import itertools

import pytest
from machine_driver import UDP, Answer, Driver, answer, challenge, digest, ok, reply

from sipprofile.registration.actions import TransportKey
from sipprofile.registration.nat import seen_as
from sipprofile.sip.message import Request

LOCAL = ("198.51.100.1", 5060)
pytestmark = pytest.mark.pain(12)


def seen(host: str, port: int, respond: Answer) -> Answer:
    """A server to which our requests seem to come from there."""

    def through(request: Request, key: TransportKey) -> bytes | None:
        data = respond(request, key)
        return None if data is None else data.replace(b";rport;", f";rport={port};received={host};".encode(), 1)

    return through


class Table:
    """A registrar's bindings: every Contact as it came, ``expires=0`` removes."""

    def __init__(self) -> None:
        self.contacts: set[str] = set()
        self.at = ("203.0.113.7", 40000)

    def __call__(self, request: Request, key: TransportKey) -> bytes | None:
        for value in request.headers("contact"):
            uri = value.partition(">")[0][1:]
            if value.endswith(";expires=0") or request.header("expires") == "0":
                self.contacts.discard(uri)
            else:
                self.contacts.add(uri)
        listed = [f"Contact: <{uri}>;expires=3600" for uri in sorted(self.contacts)]
        return seen(*self.at, lambda asked, _: reply(asked, 200, *listed))(request, key)


@pytest.fixture
def driver() -> Driver:
    return Driver()


def place(request: Request) -> str:
    """Host and port of the first Contact."""
    return request.headers("contact")[0].partition("@")[2].partition(">")[0]


class TestLearning:
    def test_a_challenge_teaches_it_before_anything_is_registered(self, driver: Driver) -> None:
        driver.always = seen("203.0.113.7", 40000, digest())
        driver.add()
        driver.run(1)
        first, second = driver.sent()
        assert place(first) == "198.51.100.1:5060"
        assert place(second) == "203.0.113.7:40000"
        assert len(second.headers("contact")) == 1
        driver.assert_status("registered")
        assert driver.state().registered_contact == f"sip:{driver.flow().contact_token}@203.0.113.7:40000"

    def test_a_2xx_teaches_it_and_the_same_register_removes_the_old_one(self, driver: Driver) -> None:
        driver.always = table = Table()
        driver.add()
        driver.run(1)
        first, second = driver.sent()
        assert place(first) == "198.51.100.1:5060"
        assert place(second) == "203.0.113.7:40000"
        assert second.headers("contact")[1].endswith("@198.51.100.1:5060>;expires=0")
        assert table.contacts == {f"sip:{driver.flow().contact_token}@203.0.113.7:40000"}
        driver.assert_status("registered")
        assert driver.events().count("registered") == 1

    def test_whoever_comes_later_knows_it(self, driver: Driver) -> None:
        driver.always = Table()
        driver.add(1)
        driver.run(1)
        driver.sent()
        driver.add(2)
        driver.run(1)
        assert place(driver.sent_register()) == "203.0.113.7:40000"

    def test_refreshes_stay_with_it(self, driver: Driver) -> None:
        driver.always = Table()
        driver.add()
        driver.run(1)
        driver.sent()
        driver.run_to_register()
        refresh = driver.sent_register()
        assert place(refresh) == "203.0.113.7:40000"
        assert len(refresh.headers("contact")) == 1

    def test_it_is_what_a_deregistration_removes(self, driver: Driver) -> None:
        driver.always = table = Table()
        driver.add()
        driver.run(1)
        driver.disable()
        driver.run(1)
        assert table.contacts == set()

    def test_it_survives_a_restart(self, driver: Driver) -> None:
        driver.always = table = Table()
        driver.add()
        driver.run(1)
        driver.crash()
        driver.want()
        driver.sent()
        driver.run_to_register()
        refresh = driver.sent_register()
        assert place(refresh) == "203.0.113.7:40000"
        assert len(refresh.headers("contact")) == len(table.contacts) == 1


class TestChange:
    def test_another_mapping_is_registered_at_the_refresh_that_shows_it(self, driver: Driver) -> None:
        driver.always = table = Table()
        driver.add()
        driver.run(1)
        driver.sent()
        table.at = ("203.0.113.7", 50000)
        driver.run_to_register()
        driver.run(1)
        assert [place(request) for request in driver.sent()] == ["203.0.113.7:40000", "203.0.113.7:50000"]
        assert table.contacts == {f"sip:{driver.flow().contact_token}@203.0.113.7:50000"}

    def test_nothing_is_set_and_removed_in_one_request(self, driver: Driver) -> None:
        """The address changes back while the request that removes the old contact is being answered."""
        driver.always = table = Table()
        driver.add()
        driver.run(1)
        table.at = ("203.0.113.7", 50000)
        driver.answers.append(seen("203.0.113.7", 50000, answer(500)))
        driver.run_to_register()
        table.at = ("203.0.113.7", 40000)
        driver.answers.append(seen("203.0.113.7", 40000, challenge()))
        driver.run_to_register()
        driver.run(1)
        assert place(driver.sends[-2][2]) == "203.0.113.7:50000"
        assert len(driver.sends[-2][2].headers("contact")) == 2
        assert place(driver.sends[-1][2]) == "203.0.113.7:40000"
        assert len(driver.sends[-1][2].headers("contact")) == 1

    def test_a_nat_that_is_gone(self, driver: Driver) -> None:
        driver.always = table = Table()
        driver.add()
        driver.run(1)
        table.at = LOCAL
        driver.run_to_register()
        driver.run(1)
        assert table.contacts == {f"sip:{driver.flow().contact_token}@198.51.100.1:5060"}

    def test_another_address_in_every_answer_ends_in_one_contact(self, driver: Driver) -> None:
        table = Table()
        ports = itertools.count(20000)

        def restless(request: Request, key: TransportKey) -> bytes | None:
            table.at = ("203.0.113.7", next(ports))
            return table(request, key)

        driver.always = restless
        driver.add()
        driver.run(60)
        assert len(driver.sent()) == 4
        settled = set(table.contacts)
        assert len(settled) == 1
        for _ in range(10):
            driver.run_to_register(within=3600)
        assert len(driver.sent()) <= 10 + 3 * 10
        assert len(table.contacts) == 1
        driver.assert_status("registered")

    def test_many_profiles_behind_a_restless_nat_do_not_storm(self, driver: Driver) -> None:
        table = Table()
        ports = itertools.count(20000)

        def restless(request: Request, key: TransportKey) -> bytes | None:
            table.at = ("203.0.113.7", next(ports))
            return ok()(request, key) and seen(*table.at, ok())(request, key)

        driver.always = restless
        for number in range(1, 31):
            driver.add(number)
        driver.run(120)
        assert len(driver.sends) <= 30 * 4


class TestNotUsed:
    def test_when_the_answer_says_what_we_know(self, driver: Driver) -> None:
        driver.always = seen(*LOCAL, ok())
        driver.add()
        driver.run(1)
        assert place(driver.sent_register()) == "198.51.100.1:5060"

    def test_over_a_connection(self, driver: Driver) -> None:
        from machine_driver import server

        driver.always = seen("203.0.113.7", 40000, ok())
        driver.add(registrar=server("sip:192.0.2.1;transport=tcp"))
        driver.run(1)
        assert place(driver.sent_register()).startswith("198.51.100.1:4")

    def test_with_a_contact_that_points_elsewhere(self, driver: Driver) -> None:
        driver.always = seen("203.0.113.7", 40000, ok())
        driver.add(contact_uri="sip:me@sbc.test")
        driver.run(1)
        assert driver.sent_register().headers("contact")[0].startswith("<sip:me@sbc.test>")

    def test_a_private_address_in_place_of_a_public_one(self, driver: Driver) -> None:
        driver.local["udp"] = ("8.8.4.4", 5060)
        driver.always = seen("10.0.0.5", 40000, ok())
        driver.add()
        driver.run(1)
        assert place(driver.sent_register()) == "8.8.4.4:5060"


class TestOneContactAtATime:
    """A registrar that refuses a REGISTER with two Contacts."""

    def test_the_old_one_is_removed_afterwards(self, driver: Driver) -> None:
        table = Table()

        def narrow(request: Request, key: TransportKey) -> bytes | None:
            if len(request.headers("contact")) > 1:
                return seen(*table.at, answer(400))(request, key)
            return table(request, key)

        driver.always = narrow
        driver.add()
        driver.run(2)
        assert table.contacts == {f"sip:{driver.flow().contact_token}@203.0.113.7:40000"}
        driver.assert_status("registered")
        assert driver.state().last_error is None
        assert UDP in driver.registrations.transports
        assert len(driver.sent()) == 4

    def test_a_refusal_that_teaches_the_address_was_not_about_two_contacts(self, driver: Driver) -> None:
        driver.registered()
        count = len(driver.sends)
        driver.registrations.transports[UDP].local = ("198.51.100.2", 5060)  # the socket is another one by now
        driver.answers.append(seen("203.0.113.7", 40000, answer(491)))
        driver.run_to_register()
        driver.run(1)
        assert len(driver.sends) == count + 1
        assert not driver.registrations.transports[UDP].one_contact


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=4000;received=192.0.2.9;branch=z9hG4bKa", ("192.0.2.9", 4000)),
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa;received=192.0.2.9;rport=4000", ("192.0.2.9", 4000)),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=4000", ("10.0.0.1", 4000)),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport;received=192.0.2.9", None),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=0;received=192.0.2.9", None),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=65536", None),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=99999999999999999999", None),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=4000;received=evil.test", None),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=4000;received=0.0.0.0", None),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=4000;received=224.0.0.1", None),
        ("SIP/2.0/UDP 10.0.0.1:5060;rport=4000;received=[2001:db8::1]", ("2001:db8::1", 4000)),
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=x, SIP/2.0/UDP 10.0.0.2;rport=4000", None),
        ("", None),
    ],
)
def test_what_a_via_says(via: str, expected: tuple[str, int] | None) -> None:
    assert seen_as(via, ("10.0.0.1", 5060)) == expected
