"""The short way through an answer to REGISTER does exactly what the long way does, whatever comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine_driver import answer, server, silence, subscribed
from registrar_formats import FORMATS, Format, echoing, freeswitch, kamailio, opensips
from twins import Twins

from sipprofile.agents.ietf import IetfAgent
from sipprofile.registration import plain, receiving
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.plain import FIRST_MISSES, KEPT
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request, Response, parse
from sipprofile.testing.registrar import Registrar

MANY = 100
UNHURRIED = RegistrationSettings(udp_keepalive=0.0, t2=4000.0, rate=1000.0, burst=1000.0)


class Parsed:
    """Counts the messages that are parsed, by both twins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        parse = receiving.parse

        def counting(data: bytes) -> Any:
            self.count += 1
            return parse(data)

        monkeypatch.setattr(receiving, "parse", counting)

    def taken_short(self, answers: int) -> int:
        """Of ``answers`` since the last question, how many one twin alone has parsed."""
        count, self.count = self.count, 0
        return 2 * answers - count


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Parsed:
    return Parsed(monkeypatch)


def written_anew(request: Request) -> Request:
    """``request`` without its credentials: what answers it is a challenge."""
    lines = [line for line in request._head.split(b"\r\n") if not line.startswith(b"Authorization")]
    found = parse(b"\r\n".join(lines) + b"\r\n\r\n")
    assert isinstance(found, Request)
    return found


def answer_all(twins: Twins, form: Format, prefix: str = "n", grant: int | None = None) -> int:
    """Answer everything that waits; how many that were."""
    waiting = twins.open_requests()
    for place, (key, request) in enumerate(waiting):
        twins.receive(form(request, f"{prefix}{place}", grant), key)
    twins.compare_states()
    return len(waiting)


