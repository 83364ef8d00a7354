"""Several profiles of twins and everything that may happen to them, at random."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from machine_driver import answer, server, silence, subscribed
from registrar_formats import FORMATS, Format
from spoilt_answers import spoil
from twins import Twins

from sipprofile.registration.actions import TransportKey
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request, parse


def written_anew(request: Request) -> Request:
    """``request`` without its credentials: what answers it is a challenge."""
    lines = [line for line in request._head.split(b"\r\n") if not line.startswith(b"Authorization")]
    found = parse(b"\r\n".join(lines) + b"\r\n\r\n")
    assert isinstance(found, Request)
    return found


TERMS = [
    *[b""] * 6,
    b", algorithm=SHA-256",
    b", algorithm=MD5-sess",
    b", userhash=true",
    b", charset=UTF-8",
    b', opaque="the same"',
    b', domain="sip:192.0.2.1"',
    b", stale=false",
]
"""What challenges have beside what is usual."""


def with_terms(form: Format, terms: bytes) -> Format:
    def written(request: Request, nonce: str, grant: int | None) -> bytes:
        return re.sub(rb"(WWW-Authenticate: [^\r]*)", rb"\1" + terms, form(request, nonce, grant), count=1)

    return written


def behind_a_proxy(form: Format) -> Format:
    """One that wants credentials of its own first."""

    def written(request: Request, nonce: str, grant: int | None) -> bytes:
        if request.header("proxy-authorization") is not None:
            return form(request, nonce, grant)
        data = form(written_anew(request), nonce, grant).replace(
            b"401 Unauthorized", b"407 Proxy Authentication Required"
        )
        return data.replace(b"WWW-Authenticate", b"Proxy-Authenticate").replace(b'realm="', b'realm="proxy ')

    return written


def naming_others(form: Format) -> Format:
    """Every other grant names another identity too."""

    def written(request: Request, nonce: str, grant: int | None) -> bytes:
        named = b"P-Associated-URI: <sip:other@example.test>\r\nContent-Length"
        data = form(request, nonce, grant)
        return data.replace(b"Content-Length", named) if nonce[-1] in "02468" else data

    return written


def as_it_is(form: Format) -> Format:
    return form


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
                t2=random.choice([4.0, 60.0, 4000.0]),
            ),
        )
        terms = random.choice(TERMS)
        seen_by = random.choice([*[as_it_is] * 6, behind_a_proxy, naming_others])
        forms = random.sample(FORMATS, random.choice([1, 1, 1, 2]))
        self.forms = [seen_by(with_terms(form, terms)) for form in forms]
        self.calm = random.random() < 0.5
        """Whether most of it is as usual, and what is sent has an answer soon."""
        self.oddity = random.choice([0.0, 0.02] if self.calm else [0.02, 0.1, 0.3])
        self.hostility = 0.0 if self.calm else random.choice([0.0, 0.1, 0.3])
        self.next = 1
        self.count = 0
        self.inputs = (
            [self.answer] * 40
            + [self.time] * 8
            + [self.add, self.update, self.want, self.late] * 3
            + [self.hold, self.retry, self.remove, self.lose, self.jump, self.move, self.subscribe, self.closed]
            + [self.restart, self.forget]
        )
        if self.calm:
            self.inputs = (
                [self.answer] * 20 + [self.time] * 10 + [self.add, self.update] * 3 + [self.restart, self.forget]
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
                *(server("sip:192.0.2.1", username=user) for user in ('a"l\\ice', "zo\u00eb", "x" * 600)),
                server("sip:192.0.2.1", "pa\u00df"),
            ],
            "proxies": [[server("sip:192.0.2.1")], [server("sip:192.0.2.1"), server("sip:192.0.2.2")]],
            "expires": [60, 3600],
            "headers": [["X-Site: 1"], [f"X-Large: {'x' * 1200}"], [f"X-Larger: {'x' * 4000}"]],
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
            "headers": [],
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
        for _ in range(10 if self.calm else 0):  # all that is sent has an answer before anything else is due
            at = self.twins.short.next_timer()
            if self.twins.open_requests():
                self.answer(number)
            elif at is not None:
                self.twins.pass_time(max(0.0, at - self.twins.now))
        seconds = self.random.choice([0.01, 0.5, 3.0, 5.0] if self.calm else [0.01, 0.5, 3.0, 5.0, 40.0, 300.0, 600.0])
        self.twins.pass_time(seconds)

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

    def restart(self, number: int) -> None:
        down = self.random.choice([0.0, 0.5, 5.0, 100.0])
        wanted = {each for each in self.twins.profiles if self.random.random() < 0.9}
        self.twins.now += down
        self.twins.restart(wanted.__contains__)

    def forget(self, number: int) -> None:
        """What is known of an address, as where there are very many of them."""
        self.twins.both(lambda room: room.health.clear())

    def subscribe(self, number: int) -> None:
        self.twins.subscribes = self.random.choice([subscribed(), subscribed(60), answer(489), silence])


def live(seed: int) -> None:
    """One random history, to its end."""
    play = Play(seed)
    for _ in range(150):
        play.step()
    play.twins.both(lambda room: room.stop(True, play.twins.now))
    play.twins.settle()
    play.answer(0)
