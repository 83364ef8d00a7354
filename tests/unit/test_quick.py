"""The compiled quick path does what is usual, and does what the Python of the same name does (test_plain_answers.py
holds both to each other in whatever happens)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_driver import server
from registrar_formats import FORMATS, Format, echoing
from twins import Twins

from sipprofile.registration import machine, native, plain, queueing, quick, registrations, transmit
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.plain import FIRST_MISSES
from sipprofile.server.configuration import RegistrationSection
from sipprofile.sip.message import Request

pytestmark = pytest.mark.skipif(native.module is None, reason="the quick path is not compiled, or turned off")

TAKEN_AS_THEY_ARE = (
    "IN_FLIGHT",
    "SILENT",
    "PAUSE",
    "RESERVE_AHEAD",
    "RESERVED_BLOCK",
    "NONCE_BLOCK",
    "HISTORY_LENGTH",
    "CLOCK_TOLERANCE",
)
# What the daemon has: the settings of its file, which are RegistrationSettings with more in them.
UNHURRIED = RegistrationSection(udp_keepalive=0.0, t2=4000.0, rate=1000.0, burst=1000.0)
MANY = 60


class Counting:
    """The quick path, and how often each of its functions has done something."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.form = native.module.form

    def __getattr__(self, name: str) -> Any:
        function = getattr(native.module, name)

        def counting(*args: Any) -> Any:
            done = function(*args)
            self.done[name] += done
            return done

        return counting


@pytest.fixture
def twins() -> Twins:
    twins = Twins(settings=UNHURRIED)
    twins.short.quick = Counting()
    return twins


