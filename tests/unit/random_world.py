"""A world at random for the registration machine: registrars, NATs, networks, disks, and what applications ask for."""

from __future__ import annotations

import ipaddress
from collections import Counter
from random import Random
from typing import Any

import msgspec
from machine_driver import (
    TCP,
    Answer,
    Driver,
    a_profile,
    answer,
    challenge,
    check,
    digest,
    ok,
    server,
    silence,
    subscribed,
)

from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import (
    Action,
    CloseTransport,
    FetchToken,
    OpenTransport,
    Probe,
    Resolve,
    TransportKey,
)
from sipprofile.registration.regevent import Subscription
from sipprofile.registration.registration import WAITING
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip import stun
from sipprofile.sip.message import Request

BURST = 5
RATE = 1.0
SENDS_A_MINUTE = 60
"""Of all profiles together."""
HOSTS = ["192.0.2.1", "192.0.2.7", "192.0.2.8"]
LARGE = [f"X-Large-{number}: {'x' * 200}" for number in range(6)]
PAUSES = [0.0, 0.005, 0.02, 0.5, 3.0, 12.0, 40.0, 300.0, 4000.0]


def hostile(random: Random) -> Answer:
    """One of everything that registrars have been seen to answer, and worse."""
    contact = f"<sip:other@192.0.2.9:5060>;expires={random.choice(['60', '0', '-1', '٣', '9' * 400, ''])}"
    return random.choice(
        [
            digest(),
            digest(),
            ok(),
            ok(),
            ok(random.choice([0, 1, 59, 60, 320, 3600, 10**9])),
            ok(None, contact, '"unclosed <sip:x', "*"),
            digest("wrong"),
            digest(grant=random.choice([0, 30, 3600])),
            silence,
            silence,
            challenge(nonce=f"n{random.random()}", more=", stale=true"),
            challenge(more=random.choice(["", ', qop="auth-int"', ", algorithm=SHA-256", ", algorithm=unknown"])),
            challenge(realm="caf\udce9", more=', qop="auth"'),
            challenge(realm="proxy", status=407),
            answer(401),
            answer(200),
            answer(200, f"Contact: {contact}"),
            answer(302, "Contact: <sip:192.0.2.1:5070>"),
            answer(302, "Contact: <sip:192.0.2.1;transport=tcp>"),
            answer(302, "Contact: <sip:elsewhere.test>"),
            answer(301),
            answer(403, phrase="\x1b[31mcaf\udce9"),
            answer(404),
            answer(423, f"Min-Expires: {random.choice(['60', '7200', '٣', '9' * 30, '', '-1'])}"),
            answer(423),
            answer(430),
            answer(500, f"Retry-After: {random.choice(['0', '1', '30', '9' * 30, 'x', ''])}"),
            answer(503, f"Retry-After: {random.choice(['1', '120', '999999999'])}"),
            answer(408),
            answer(439),
            answer(420),
            answer(491),
            answer(600),
            answer(699),
            answer(100),
        ]
    )


class World(Driver):
    """A driver whose outside may be slow: what it is asked for comes later, or never."""

    def __init__(self, random: Random, **more: Any) -> None:
        self.chance = random
        self.slowness = 0.0
        """The share of actions that are done later."""
        self.late: list[Action] = []
        super().__init__(**more)

    def _perform(self, action: Action) -> None:
        if isinstance(action, CloseTransport):
            self.late = [each for each in self.late if not (isinstance(each, OpenTransport) and each.key == action.key)]
        may_wait = isinstance(action, (OpenTransport, Probe, FetchToken, Resolve))
        if may_wait and self.chance.random() < self.slowness:
            self.late.append(action)
        else:
            super()._perform(action)

    def crash(self, *args: Any, **more: Any) -> None:
        self.late.clear()
        super().crash(*args, **more)

    def catch_up(self, share: float = 1.0) -> None:
        """Do a ``share`` of what is late."""
        late, self.late = self.late, []
        for action in late:
            if self.chance.random() < share:
                super()._perform(action)
                self.settle()
            else:
                self.late.append(action)


