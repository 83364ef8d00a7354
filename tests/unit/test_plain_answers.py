"""The short way through an answer to REGISTER does exactly what the long way does, whatever comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine_driver import answer, server
from random_histories import live, written_anew
from registrar_formats import FORMATS, Format, echoing, freeswitch, kamailio, opensips
from spoilt_answers import SPOILT
from twins import Twins

from sipprofile.agents.ietf import IetfAgent
from sipprofile.registration import alike, plain, queueing, quick, receiving, registrations, restart, state, transmit
from sipprofile.registration.plain import FIRST_MISSES, KEPT
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request, Response
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


@pytest.fixture
def little_of_each() -> Iterator[None]:
    """What is limited is used up soon, by both twins."""
    limits = {"IN_FLIGHT": 2, "RESERVED_BLOCK": 8, "RESERVE_AHEAD": 2, "NONCE_BLOCK": 4}
    with pytest.MonkeyPatch.context() as patch:
        for module in (alike, quick, queueing, registrations, restart, state, transmit):
            for name, limit in limits.items():
                if hasattr(module, name):
                    patch.setattr(module, name, limit)
        patch.setattr(quick, "NUMBERS", quick.NUMBERS | limits)
        quick.bind(registrations.Registrations)
        yield
    quick.bind(registrations.Registrations)


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
        live(seed)

    @pytest.mark.usefixtures("little_of_each")
    @pytest.mark.parametrize("seed", range(20))
    def test_both_come_to_the_same_with_little_of_each(self, seed: int) -> None:
        live(seed)
