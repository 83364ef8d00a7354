"""One look-up per record set and one location per server, as long as the TTLs allow (RFC 3263 §4, RFC 2308)."""

from __future__ import annotations

from random import Random

import pytest

from sipprofile.registration import locations as module
from sipprofile.registration.actions import Resolve
from sipprofile.registration.locations import Locations
from sipprofile.sip.locating import Naptr, Question, Server, Srv
from sipprofile.sip.uri import Uri

LIMIT = 15.0
A, B = "192.0.2.1", "192.0.2.2"
NAPTR = Question("example.test", "NAPTR")
UDP, TCP = (Question(f"_sip._{name}.example.test", "SRV") for name in ("udp", "tcp"))
DOMAIN, ONE, TWO = (Question(name) for name in ("example.test", "one.test", "two.test"))


def server(uri: str = "sip:example.test") -> Server:
    return Server.of(Uri.parse(uri), ("udp", "tcp"))


class Names:
    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.locations = Locations(self._act, LIMIT)

    def _act(self, action: Resolve) -> None:
        self.asked.append(action.question)

    def take(self) -> list[Question]:
        asked, self.asked = self.asked, []
        return asked

    def where(self, uri: str = "sip:example.test") -> list[tuple[str, str, int]]:
        return [tuple(found) for found in self.locations.candidates(server(uri), Random(1))]

    def find(self, now: float, *, ttl: float = 300.0, naptr: float = 600.0) -> None:
        """Go the whole way to two servers by UDP."""
        where = self.locations
        where.ask(server(), 1, now)
        if NAPTR in self.take():
            where.answered(NAPTR, (Naptr(1, 1, "s", "SIP+D2U", UDP.name),), naptr, now)
        if UDP in self.take():
            where.answered(UDP, (Srv(1, 0, 5061, "one.test"), Srv(2, 0, 5062, "two.test")), ttl, now)
        for question, address in ((ONE, A), (TWO, B)):
            if question in self.asked:
                where.answered(question, (address,), ttl, now)
        self.take()


@pytest.fixture
def names() -> Names:
    return Names()


BOTH = [("udp", A, 5061), ("udp", B, 5062)]


class TestSharing:
    def test_a_hundred_thousand_flows_ask_once_and_are_told_once(self, names: Names) -> None:
        where = names.locations
        for flow in range(100_000):
            where.ask(server(), flow, 10.0)
        assert names.take() == [NAPTR]
        assert where.failed(NAPTR, "resolve_not_found", 60, 10.1) == set()
        assert names.take() == [UDP, TCP]
        assert where.answered(UDP, (Srv(0, 0, 5070, "one.test"),), 60, 10.2) == set()
        assert where.failed(TCP, "resolve_not_found", 60, 10.3) == set()
        assert names.take() == [ONE]
        assert len(where.answered(ONE, (A,), 60, 10.4)) == 100_000
        assert where.known(server(), 11.0)
        assert names.where() == [("udp", A, 5070)]

    def test_two_servers_share_a_record_set(self, names: Names) -> None:
        where = names.locations
        where.ask(server("sip:one.test:5060"), 1, 1.0)
        where.ask(server("sip:one.test:5070"), 2, 1.0)
        assert names.take() == [ONE]
        assert where.answered(ONE, (A,), 60, 2.0) == {1, 2}

    def test_a_numeric_server_is_known_without_a_question(self, names: Names) -> None:
        assert names.locations.known(server("sip:192.0.2.1"), 1.0)
        assert names.where("sip:192.0.2.1") == [("udp", A, 5060)]
        assert names.locations.known(server("sip:192.0.2.1"), 1e12)
        assert names.asked == []