class Play:
    """A world and what a service would do with it, chosen at random."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        settings = RegistrationSettings(
            rate=RATE, burst=BURST, probe_interval=random.choice([0.0, 3600.0]), canary_interval=60.0
        )
        self.driver = driver = World(random, settings=settings, seed=seed)
        self.outbound = random.random()
        """The share of 2xx that require it."""
        self.hostility = random.choice([0.05, 0.3, 0.7, 1.0])
        """The share of answers that are not those of a good registrar."""
        self.nat: tuple[str, int] | None = None
        self.symmetric = False
        """The NAT gives another port each time."""
        self.stun = True
        self.forced: set[int] = set()
        self.next = 1
        self.cseq = 0
        driver.local.update(tls=("198.51.100.1", 41000))
        driver.always = self.register
        driver.others = self.other
        driver.stun = self.mapped
        driver.names = {
            "two.test": ("192.0.2.1", "192.0.2.2"),
            "v6.test": ("2001:db8::1",),
            "reg.test": ("192.0.2.1",),
            "edge.test": ("192.0.2.7",),
        }
        driver.token = ("one", 600.0)
        self.inputs = [
            *[self.add] * 3,
            *[self.want] * 2,
            *[self.update] * 3,
            *[self.release] * 2,
            *[self.lose] * 2,
            *[self.catch_up] * 2,
            *[self.notify] * 4,
            self.disable,
            self.force,
            self.pause,
            self.retry,
            self.remove,
            self.move,
            self.cut_off,
            self.sleep,
            self.jump,
            self.refuse,
            self.disk,
            self.crash,
            self.translate,
            self.keepalives,
            self.tokens,
            self.slow,
            self.paths,
            self.probe,
        ]

    def step(self) -> None:
        """One input, and some time."""
        profiles = sorted(self.driver.profiles)
        act = self.random.choice(self.inputs) if profiles else self.add
        act(self.random.choice(profiles) if profiles else 0)
        self.driver.run(self.random.choice(PAUSES))

    # -- the outside -------------------------------------------------------------------------------------------------

    def register(self, request: Request, key: TransportKey) -> bytes | None:
        random = self.random
        bearer = (request.header("authorization") or "").startswith("Bearer")
        good = ok() if bearer else digest()
        data = (hostile(random) if random.random() < self.hostility else good)(request, key)
        if data is None:
            return None
        can = "outbound" in (request.header("supported") or "")
        if can and data.startswith(b"SIP/2.0 200") and random.random() < self.outbound:
            more = random.choice([b"Require: outbound", b"Require: outbound\r\nFlow-Timer: 40"])
            data = data.replace(b"\r\nContent-Length", b"\r\n" + more + b"\r\nContent-Length")
        if self.nat is not None and key.protocol == "udp":
            host, port = self.nat
            port = random.randrange(1024, 60_000) if self.symmetric else port
            data = data.replace(b";rport;", f";rport={port};received={host};".encode(), 1)
        return data

    def other(self, request: Request, key: TransportKey) -> bytes | None:
        bad = [
            silence,
            answer(489),
            answer(481),
            answer(500),
            challenge(),
            challenge(realm="x"),
            answer(423, "Min-Expires: 9000"),
            subscribed(60),
        ]
        answers = self.random.choice(bad) if self.random.random() < self.hostility else subscribed()
        return answers(request, key)

    def mapped(self, transaction: bytes) -> bytes | None:
        """The answer of a STUN server beside the registrar (RFC 8489 §14.2)."""
        if not self.stun:
            return None
        host, port = self.nat or ("198.51.100.1", 5060)
        if self.symmetric and self.random.random() < 0.3:
            port = self.random.randrange(1024, 60_000)
        cookie = int.from_bytes(stun.MAGIC_COOKIE, "big")
        address = int(ipaddress.ip_address(host)) ^ cookie
        value = b"\x00\x01" + (port ^ cookie >> 16).to_bytes(2, "big") + address.to_bytes(4, "big")
        return b"\x01\x01\x00\x0c" + stun.MAGIC_COOKIE + transaction + b"\x00\x20\x00\x08" + value

    def heal(self) -> None:
        """Everything works from now on."""
        driver = self.driver
        driver.slowness = 0.0
        driver.catch_up()
        driver.saving = True
        driver.settle()
        driver.unanswered_names = driver.unopened = driver.refused = set()
        driver.out_of_reach = driver.gone = set()
        driver.cut_off = driver.silent_source = self.symmetric = False
        driver.pongs = self.stun = True
        driver.token = ("one", 600.0)
        self.hostility = 0.0
        driver.change_network(driver.local["udp"][0])

    # -- what applications and operators do ----------------------------------------------------------------------------

    def add(self, number: int) -> None:
        settings = self.settings()
        if len(self.driver.profiles) < 4 and self.valid(self.next, settings):
            self.driver.add(self.next, wanted=self.random.random() < 0.9, **settings)
            self.next += 1

    def want(self, number: int) -> None:
        if number in self.forced:
            self.forced.discard(number)
            self.driver.hold("", number)
        self.driver.want(number, waiting=self.random.random() < 0.5)

    def disable(self, number: int) -> None:
        self.driver.disable(number)

    def force(self, number: int) -> None:
        self.forced.add(number)
        self.driver.registrations.hold(number, "forcibly_disabled", self.driver.now)
        self.driver.registrations.want(number, False, self.driver.now, reason="forcibly_disabled")
        self.driver.settle()

    def pause(self, number: int) -> None:
        if number not in self.forced:
            self.driver.hold("paused", number)

    def release(self, number: int) -> None:
        if number not in self.forced:
            self.driver.hold("", number)

    def retry(self, number: int) -> None:
        self.driver.retry_now(number)

    def remove(self, number: int) -> None:
        self.forced.discard(number)
        self.driver.remove(number)

    def update(self, number: int) -> None:
        settings = self.settings()
        kept = self.random.sample(sorted(settings), self.random.randrange(1, len(settings) + 1))
        settings = {name: settings[name] for name in kept}
        if self.valid(number, settings):
            self.driver.update(number, **settings)

    def probe(self, number: int) -> None:
        self.driver.registrations.probe(number, self.driver.now)
        self.driver.settle()
        self.outbound = self.random.random() ** 0.5

    def valid(self, number: int, changes: dict[str, Any]) -> bool:
        before = self.driver.profiles.get(number)
        profile = a_profile(number, **changes) if before is None else msgspec.structs.replace(before, **changes)
        try:
            self.driver.agent.validate(profile)
        except SipProfileError:
            return False
        return True

    def settings(self) -> dict[str, Any]:
        random = self.random
        if random.random() < 0.15:
            return {
                "registrar": server("sip:reg.test;transport=tls", password=None),
                "token_source": random.choice(["cloud", "other"]),
                "proxies": random.choice(
                    [[], [server(f"sip:{name}.test;transport=tls", password=None) for name in ("edge", "two")]]
                ),
                "reg_event": random.random() < 0.5,
            }
        host = random.choice(["192.0.2.1", "192.0.2.1", "two.test", "v6.test", "none.test", "edge.test"])
        transport, other = random.choice(["", "", ";transport=tcp"]), random.choice(["", ";transport=tcp"])
        proxies = random.choice(
            [
                [],
                ["192.0.2.7"],
                ["192.0.2.7", "two.test"],
                ["192.0.2.7", "192.0.2.8"],
                ["192.0.2.7", "192.0.2.8", "edge.test"],
                ["edge.test", "192.0.2.7"],
                ["192.0.2.7", "192.0.2.8", "192.0.2.1", "192.0.2.2", "192.0.2.3"],
            ]
        )
        return {
            "registrar": server(f"sip:{host}{transport}", random.choice(["secret", "secret", "wrong", None])),
            "expires": random.choice([60, 3600]),
            "headers": random.choice([[], [], LARGE]),
            "contact_params": random.choice([[], ["q=0.5"]]),
            "contact_user": random.choice([None, None, "alice"]),
            "contact_uri": random.choice([None, None, None, "sip:sbc@192.0.2.99"]),
            "dscp": random.choice([None, None, 46]),
            "outbound": random.random() < 0.8,
            "gruu": random.random() < 0.4,
            "reg_event": random.random() < 0.6,
            "reachable_interval": random.choice([0, 0, 60]),
            "proxies": [server(f"sip:{name}{random.choice([transport, other])}") for name in proxies],
            "aor": random.choice(["sip:alice@192.0.2.1", "sip:bob@192.0.2.1"]),
            "token_source": None,
        }

    # -- what happens outside ----------------------------------------------------------------------------------------

    def lose(self, number: int) -> None:
        if self.driver.registrations.transports:
            key = self.random.choice(sorted(self.driver.registrations.transports, key=repr))
            self.driver.fail(key, self.random.choice(["transport_closed", "transport_refused"]))

    def catch_up(self, number: int) -> None:
        self.driver.catch_up(self.random.random())

    def move(self, number: int) -> None:
        addresses = [f"198.51.100.{last}" for last in range(1, 4)]
        host, other = self.random.choice(addresses), self.random.choice(addresses)
        self.driver.gone = set(addresses) - {host} if self.random.random() < 0.5 else set()
        self.driver.move(host, other)

    def cut_off(self, number: int) -> None:
        random = self.random
        self.driver.cut_off = random.random() < 0.3
        self.driver.out_of_reach = {random.choice(HOSTS)} if random.random() < 0.3 else set()
        self.driver.change_network(self.driver.local["udp"][0])

    def sleep(self, number: int) -> None:
        self.driver.resume(self.random.choice([5.0, 100.0, 4000.0]))

    def jump(self, number: int) -> None:
        machine = self.driver.registrations
        machine.clock_jumped(machine.wall_offset + self.random.randrange(-999, 999), self.driver.now)

    def refuse(self, number: int) -> None:
        driver, random = self.driver, self.random
        driver.refused = {random.choice(HOSTS)} if random.random() < 0.3 else set()
        driver.unopened = {"192.0.2.2"} if random.random() < 0.3 else set()
        for connections in (driver.refused, driver.unopened):
            if random.random() < 0.3:
                connections.add(TCP)

    def disk(self, number: int) -> None:
        self.driver.unanswered_names = {"two.test"} if self.random.random() < 0.3 else set()
        self.driver.saving = self.random.random() < 0.7

    def crash(self, number: int) -> None:
        driver, random = self.driver, self.random
        self.forced.clear()
        driver.saving = True
        driver.crash(random.choice([1.0, 5000.0]), boot_id=random.choice(["boot", "boot", "other"]))
        for profile in driver.profiles:
            driver.want(profile, random.random() < 0.7)

    def translate(self, number: int) -> None:
        port = 1024 + self.random.randrange(3)
        self.nat = self.random.choice([None, ("203.0.113.5", port), ("203.0.113.6", 7777)])
        self.symmetric = self.random.random() < 0.2

    def keepalives(self, number: int) -> None:
        self.stun = self.random.random() < 0.6
        self.driver.pongs = self.random.random() < 0.6

    def tokens(self, number: int) -> None:
        self.driver.token = self.random.choice([None, ("one", 600.0), ("two", None), ("three", 30.0)])
        self.driver.silent_source = self.random.random() < 0.2

    def slow(self, number: int) -> None:
        self.driver.slowness = self.random.choice([0.0, 0.0, 0.3, 1.0])

    def paths(self, number: int) -> None:
        self.driver.mtu = self.random.choice([0, 500, 1500])

    def notify(self, number: int) -> None:
        """A NOTIFY about the profile's bindings, true or not (RFC 3680)."""
        known = self.driver.registrations.reg_events.by_profile.get(number)
        if known is not None and known.dialog is not None:
            self.driver.deliver(self._notify(number, known))

    def _notify(self, number: int, known: Subscription) -> bytes:
        random, dialog = self.random, known.dialog
        assert dialog is not None
        self.cseq += 1
        registration = self.driver.registrations.by_profile[number]
        contacts = []
        for flow in registration.flows:
            if random.random() < 0.3:
                continue
            active = random.random() < 0.7
            events = ["registered", "shortened", "refreshed"]
            if not active:
                events = ["deactivated", "probation", "expired", "unregistered", "rejected"]
            event = random.choice(events)
            more = ' retry-after="7"' if event == "probation" else ""
            if random.random() < 0.5:
                more += f' cseq="{random.choice([flow.cseq, 1])}" callid="{flow.call_id}"'
            contacts.append(
                f'<contact id="c{flow.number}" state="{"active" if active else "terminated"}" event="{event}"'
                f' expires="{random.choice([1, 100, 3000])}"{more}><uri>{flow.contact}</uri>'
                f'<unknown-param name="reg-id">"{flow.number}"</unknown-param></contact>'
            )
        body = (
            f'<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="{self.cseq}"'
            f' state="{random.choice(["full", "full", "partial"])}"><registration aor="{registration.plan.aor}" id="r"'
            f' state="{random.choice([*["active"] * 5, "terminated"])}">{"".join(contacts)}</registration></reginfo>'
        )
        body = "<broken" if random.random() < 0.1 else body
        ends = ["deactivated", "timeout", "rejected"]
        states = [
            "active;expires=3600",
            "active;expires=3",
            "active",
            "pending",
            *(f"terminated;reason={e}" for e in ends),
        ]
        lines = [
            "NOTIFY sip:us SIP/2.0",
            f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKn{self.cseq}",
            f"From: <{registration.plan.aor}>;tag={dialog.remote_tag or 'notifier'}",
            f"To: {dialog.from_value}",
            f"Call-ID: {dialog.call_id}",
            f"CSeq: {self.cseq} NOTIFY",
            "Event: reg",
            f"Subscription-State: {random.choice(states)}",
            "Content-Type: application/reginfo+xml",
            f"Content-Length: {len(body.encode())}",
        ]
        return ("\r\n".join([*lines, "", ""]) + body).encode()

    # -- what must be true ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        driver = self.driver
        check(driver.registrations, driver.now)
        for registration in driver.registrations.by_profile.values():
            for flow in registration.flows:
                if registration.should_register and flow.phase == WAITING:
                    never = flow.breaker_open and not driver.settings.probe_interval
                    assert bool(flow.next_try) != never, "there is always a next try"
        minutes = Counter(int(at // 60) for at, _, _ in driver.sends)
        assert not minutes or max(minutes.values()) <= SENDS_A_MINUTE, minutes.most_common(3)
