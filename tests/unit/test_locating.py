"""Locating SIP servers (RFC 3263 §4, RFC 2782, RFC 3403)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from sipprofile.sip.locating import (
    MAXIMUM_ADDRESSES,
    MAXIMUM_CANDIDATES,
    MAXIMUM_SERVERS,
    MAXIMUM_SERVICES,
    Candidate,
    Choice,
    Located,
    Naptr,
    Question,
    Record,
    Server,
    Srv,
    draw,
    locate,
)
from sipprofile.sip.uri import Uri

A, B, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"
ALL = ("udp", "tcp", "tls", "ws", "wss")


class Zone:
    """Record sets; what is not in it does not exist. ``rounds`` are the questions asked at once."""

    def __init__(self) -> None:
        self.records: dict[Question, tuple[Record, ...]] = {}
        self.rounds: list[list[Question]] = []

    def address(self, name: str, *addresses: str) -> None:
        self.records[Question(name)] = addresses

    def srv(self, name: str, *records: tuple[int, int, int, str]) -> None:
        self.records[Question(name, "SRV")] = tuple(Srv(*record) for record in records)

    def naptr(self, name: str, *records: tuple[int, int, str, str, str]) -> None:
        self.records[Question(name, "NAPTR")] = tuple(Naptr(*record) for record in records)

    def locate(self, uri: str, transports: tuple[str, ...] = ("udp", "tcp")) -> Located:
        server = Server.of(Uri.parse(uri), transports)
        known: dict[Question, tuple[Record, ...]] = {}
        self.rounds = []
        while missing := (found := locate(server, known.get)).missing:
            assert not found.tiers
            self.rounds.append(list(missing))
            known |= {question: self.records.get(question, ()) for question in missing}
            assert len(self.rounds) < 40
        return found

    def candidates(self, uri: str, transports: tuple[str, ...] = ("udp", "tcp")) -> list[Candidate]:
        return draw(self.locate(uri, transports).tiers, Random(1))

    def asked(self) -> set[tuple[str, str]]:
        return {(question.kind, question.name) for questions in self.rounds for question in questions}


@pytest.fixture
def zone() -> Zone:
    """``example.test`` as in the example of RFC 3263 §4."""
    zone = Zone()
    zone.address("example.test", "192.0.2.99")
    zone.address("one.example.test", A)
    zone.address("two.example.test", B, SIX)
    zone.srv("_sip._udp.example.test", (0, 0, 5070, "one.example.test"))
    zone.srv("_sip._tcp.example.test", (0, 1, 5060, "one.example.test"), (1, 2, 5062, "two.example.test"))
    zone.srv("_sips._tcp.example.test", (0, 0, 5061, "two.example.test"))
    return zone


class TestTransport:
    """RFC 3263 §4.1."""

    @pytest.mark.parametrize(
        ("uri", "candidate"),
        [
            ("sip:192.0.2.1", ("udp", A, 5060)),
            ("sip:192.0.2.1:5070", ("udp", A, 5070)),
            ("sip:192.0.2.1;transport=tcp", ("tcp", A, 5060)),
            ("sip:192.0.2.1;transport=tls", ("tls", A, 5061)),
            ("sip:192.0.2.1;transport=ws", ("ws", A, 80)),
            ("sip:192.0.2.1;transport=wss", ("wss", A, 443)),
            ("sip:[2001:DB8::1]:5080", ("udp", "2001:db8::1", 5080)),
            ("sips:192.0.2.1", ("tls", A, 5061)),
            ("sips:192.0.2.1;transport=tcp", ("tls", A, 5061)),
            ("sips:192.0.2.1;transport=ws", ("wss", A, 443)),
            ("sip:example.test;maddr=192.0.2.1", ("udp", A, 5060)),
        ],
    )
    def test_a_numeric_target_is_not_looked_up(self, zone: Zone, uri: str, candidate: tuple[str, str, int]) -> None:
        assert zone.candidates(uri, ALL) == [candidate]
        assert zone.rounds == []

    @pytest.mark.parametrize(
        ("uri", "protocol", "port"),
        [
            ("sip:example.test:5060", "udp", 5060),
            ("sip:example.test:5065;transport=tcp", "tcp", 5065),
            ("sips:example.test:5065", "tls", 5065),
        ],
    )
    def test_an_explicit_port_needs_addresses_alone(self, zone: Zone, uri: str, protocol: str, port: int) -> None:
        assert zone.candidates(uri, ALL) == [(protocol, "192.0.2.99", port)]
        assert zone.asked() == {("ADDRESS", "example.test")}

    def test_naptr_comes_first_then_srv_then_addresses(self, zone: Zone) -> None:
        zone.naptr(
            "example.test",
            (50, 50, "s", "SIPS+D2T", "_sips._tcp.example.test"),
            (90, 50, "s", "SIP+D2T", "_sip._tcp.example.test"),
            (100, 50, "s", "SIP+D2U", "_sip._udp.example.test"),
        )
        assert zone.candidates("sip:example.test") == [("tcp", A, 5060), ("tcp", B, 5062), ("tcp", SIX, 5062)]
        assert [[question.kind for question in questions] for questions in zone.rounds] == [
            ["NAPTR"],
            ["SRV"],
            ["ADDRESS", "ADDRESS"],
        ]

    def test_only_supported_transports_count(self, zone: Zone) -> None:
        zone.naptr(
            "example.test",
            (10, 10, "S", "sips+d2t", "_sips._tcp.example.test"),
            (10, 10, "s", "SIP+D2S", "_sip._sctp.example.test"),
            (20, 10, "s", "sip+d2u", "_sip._udp.example.test"),
        )
        assert {found.protocol for found in zone.candidates("sip:example.test", ALL)} == {"tls"}
        assert zone.candidates("sip:example.test", ("udp", "tcp")) == [("udp", A, 5070)]
        assert {question.name for question in zone.rounds[1]} == {"_sip._udp.example.test"}

    def test_sips_takes_secure_services_alone(self, zone: Zone) -> None:
        zone.naptr("example.test", (10, 10, "s", "SIP+D2T", "_sip._tcp.example.test"))
        assert zone.candidates("sips:example.test", ALL) == [("tls", B, 5061), ("tls", SIX, 5061)]
        assert zone.asked() >= {("SRV", "_sips._tcp.example.test")}
        assert ("SRV", "_sip._tcp.example.test") not in zone.asked()

    def test_websocket_is_found_by_naptr(self, zone: Zone) -> None:
        """RFC 7118 §10.4."""
        zone.naptr("example.test", (1, 1, "s", "SIPS+D2W", "_sips._ws.example.test"))
        zone.srv("_sips._ws.example.test", (0, 0, 443, "one.example.test"))
        assert zone.candidates("sip:example.test", ALL) == [("wss", A, 443)]

    def test_without_naptr_every_supported_transport_is_asked_for_at_once(self, zone: Zone) -> None:
        found = zone.candidates("sip:example.test", ALL)
        assert [kind for kind, *_ in found] == ["udp", "tcp", "tcp", "tcp"]
        assert [question.name for question in zone.rounds[1]] == ["_sip._udp.example.test", "_sip._tcp.example.test"]

    def test_no_records_mean_udp_at_the_default_port(self, zone: Zone) -> None:
        for name in ("_sip._udp", "_sip._tcp", "_sips._tcp"):
            del zone.records[Question(f"{name}.example.test", "SRV")]
        assert zone.candidates("sip:example.test") == [("udp", "192.0.2.99", 5060)]
        assert zone.candidates("sips:example.test", ALL) == [("tls", "192.0.2.99", 5061)]
        assert zone.candidates("sip:example.test", ("tcp",)) == [("tcp", "192.0.2.99", 5060)]

    @pytest.mark.parametrize(
        "record",
        [
            (10, 10, "u", "SIP+D2T", "_sip._tcp.example.test"),
            (10, 10, "", "SIP+D2T", "_sip._tcp.example.test"),
            (10, 10, "s", "E2U+sip", "_sip._tcp.example.test"),
            (10, 10, "s", "SIP+D2T", ""),
        ],
    )
    def test_naptr_records_of_no_use_are_passed_over(self, zone: Zone, record: tuple[int, int, str, str, str]) -> None:
        zone.naptr("example.test", record)
        assert zone.candidates("sip:example.test")[0] == ("udp", A, 5070)


class TestServer:
    """RFC 3263 §4.2."""

    @pytest.mark.parametrize(
        ("uri", "name", "first"),
        [
            ("sip:example.test;transport=udp", "_sip._udp", ("udp", A, 5070)),
            ("sip:example.test;transport=TCP", "_sip._tcp", ("tcp", A, 5060)),
            ("sip:example.test;transport=tls", "_sips._tcp", ("tls", B, 5061)),
            ("sips:example.test;transport=tcp", "_sips._tcp", ("tls", B, 5061)),
        ],
    )
    def test_a_given_transport_needs_its_srv_records_alone(
        self, zone: Zone, uri: str, name: str, first: tuple[str, str, int]
    ) -> None:
        zone.naptr("example.test", (1, 1, "s", "SIP+D2U", "_sip._udp.example.test"))
        assert zone.candidates(uri, ALL)[0] == first
        assert [question.name for question in zone.rounds[0]] == [f"{name}.example.test"]

    def test_a_given_transport_without_srv_records(self, zone: Zone) -> None:
        zone.address("bare.test", A)
        assert zone.candidates("sip:bare.test;transport=tcp") == [("tcp", A, 5060)]
        assert zone.candidates("sip:bare.test;transport=ws", ALL) == [("ws", A, 80)]
        assert zone.asked() == {("ADDRESS", "bare.test")}

    def test_all_addresses_of_a_server_are_tried(self, zone: Zone) -> None:
        zone.address("example.test", A, B, SIX)
        assert [found.address for found in zone.candidates("sip:example.test:5060")] == [A, B, SIX]

    def test_a_service_that_is_decidedly_not_available(self, zone: Zone) -> None:
        """RFC 2782, Target: a single record with '.'."""
        zone.srv("_sip._udp.example.test", (0, 0, 0, ""))
        assert {found.protocol for found in zone.candidates("sip:example.test")} == {"tcp"}
        zone.srv("_sip._tcp.example.test", (0, 0, 0, ""))
        assert zone.candidates("sip:example.test") == []
        assert ("ADDRESS", "example.test") not in zone.asked()

    def test_a_server_without_address_is_left_out(self, zone: Zone) -> None:
        zone.srv("_sip._udp.example.test", (0, 0, 1, "gone.example.test"), (1, 0, 2, "one.example.test"))
        assert zone.candidates("sip:example.test;transport=udp") == [("udp", A, 2)]
        zone.srv("_sip._udp.example.test", (0, 0, 1, "gone.example.test"))
        assert zone.candidates("sip:example.test;transport=udp") == []  # and not the domain's own address


class TestOrder:
    def test_naptr_preference_orders_transports(self, zone: Zone) -> None:
        zone.naptr(
            "example.test",
            (10, 20, "s", "SIP+D2U", "_sip._udp.example.test"),
            (10, 10, "s", "SIP+D2T", "_sip._tcp.example.test"),
        )
        assert [found.protocol for found in zone.candidates("sip:example.test")] == ["tcp", "tcp", "tcp", "udp"]

    def test_a_higher_naptr_order_counts_only_when_the_lower_is_of_no_use(self, zone: Zone) -> None:
        """RFC 3403 §4.1."""
        zone.naptr(
            "example.test",
            (20, 1, "s", "SIP+D2U", "_sip._udp.example.test"),
            (10, 9, "s", "SIP+D2T", "_sip._tcp.example.test"),
        )
        assert {found.protocol for found in zone.candidates("sip:example.test")} == {"tcp"}
        zone.srv("_sip._tcp.example.test")
        assert {found.protocol for found in zone.candidates("sip:example.test")} == {"udp"}

    def test_srv_priority_comes_before_weight(self, zone: Zone) -> None:
        zone.srv("_sip._udp.example.test", (20, 65535, 3, "one.example.test"), (10, 0, 1, "one.example.test"))
        located = zone.locate("sip:example.test;transport=udp")
        for seed in range(50):
            assert [found.port for found in draw(located.tiers, Random(seed))] == [1, 3]

    def test_weights_are_shares(self) -> None:
        """RFC 2782, Weight: of all first choices, and of the second ones among what is left."""
        tier = tuple(Choice(weight, (Candidate("udp", A, weight),)) for weight in (60, 30, 10))
        random = Random(1)
        draws = [[found.port for found in draw((tier,), random)] for _ in range(6000)]
        assert all(sorted(ports) == [10, 30, 60] for ports in draws)
        first = Counter(ports[0] for ports in draws)
        assert [round(first[weight] / 600) for weight in (60, 30, 10)] == [6, 3, 1]
        second = Counter(ports[1] for ports in draws if ports[0] == 60)
        assert second[30] / second.total() == pytest.approx(0.75, abs=0.03)

    def test_weight_0_is_hardly_ever_first_among_others_and_even_among_its_like(self) -> None:
        random = Random(1)
        mixed = tuple(Choice(weight, (Candidate("udp", A, port),)) for port, weight in ((1, 0), (2, 100)))
        first = Counter(draw((mixed,), random)[0].port for _ in range(5000))
        assert 0 < first[1] < 150
        equal = tuple(Choice(0, (Candidate("udp", A, port),)) for port in (1, 2, 3, 4))
        first = Counter(draw((equal,), random)[0].port for _ in range(4000))
        assert min(first.values()) > 800

    def test_one_server_needs_no_chance(self, zone: Zone) -> None:
        class NoChance(Random):
            def random(self) -> float:
                raise AssertionError("chance was asked for")

            getrandbits = random  # type: ignore[assignment]

        assert draw(zone.locate("sip:example.test;transport=tcp").tiers, NoChance())


class TestBounds:
    def test_a_large_srv_answer(self, zone: Zone) -> None:
        names = [f"s{number}.example.test" for number in range(1500)]
        zone.srv("_sip._udp.example.test", *((1500 - number, 1, 5060, name) for number, name in enumerate(names)))
        for name in names:
            zone.address(name, A)
        found = zone.locate("sip:example.test;transport=udp")
        assert [question.name for question in zone.rounds[-1]] == names[-1 : -1 - MAXIMUM_SERVERS : -1]
        assert len(found.tiers) == MAXIMUM_SERVERS

    def test_many_addresses(self, zone: Zone) -> None:
        zone.address("example.test", *(f"192.0.2.{number}" for number in range(250)))
        assert len(zone.candidates("sip:example.test:5060")) == MAXIMUM_ADDRESSES
        zone.srv("_sip._udp.example.test", *((number, 0, 5060 + number, "example.test") for number in range(30)))
        assert len(zone.candidates("sip:example.test;transport=udp")) == MAXIMUM_CANDIDATES

    def test_many_naptr_records(self, zone: Zone) -> None:
        zone.naptr("example.test", *((n, 0, "s", "SIP+D2U", f"_sip._udp.n{n}.test") for n in range(1000)))
        zone.locate("sip:example.test")
        assert len([kind for kind, name in zone.asked() if kind == "SRV" and ".n" in name]) == MAXIMUM_SERVICES

    def test_a_name_that_leads_to_itself_ends(self, zone: Zone) -> None:
        zone.naptr("example.test", (1, 1, "s", "SIP+D2U", "example.test"))
        zone.srv("example.test", (1, 1, 5060, "example.test"))
        assert zone.candidates("sip:example.test") == [("udp", "192.0.2.99", 5060)]