class TestTimeToLive:
    def test_only_what_has_expired_is_asked_for_again(self, names: Names) -> None:
        names.find(100.0, ttl=50.0)
        assert names.where() == BOTH
        assert names.locations.known(server(), 149.9)
        assert not names.locations.known(server(), 150.0)
        names.locations.ask(server(), 1, 150.0)
        assert names.take() == [UDP]

    def test_a_change_is_noticed_when_the_ttl_has_passed(self, names: Names) -> None:
        names.find(100.0, ttl=50.0)
        where = names.locations
        where.ask(server(), 1, 150.0)
        where.answered(UDP, (Srv(1, 0, 5063, "two.test"),), 50, 150.1)
        where.answered(TWO, (A,), 50, 150.2)
        assert names.where() == [("udp", A, 5063)]

    def test_ttls_shorter_than_the_whole_look_up_come_to_an_end(self, names: Names) -> None:
        where = names.locations
        where.ask(server(), 1, 0.5)
        where.answered(NAPTR, (Naptr(1, 1, "s", "SIP+D2U", UDP.name),), 0, 2.0)
        where.answered(UDP, (Srv(1, 0, 5061, "one.test"),), 0, 4.0)
        assert where.answered(ONE, (A,), 0, 6.0) == {1}
        assert where.known(server(), 6.5)
        assert not where.known(server(), 7.0)

    def test_a_missing_record_set_stays_missing_for_its_negative_ttl(self, names: Names) -> None:
        """RFC 2308 §5."""
        where = names.locations
        where.ask(server(), 1, 0.5)
        for question in (NAPTR, UDP, TCP):
            where.failed(question, "resolve_not_found", 120, 0.5)
        where.answered(DOMAIN, (A,), 3600, 0.5)
        assert where.known(server(), 120.0)
        assert not where.known(server(), 120.5)
        names.take()
        where.ask(server(), 1, 121.0)
        assert names.take() == [NAPTR]
        where.answered(NAPTR, (Naptr(1, 1, "s", "SIP+D2U", UDP.name),), 60, 121.0)
        where.answered(UDP, (Srv(1, 0, 5061, "one.test"),), 60, 121.0)
        where.answered(ONE, (B,), 60, 121.0)
        assert names.where() == [("udp", B, 5061)]


class TestFailure:
    def test_a_name_server_that_does_not_know_naptr_and_srv_leaves_the_addresses(self, names: Names) -> None:
        where = names.locations
        where.ask(server(), 1, 1.0)
        where.failed(NAPTR, "resolve_failed", 5, 1.0)
        where.failed(UDP, "resolve_timeout", 5, 4.0)
        where.failed(TCP, "resolve_timeout", 5, 4.0)
        assert where.answered(DOMAIN, (A,), 60, 4.0) == {1}
        assert names.where() == [("udp", A, 5060)]

    def test_old_records_are_better_than_none(self, names: Names) -> None:
        names.find(100.0, ttl=50.0)
        where = names.locations
        where.ask(server(), 7, 200.0)
        where.failed(UDP, "resolve_timeout", 5, 203.0)
        where.failed(ONE, "resolve_timeout", 5, 213.0)
        assert where.failed(TWO, "resolve_not_found", 5, 213.0) == {7}
        assert names.where() == BOTH

    def test_srv_records_that_were_removed_are_gone(self, names: Names) -> None:
        names.find(100.0, ttl=50.0, naptr=60.0)
        where = names.locations
        where.ask(server(), 7, 200.0)
        where.failed(NAPTR, "resolve_not_found", 60, 200.0)
        where.failed(UDP, "resolve_not_found", 60, 200.0)
        where.failed(TCP, "resolve_not_found", 60, 200.0)
        where.answered(DOMAIN, ("192.0.2.9",), 60, 200.0)
        assert names.where() == [("udp", "192.0.2.9", 5060)]

    def test_when_time_is_up_what_is_known_is_used(self, names: Names) -> None:
        where = names.locations
        where.ask(server(), 1, 1.0)
        where.answered(NAPTR, (Naptr(1, 1, "s", "SIP+D2U", UDP.name),), 60, 1.0)
        where.answered(UDP, (Srv(1, 0, 5061, "one.test"), Srv(2, 0, 5062, "two.test")), 60, 1.0)
        where.answered(TWO, (B,), 60, 2.0)
        assert where.give_up(server(), 16.0) == {1}
        assert names.where() == [("udp", B, 5062)]
        assert where.known(server(), 30.9)

    @pytest.mark.parametrize("code", ["resolve_not_found", "resolve_timeout", "resolve_failed"])
    def test_the_reason_is_that_of_the_last_resort(self, names: Names, code: str) -> None:
        where = names.locations
        where.ask(server(), 1, 1.0)
        for question in (NAPTR, UDP, TCP):
            where.failed(question, "resolve_not_found", 60, 1.0)
        assert where.failed(DOMAIN, code, 60, 1.0) == {1}
        assert where.of(server()).failure == code
        assert names.where() == []

    def test_answers_that_nobody_asked_for_change_nothing(self, names: Names) -> None:
        assert names.locations.answered(DOMAIN, (A,), 60, 1.0) == set()
        assert names.locations.failed(UDP, "resolve_failed", 60, 1.0) == set()
        assert not names.locations.known(server(), 1.0)


def test_memory_is_bounded(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 20)
    for number in range(200):
        question = Question(f"n{number}.test")
        names.locations.ask(server(f"sip:{question.name}:5060"), 1, 1.0)
        names.locations.answered(question, (A,), 60, 1.0)
    assert len(names.locations._lookups) <= 20
    assert len(names.locations._locations) <= 20