def answer_all(twins: Twins, form: Format) -> int:
    waiting = twins.open_requests()
    for place, (key, request) in enumerate(waiting):
        twins.receive(form(request, f"n{place}", None), key)
    return len(waiting)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_what_is_usual_is_done_by_it(form: Format, twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    done = twins.short.quick.done
    for number in range(1, MANY + 1):
        twins.add(number, expires=600)
    assert done["begin"] + done["transmit"] >= MANY - 1, "the first REGISTERs, but for the one that opened the way"
    done.clear()
    answer_all(twins, form)
    assert done["answered"] >= MANY - FIRST_MISSES - 1, "challenges"
    done.clear()
    answer_all(twins, form)
    assert done["answered"] >= MANY - 2 * FIRST_MISSES - 1, "grants"
    done.clear()
    in_python: list[Any] = []
    due = machine.due

    def counting(room: Any, *arguments: Any) -> None:
        if room is twins.short:
            in_python.append(arguments)
        due(room, *arguments)

    monkeypatch.setattr(machine, "due", counting)
    refreshed = 0
    while refreshed < MANY:
        timer = twins.short.next_timer()
        assert timer is not None
        twins.pass_time(timer - twins.now)
        refreshed += answer_all(twins, form)
    assert not in_python, "refreshes"
    assert done["answered"] >= MANY, "their answers"


def test_one_that_is_not_usual_is_left_to_python(twins: Twins) -> None:
    twins.add(1, aor="sips:alice@example.test") or twins.add(1, headers={"X-Any": "thing"})
    twins.add(2, outbound=True)
    done = twins.short.quick.done
    before = done.copy()
    twins.short.stopping = twins.long.stopping = True
    twins.both(lambda room: room.received(b"SIP/2.0 200 OK\r\n\r\n", ("192.0.2.1", 5060), _key(), twins.now))
    assert done == before


def test_an_answer_of_many_parts_is_one_of_a_form_too(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "FIRST_MISSES", 0)

    def form(request: Request, nonce: str, grant: int | None) -> bytes:
        return echoing(request, nonce, grant).replace(b"Content-Length", b"X:\r\n" * 140 + b"Content-Length")

    for number in (1, 2, 3):
        twins.add(number)
    for _ in range(2):
        answer_all(twins, form)
    assert {twins.short.state(number).status for number in twins.profiles} == {"registered"}
    assert twins.short.quick.done["answered"] > 0


def test_what_is_kept_of_requests_is_bounded_alike(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transmit, "HEADS_KEPT", 3)
    for number in (1, 2, 3):
        twins.add(number, registrar=server(f"sip:host{number}.test"), proxies=[server("sip:192.0.2.1")], expires=60)
    for _ in range(4):
        answer_all(twins, echoing)
        twins.pass_time(31.0)
    ((transport,),) = (twins.short.transports.values(),)
    assert len(transport.heads) == 3


def test_who_waits_for_an_address_of_which_nothing_is_known(twins: Twins) -> None:
    twins.add(1)
    key, _ = twins.open_requests()[0]
    for room in (twins.short, twins.long):
        room.pacers["192.0.2.1:5060"]._tokens = 0.0
        room.transports[key].active.update(range(1000, 1000 + queueing.IN_FLIGHT))
        room.health.clear()
    twins.add(2, reg_event=True)
    for room in (twins.short, twins.long):
        room.health.clear()
    twins.pass_time(1.0)
    assert twins.short.quick.done["draw"] or twins.short.quick.done["timer"]


@given(st.binary(max_size=300))
def test_md5_is_that_of_openssl(data: bytes) -> None:
    assert native.module.md5(data) == hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("length", [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 121, 127, 128, 1000])
def test_md5_at_the_ends_of_its_blocks(length: int) -> None:
    data = bytes(Random(length).randbytes(length))
    assert native.module.md5(data) == hashlib.md5(data, usedforsecurity=False).hexdigest()


PARTS: tuple[plain.Part, ...] = (
    b"SIP/2.0 401 Unauthorized\r\nVia: x;branch=",
    plain.BRANCH,
    b";rport\r\nServer:",
    plain.ANYTHING,
    b"\r\nCSeq: ",
    plain.CSEQ,
    b" REGISTER\r\nContact: <",
    plain.CONTACT,
    b'>;i="',
    plain.INSTANCE,
    b'";expires=',
    plain.EXPIRES,
    b'\r\nWWW-Authenticate: Digest nonce="',
    plain.NONCE,
    b'", opaque="',
    plain.OPAQUE,
    b'"\r\n\r\n',
)
PIECES = {
    plain.BRANCH: ["z9hG4bK1.0123456789abcdef", "z9hG4bKabcdef012345.ffffffffffffffff", "z9hG4bK.0123456789abcdef"],
    plain.ANYTHING: ["", " x", " x\n", "y" * 300, "y" * 301, "\0\xff"],
    plain.CSEQ: ["1", "123456789", "1234567890", "", "x"],
    plain.CONTACT: ["sip:a@b", "", "a b", "sip:a<b"],
    plain.INSTANCE: ["00000000-0000-4000-8000-000000000000", "x" * 36, "0" * 35, "-" * 36],
    plain.EXPIRES: ["60", "0", "", "9" * 10],
    plain.NONCE: ["n", "", "a" * 256, "a" * 257, "a b", "a\\"],
    plain.OPAQUE: ["o", "", "a" * 257],
}
NAMES = ("flow", "random", "cseq", "nonce", "opaque", "contact", "expires")


@given(st.data())
def test_a_form_matches_what_its_pattern_matches(data: st.DataObject) -> None:
    text = b""
    for part in PARTS:
        if isinstance(part, bytes):
            text += part
        else:
            text += data.draw(st.sampled_from(PIECES[part][:1] * 5 + PIECES[part])).encode("latin-1")
    if data.draw(st.integers(0, 3)) == 0:
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.binary(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    form = plain.Form(PARTS, text.count(b"\n"), ("192.0.2.1", 1), None, None)
    literal = sum(part.count(b"\n") for part in PARTS if isinstance(part, bytes))
    expected = form.match(text) if text.count(b"\n") == literal else None
    found = native.module.matches(native.module.form(PARTS), text)
    assert found == (None if expected is None else {name: expected[name] for name in NAMES})


@pytest.mark.parametrize("parts", [(9,), (-1,), (0,), ("text",), (None,), (b"x",) * 5000])
def test_what_is_no_form_is_refused(parts: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        native.module.form(parts)


@pytest.mark.parametrize("name", ["answered", "transmit", "begin", "load"])
def test_other_arguments_are_left_to_python(name: str, twins: Twins) -> None:
    twins.add(1)
    room, registration = twins.short, twins.short.by_profile[1]
    flow = registration.flows[0]
    for arguments in ((), (room,), (None,) * 4, (None,) * 5, (room, b"", None, 1), (room, registration, flow, 5)):
        assert getattr(native.module, name)(*arguments) is False


def test_it_is_bound_to_whole_classes_only() -> None:
    with pytest.raises(KeyError, match=re.escape("Flow is not given")):
        native.module.bind({})
    try:
        assert native.module.answered(None, b"", None, 1.0) is False, "not while it is not bound"
    finally:
        quick.bind(registrations.Registrations)


@pytest.mark.parametrize("name", [*quick.NUMBERS])
def test_it_is_not_bound_to_other_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[dict[str, Any]] = []
    monkeypatch.setattr(native, "module", SimpleNamespace(bind=bound.append))
    quick.bind(registrations.Registrations)
    monkeypatch.undo()
    (given,) = bound
    try:
        for number in (None,) if name in TAKEN_AS_THEY_ARE else (None, given[name] + 1):
            with pytest.raises((TypeError, ValueError)):
                native.module.bind({**given, name: number})
    finally:
        quick.bind(registrations.Registrations)


def _key() -> TransportKey:
    return TransportKey("udp", "192.0.2.1", 5060)