@pytest.fixture
def eager() -> Iterator[None]:
    """Whatever can be learnt is learnt at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "FIRST_MISSES", 0)
        yield


class TestTaken:
    @pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
    def test_that_of_known_registrars_but_for_the_first(self, form: Format, parsed: Parsed) -> None:
        twins = Twins(settings=UNHURRIED)
        for number in range(1, MANY + 1):
            twins.add(number, expires=600)
        assert answer_all(twins, form) == MANY
        assert parsed.taken_short(MANY) == MANY - FIRST_MISSES - 1, "challenges"
        assert answer_all(twins, form) == MANY
        assert parsed.taken_short(MANY) >= MANY - 2 * FIRST_MISSES - 1, "grants"
        assert {twins.short.state(number).status for number in twins.profiles} == {"registered"}
        answers = 0
        while answers < MANY:
            timer = twins.short.next_timer()
            assert timer is not None
            twins.pass_time(timer - twins.now)
            answers += answer_all(twins, form)
        assert parsed.taken_short(MANY) == MANY, "grants of refreshes"

    def test_that_of_the_registrar_for_tests(self, parsed: Parsed) -> None:
        twins = Twins(settings=UNHURRIED)
        users = {f"alice{number}": "secret" for number in range(1, MANY + 1)}
        registrar = Registrar("192.0.2.1", users, random=Random(1))
        for number in range(1, MANY + 1):
            twins.add(number)
        for _ in range(2):
            waiting = twins.open_requests()
            for key, request in waiting:
                text = request._head + b"\r\n\r\n"
                for reply in registrar.receive(text, twins.local, twins.now):
                    twins.receive(reply.data, key)
            assert parsed.taken_short(MANY) >= MANY - 2 * FIRST_MISSES - 1
        assert {twins.short.state(number).status for number in twins.profiles} == {"registered"}

    def test_soon_after_the_registrar_has_another_version(self, parsed: Parsed) -> None:
        twins = Twins(settings=UNHURRIED)
        for number in range(1, MANY + 1):
            twins.add(number)
        answer_all(twins, kamailio)
        answer_all(twins, kamailio)
        for form in (opensips, freeswitch, kamailio, echoing, opensips):
            parsed.taken_short(0)
            for number in twins.profiles:
                twins.update(number, expires=twins.profiles[number].expires + 1)
            count = answer_all(twins, form)
            assert count == MANY
            assert parsed.taken_short(count) >= MANY - 2 * FIRST_MISSES - 1

    def test_and_costs_next_to_nothing_where_all_answers_differ(self) -> None:
        twins = Twins(settings=UNHURRIED)
        twins.add(1)
        learnt = set()
        for turn in range(600):
            ((key, request),) = twins.open_requests()
            data = answer(200, f"Contact: {request.header('contact')};q=0.{turn};expires=600")(request, key)
            assert data is not None
            twins.receive(data, key)
            twins.update(1, expires=601 + turn)
            (forms,) = twins.short.forms.values()
            learnt.update(form.parts for form in forms.grants)
            assert len(forms.grants) <= KEPT
        assert 3 <= len(learnt) <= 5

    def test_only_where_there_are_not_too_many_servers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plain, "ADDRESSES", 5)
        twins = Twins(settings=UNHURRIED)
        for number in range(1, 10):
            twins.add(number, registrar=server(f"sip:192.0.2.1:{number}"))
        answer_all(twins, echoing)
        assert [port for _, port in twins.short.forms] == [5, 6, 7, 8, 9]


SPOILT = [
    (rb"^SIP/2.0 (\d+)[^\r]*", rb"SIP/2.0 \1 Fine"),
    (rb"^SIP/2.0", b"sip/2.0"),
    (rb"^SIP", b"\r\nSIP"),
    (rb"(branch=z9hG4bK[^;\r]*)", rb"\1;branch=z9hG4bKother"),
    (rb"(branch=z9hG4bK)", rb"branch=z9hG4bK0.0000000000000000;\1"),
    (rb"branch=z9hG4bK", b"branch=Z9hG4bK"),
    (rb"branch=z9hG4bK", b"branch=z9hG4bK0"),
    (rb"branch=z9hG4bK.", b"branch=z9hG4bKf"),
    (rb"(Via: [^\r]*)", rb"\1\r\n\1"),
    (rb"(Via: [^\r]*)", rb"\1, SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKx"),
    (rb"(Via: [^\r]*)", rb"\1;keep=10"),
    (rb"(Via: [^\r]*)", rb"\1;received=203.0.113.9;rport=4711"),
    (rb";rport(=\d+)?", b";rport=4711"),
    (rb";rport(=\d+)?", b";rport=4711;received=203.0.113.9"),
    (rb";rport(=\d+)?", b";rport=4711;received=10.0.0.9"),
    (rb";rport(=\d+)?", b""),
    (rb"CSeq: ", b"CSeq: 0"),
    (rb"CSeq: \d+", b"CSeq: 1"),
    (rb"CSeq: ", b"CSeq:   "),
    (rb"CSeq: (\d+) REGISTER", rb"CSeq: \1  REGISTER"),
    (rb"CSeq: (\d+) REGISTER", rb"CSeq: \1 OPTIONS"),
    (rb"CSeq: (\d+)", rb"CSeq: \g<1>0000000000"),
    (rb"CSeq:[^\r]*\r\n", b""),
    (rb"CSeq", b"cseq"),
    (rb"Via", b"v"),
    (rb"Call-ID", b"i"),
    (rb"(Call-ID: [^\r]*)", rb"\1\r\n folded"),
    (rb"(From: [^\r]*)", rb"\1\r\nContact: <sip:x@y>;expires=60"),
    (rb"(From: [^\r]*)", rb"\1\nRequire: outbound"),
    (rb"(From: [^\r]*)", rb"\1\rRequire: outbound"),
    (rb"(From: [^\r]*)", b"\\1\0\xff\xfe"),
    (rb"From: [^\r]*", b"From:"),
    (rb"From: [^\r]*\r\n", b""),
    (rb'nonce="[^"]*"', b'nonce=""'),
    (rb'nonce="[^"]*"', b'nonce="' + b"x" * 256 + b'"'),
    (rb'nonce="[^"]*"', b'nonce="' + b"x" * 257 + b'"'),
    (rb'nonce="[^"]*"', b'nonce="' + b"x" * 3000 + b'"'),
    (rb'nonce="[^"]*"', b'nonce="a b"'),
    (rb'nonce="[^"]*"', b'nonce="a,b;c=d"'),
    (rb'nonce="[^"]*"', rb'nonce="a\\"b"'),
    (rb'nonce="[^"]*"', b'nonce="caf\xc3\xa9\xff"'),
    (rb'nonce="([^"]*)"', rb"nonce=\1"),
    (rb'nonce="([^"]*)"', rb"Nonce=\1, nonce=\"other\""),
    (rb'nonce="([^"]*)"', rb'nonce="\1", stale=true'),
    (rb'nonce="([^"]*)"', rb'nonce="\1", stale=false'),
    (rb'nonce="([^"]*)"', rb'nonce="\1", opaque="some\\\\thing"'),
    (rb'nonce="([^"]*)"', rb'nonce="\1", algorithm=SHA-256'),
    (rb'nonce="([^"]*)"', rb'nonce="\1", opaque="a", opaque="b"'),
    (rb'realm="[^"]*"', b'realm="else"'),
    (rb'realm="([^"]*)"', rb'realm="\1", nonce="first"'),
    (rb"(WWW-Authenticate: [^\r]*)", rb"\1\r\n\1"),
    (rb"(WWW-Authenticate: [^\r]*)", rb'\1, Digest realm="else", nonce="m"'),
    (rb"(WWW-Authenticate: [^\r]*)", rb'\1\r\nProxy-Authenticate: Digest realm="else", nonce="m"'),
    (rb"WWW-Authenticate: ", b"WWW-Authenticate: Basic realm=x, "),
    (rb"WWW-Authenticate: ", b"Proxy-Authenticate: "),
    (rb"401 Unauthorized", b"407 Proxy Authentication Required"),
    (rb"200 OK", b"202 Accepted"),
    (rb"200 OK", b"2000 OK"),
    (rb"200 OK", b"100 Trying"),
    (rb"200 OK", b"403 Forbidden"),
    (rb"200 OK", b"503 Service Unavailable"),
    (rb"(Contact: [^\r]*)", rb"\1\r\n\1"),
    (rb"(Contact: [^\r]*)", rb"\1,<sip:other@192.0.2.9>;expires=7"),
    (rb"(Contact: )", rb"\1<sip:other@192.0.2.9>;expires=7, "),
    (rb"(Contact: )", rb"Contact: <sip:other@192.0.2.9>;expires=7\r\n\1"),
    (rb"Contact: [^\r]*", b"Contact: *"),
    (rb"Contact: [^\r]*\r\n", b""),
    (rb"Contact: [^\r]*\r\n", b"Expires: 77\r\n"),
    (rb"Contact: <([^>]*)>", rb"Contact: \1"),
    (rb"Contact: <([^>]*)>", rb'Contact: "name" <\1>'),
    (rb"Contact: <([^>]*)>", rb"Contact: <\1;x=y>"),
    (rb"Contact", b"m"),
    (rb";expires=\d+", b""),
    (rb";expires=\d+", b";expires=0"),
    (rb";expires=\d+", b";expires=1" * 100),
    (rb";expires=\d+", b";expires=1"),
    (rb";expires=\d+", b";expires=61"),
    (rb";expires=\d+", b";expires=-1"),
    (rb";expires=\d+", b";expires=999999999"),
    (rb";expires=\d+", b";expires=9999999999999"),
    (rb";expires=\d+", b';expires="60"'),
    (rb";expires=(\d+)", rb";EXPIRES=\1"),
    (rb";expires=(\d+)", rb";expires=60;expires=\1"),
    (rb";expires=(\d+)", rb";expires=\1;q=0.5"),
    (rb";expires=(\d+)", rb"; expires=\1"),
    (rb";expires=(\d+)", rb";expires=\1;reg-id=2"),
    (rb";expires=(\d+)", rb";reg-id=2;expires=\1"),
    (rb";expires=(\d+)", rb";reg-id=1;expires=\1"),
    (rb";expires=(\d+)", rb';pub-gruu="sip:g@x";expires=\1'),
    (rb"urn:uuid:0", b"urn:uuid:f"),
    (rb"urn:uuid", b"URN:UUID"),
    (rb"Content-Length: 0", b"Content-Length: 5"),
    (rb"Content-Length: 0", b"Content-Length: 00"),
    (rb"Content-Length: 0", b"Content-Length: x"),
    (rb"Content-Length: 0", b"Content-Length: 5\r\nContent-Length: 0"),
    (rb"Content-Length: 0\r\n\r\n$", b"Content-Length: 3\r\n\r\nabc"),
    (rb"Content-Length: 0\r\n\r\n$", b"Content-Length: 0\r\n\r\nabc"),
    (rb"Content-Length: 0\r\n\r\n$", b"Content-Length: 0\r\n\r\n\r\n"),
    (rb"Content-Length: 0\r\n\r\n$", b"Content-Length: 0\r\n"),
    (rb"\r\n", b"\n"),
    (rb"\r\n", b"\r"),
    *[
        (rb"Content-Length", line + b"\r\nContent-Length")
        for line in (
            b"Service-Route: <sip:edge.test;lr>",
            b"Path: <sip:edge.test;lr>",
            b"P-Associated-URI: <sip:other@example.test>",
            b"p-associated-uri: <sip:other@example.test>",
            b"Require: outbound",
            b"Require: path",
            b"Flow-Timer: 30",
            b"Flow-Timer:",
            b'Authentication-Info: nextnonce="next"',
            b'Authentication-Info: qop=auth, rspauth="0123"',
            b'Proxy-Authentication-Info: nextnonce="next"',
            b"Expires: 60",
            b"Expires: 0",
            b"Retry-After: 5",
            b"Min-Expires: 90",
            b"Date: " + b"x" * 2500,
            b"X: y",
            b"no header",
            b": nothing",
            b" folded",
        )
    ],
]
"""What may be different about an answer: a pattern, and what comes in its place."""
EDITS = [b"", b"\r\n", b"\n", b"\0", b"\xff", b" ", b"\t", b",", b";", b'"', b"<", b">", b"=", b"0", b"9", b"a", b"\\"]


def spoil(data: bytes, random: Random) -> bytes:
    if random.random() < 0.7:
        pattern, repl = random.choice(SPOILT)
        return re.sub(pattern, repl, data, count=1)
    at = random.randrange(len(data))
    return data[:at] + random.choice(EDITS) + data[at + random.randrange(2) :]


@pytest.mark.usefixtures("eager")
class TestSpoilt:
    """Every answer that is not quite of a known form."""

    @pytest.mark.parametrize("outbound", [True, False], ids=["outbound", "plain"])
    @pytest.mark.parametrize("form", [kamailio, freeswitch, echoing], ids=lambda form: form.__name__)
    def test_of_a_form_that_is_known(self, form: Format, outbound: bool) -> None:
        for pattern, repl in SPOILT:
            for rounds in (1, 2):
                twins = Twins()
                for number in (1, 2):
                    twins.add(number, outbound=outbound)
                answer_all(twins, form)
                answer_all(twins, form)
                twins.add(3, outbound=outbound)
                if rounds == 2:
                    answer_all(twins, form)
                ((key, request),) = twins.open_requests()
                data = form(request, "n", None)
                twins.receive(re.sub(pattern, repl, data, count=1), key)
                twins.receive(data, key)
                for _ in range(2):
                    answer_all(twins, form)

    @pytest.mark.parametrize(("pattern", "repl"), SPOILT)
    def test_first(self, pattern: bytes, repl: bytes) -> None:
        """What follows is of a form that was learnt from one that is out of the ordinary."""
        for form in (kamailio, freeswitch, opensips):
            twins = Twins()
            for number in (1, 2, 3):
                twins.add(number, outbound=number == 2)
            for turn in range(4):
                for key, request in twins.open_requests():
                    twins.receive(re.sub(pattern, repl, form(request, f"n{turn}", 600), count=1), key)


@pytest.mark.usefixtures("eager")
class TestOrdinaryButFor:
    """An answer of a known form that means something else because of what was before."""

    @pytest.fixture
    def twins(self) -> Twins:
        """Three profiles that are registered, so that both forms are known; the fourth has sent its REGISTER."""
        twins = Twins(settings=RegistrationSettings(udp_keepalive=0.0, rate=1000.0, burst=1000.0))
        for number in (1, 2, 3):
            twins.add(number)
        answer_all(twins, freeswitch)
        answer_all(twins, freeswitch)
        twins.add(4)
        return twins

    def test_the_first_after_a_silence(self, twins: Twins) -> None:
        twins.pass_time(20.0)
        twins.add(5)
        key, request = twins.open_requests()[-1]
        twins.receive(freeswitch(request, "n", None), key)
        assert twins.short.next_timer() == twins.now, "the other retransmits now"

    def test_the_address_of_before_a_nat_has_changed(self, twins: Twins) -> None:
        for port in (b"4711", b"4711", b"5060"):
            ((key, request),) = twins.open_requests()
            data = freeswitch(request, port.decode(), None).replace(b";rport=5060", b";rport=" + port)
            twins.receive(data, key)
            number = max(twins.profiles) + 1
            twins.both(lambda room, number=number: room.remove(number - 1, twins.now))  # type: ignore[misc]
            twins.profiles.pop(number - 1)
            twins.actions.clear()
            twins.add(number)
            twins.sent = twins.sent[-1:]

    def test_a_nonce_that_was_answered(self, twins: Twins) -> None:
        for _ in range(2):
            ((key, request),) = twins.open_requests()
            unanswered = written_anew(request)
            twins.receive(freeswitch(unanswered, "same", None), key)
        assert twins.short.state(4).reason.code == "rejected_credentials"

    def test_the_nonce_of_the_attempt_before(self, twins: Twins) -> None:
        answer_all(twins, freeswitch, "later")
        answer_all(twins, freeswitch)
        for number in twins.profiles:
            twins.update(number, expires=601)
        for key, request in twins.open_requests():
            number = twins.short.flows[int((request.branch() or "")[7:].partition(".")[0], 16)].profile
            ((nonce,),) = (flow.nonces for flow in twins.short.by_profile[number].flows)
            twins.receive(freeswitch(written_anew(request), nonce.text, None), key)

    def test_the_address_has_changed_since_it_was_sent(self, twins: Twins) -> None:
        def through(port: int) -> Format:
            def form(request: Request, nonce: str, grant: int | None) -> bytes:
                return freeswitch(request, nonce, grant).replace(b";rport=5060", b";rport=%d" % port)

            return form

        for port in (4711, 4711, 4711, 5060, 5060, 5060):
            answer_all(twins, through(port))
        for number in twins.profiles:
            twins.update(number, expires=601)
        for _ in range(3):
            answer_all(twins, through(4711))

    @pytest.mark.parametrize("deregister", [True, False])
    def test_the_service_is_stopping(self, twins: Twins, deregister: bool) -> None:
        twins.both(lambda room: room.stop(deregister, twins.now))
        answer_all(twins, freeswitch)
        answer_all(twins, freeswitch)


class Naming(IetfAgent):
    """What is registered is in a header of its own."""

    def associated(self, aor: str, response: Response) -> tuple[str, ...]:
        return (aor, *response.headers("x-also"))


@pytest.mark.usefixtures("eager")
def test_an_agent_that_reads_answers_in_its_own_way_reads_all_of_them() -> None:
    twins = Twins()

    def form(request: Request, nonce: str, grant: int | None) -> bytes:
        also = f"X-Also: sip:{request.header('call-id')}@example.test\r\nContent-Length"
        return freeswitch(request, nonce, grant).replace(b"Content-Length", also.encode())

    for number in range(1, 9):
        twins.add(number, agent=Naming() if number % 2 else None)
    answer_all(twins, form)
    answer_all(twins, form)
    assert [len(twins.short.state(number).registered_aors) for number in twins.profiles] == [2, 1] * 4


class Play:
    """Several profiles and everything that may happen to them, at random."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        rate = random.choice([1.0, 1000.0])
        self.twins = Twins(
            seed=seed,
            settings=RegistrationSettings(
                rate=rate,
                burst=5 * rate,
                canary_interval=60.0,
                udp_keepalive=random.choice([0.0, 0.0, 29.0]),
                t2=random.choice([4.0, 60.0]),
            ),
        )
        self.forms = random.sample(FORMATS, random.choice([1, 1, 1, 2]))
        self.oddity = random.choice([0.02, 0.1, 0.3])
        self.hostility = random.choice([0.0, 0.1, 0.3])
        self.next = 1
        self.count = 0
        self.inputs = (
            [self.answer] * 40
            + [self.time] * 8
            + [self.add, self.update, self.want, self.late] * 3
            + [self.hold, self.retry, self.remove, self.lose, self.jump, self.move, self.subscribe, self.closed]
        )
        for _ in range(random.randrange(3, 7)):
            self.add(0)

    def step(self) -> None:
        act = self.random.choice(self.inputs)
        profiles = sorted(self.twins.profiles)
        if not profiles:
            act = self.add
        act(self.random.choice(profiles) if profiles else 0)

    def settings(self) -> dict[str, Any]:
        """Ordinary ones for the most part."""
        chosen: dict[str, Any] = {
            "aor": ["sip:alice@192.0.2.1", "sip:bob@192.0.2.1", "sip:alice@reg.test"],
            "registrar": [
                *(server(f"sip:{host}") for host in ("reg.test", "alias.test", "two.test", "192.0.2.2")),
                server("sip:192.0.2.1;transport=tcp"),
                *(server("sip:192.0.2.1", word, realm=realm) for word in ("b", None) for realm in (None, "asterisk")),
            ],
            "proxies": [[server("sip:192.0.2.1")], [server("sip:192.0.2.1"), server("sip:192.0.2.2")]],
            "expires": [60, 3600],
            "contact_params": [["q=0.5"]],
            "contact_user": ["alice"],
            "contact_uri": ["sip:sbc@192.0.2.99"],
            "dscp": [46],
            "outbound": [False],
            "gruu": [True],
            "reg_event": [True],
            "reachable_interval": [60],
            "instance_id": ["11111111-0000-4000-8000-00000000000f"],
        }
        usual = {
            "aor": f"sip:carol{self.next}@192.0.2.1",
            "registrar": server(),
            "proxies": [],
            "expires": 600,
            "contact_params": [],
            "outbound": True,
            "gruu": False,
            "reg_event": False,
            "reachable_interval": 0,
            "instance_id": f"00000000-0000-4000-8000-{self.next:012x}",
        }
        random = self.random
        return {
            name: random.choice(values) if random.random() < self.oddity else usual.get(name)
            for name, values in chosen.items()
        }

    def add(self, number: int) -> None:
        if len(self.twins.profiles) < 8 and self.twins.add(
            self.next, wanted=self.random.random() < 0.9, **self.settings()
        ):
            self.next += 1

    def update(self, number: int) -> None:
        changes = self.settings()
        kept = self.random.sample(sorted(changes), self.random.randrange(1, 4))
        self.twins.update(number, **{name: changes[name] for name in kept})

    def answer(self, number: int) -> None:
        """Answer one or all of those that wait."""
        random, twins = self.random, self.twins
        waiting = twins.open_requests()
        for key, request in waiting if random.random() < 0.5 else waiting[-1:]:
            self.count += 1
            data = random.choice(self.forms)(request, f"n{self.count}", random.choice([None, None, None, 60, 7]))
            if random.random() < self.hostility:
                data = spoil(data, random)
            again = random.random() < 0.05
            source = ("192.0.2.1", 5060) if random.random() < 0.9 else ("2001:db8::1", 5060)
            came = key if random.random() < 0.95 else TransportKey("tcp", key.host, key.port)
            twins.receive(data, came, source)
            if again:
                twins.receive(data, came, source)

    def late(self, number: int) -> None:
        """An answer to an earlier request, with the branch of another at times."""
        random, twins = self.random, self.twins
        if twins.sent:
            key, request = random.choice(twins.sent)
            data = self.forms[0](request, "late", None)
            _, other = random.choice(twins.sent)
            if random.random() < 0.5:
                data = data.replace((request.branch() or "?").encode(), (other.branch() or "?").encode())
            twins.receive(data, key)

    def time(self, number: int) -> None:
        self.twins.pass_time(self.random.choice([0.01, 0.5, 3.0, 5.0, 40.0, 300.0, 600.0]))

    def want(self, number: int) -> None:
        wanted = self.random.random() < 0.7
        self.twins.both(lambda room: room.want(number, wanted, self.twins.now, waiting=wanted))
        self.twins.settle()

    def hold(self, number: int) -> None:
        held: Any = self.random.choice(["", "", "paused"])
        self.twins.both(lambda room: room.hold(number, held, self.twins.now))
        self.twins.settle()

    def retry(self, number: int) -> None:
        self.twins.both(lambda room: room.retry_now(number, self.twins.now))
        self.twins.settle()

    def remove(self, number: int) -> None:
        del self.twins.profiles[number]
        self.twins.both(lambda room: room.remove(number, self.twins.now))
        self.twins.settle()

    def lose(self, number: int) -> None:
        random, twins = self.random, self.twins
        if twins.short.transports:
            key = random.choice(sorted(twins.short.transports, key=repr))
            twins.local = random.choice([("198.51.100.1", 5060), ("198.51.100.2", 5060), ("198.51.100.1", 5062)])
            code = random.choice(["transport_refused", "transport_unreachable", "transport_closed"])
            twins.both(lambda room: room.transport_failed(key, code, "", twins.now))
            twins.settle()

    def closed(self, number: int) -> None:
        self.twins.fails = not self.twins.fails and self.random.random() < 0.5

    def move(self, number: int) -> None:
        twins = self.twins
        twins.local = (self.random.choice(["198.51.100.1", "198.51.100.2"]), 5060)
        twins.both(lambda room: room.network_changed(frozenset((twins.local[0],)), twins.now))
        twins.settle()

    def jump(self, number: int) -> None:
        offset = self.twins.short.wall_offset + self.random.randrange(-999, 999)
        self.twins.both(lambda room: room.clock_jumped(offset, self.twins.now))
        self.twins.settle()

    def subscribe(self, number: int) -> None:
        self.twins.subscribes = self.random.choice([subscribed(), subscribed(60), answer(489), silence])


@pytest.mark.usefixtures("eager")
class TestAtRandom:
    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],  # it is the same for all
    )
    @given(st.integers(0, 2**32))
    def test_both_come_to_the_same(self, seed: int) -> None:
        play = Play(seed)
        for _ in range(150):
            play.step()
        play.twins.both(lambda room: room.stop(True, play.twins.now))
        play.twins.settle()
        play.answer(0)
