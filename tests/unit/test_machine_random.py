"""Whatever is asked and whatever a registrar answers: nothing gets stuck, lost, leaked or sent too often.

The driver checks its invariants (deadlines, owners, rising CSeq, told status) after every step.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from machine_driver import TCP, Answer, Driver, answer, challenge, check, digest, ok, server, silence

from sipprofile.registration.registration import IDLE, WAITING
from sipprofile.registration.settings import RegistrationSettings

BURST = 5
RATE = 1.0
SENDS_A_MINUTE = 60


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
            answer(500, f"Retry-After: {random.choice(['0', '1', '30', '9' * 30, 'x', ''])}"),
            answer(503, f"Retry-After: {random.choice(['1', '120', '999999999'])}"),
            answer(408),
            answer(439),
            answer(600),
            answer(699),
            answer(100),
        ]
    )


class Play:
    """A driver and what a service would do with it, chosen at random."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        settings = RegistrationSettings(
            rate=RATE, burst=BURST, probe_interval=self.random.choice([0.0, 3600.0]), canary_interval=60.0
        )
        self.driver = Driver(settings=settings, seed=seed)
        self.driver.always = lambda request, key: hostile(self.random)(request, key)
        self.driver.names = {"two.test": ("192.0.2.1", "192.0.2.2"), "v6.test": ("2001:db8::1",)}
        self.forced: set[int] = set()
        self.next = 1

    def step(self) -> None:
        driver, random = self.driver, self.random
        choice = random.randrange(24)
        number = random.choice(sorted(driver.profiles)) if driver.profiles else 0
        if choice < 3 or not number:
            if len(driver.profiles) < 4:
                driver.add(self.next, wanted=random.random() < 0.8, **self.settings())
                self.next += 1
        elif choice < 5:
            if number in self.forced:
                self.forced.discard(number)
                driver.hold("", number)
            driver.want(number, waiting=random.random() < 0.5)
        elif choice < 7:
            driver.disable(number)
        elif choice == 7:
            self.forced.add(number)
            driver.registrations.hold(number, "forcibly_disabled", driver.now)
            driver.registrations.want(number, False, driver.now, reason="forcibly_disabled")
            driver.settle()
        elif choice == 8 and number not in self.forced:
            driver.hold("paused", number)
        elif choice == 9 and number not in self.forced:
            driver.hold("", number)
        elif choice == 10:
            driver.retry_now(number)
        elif choice == 11:
            self.forced.discard(number)
            driver.remove(number)
        elif choice < 15:
            driver.update(number, **self.settings())
        elif choice == 15 and driver.registrations.transports:
            driver.fail(random.choice(sorted(driver.registrations.transports, key=repr)))
        elif choice == 16:
            driver.local = {"udp": (f"198.51.100.{random.randrange(3)}", 5060), "tcp": ("198.51.100.1", 40000)}
        elif choice == 17:
            driver.registrations.clock_jumped(
                driver.registrations.wall_offset + random.randrange(-999, 999), driver.now
            )
        elif choice == 18:
            driver.refused = {"192.0.2.1"} if random.random() < 0.3 else set()
            driver.unopened = {"192.0.2.2"} if random.random() < 0.3 else set()
            for connections in (driver.refused, driver.unopened):
                if random.random() < 0.3:
                    connections.add(TCP)
        elif choice == 19:
            driver.unanswered_names = {"two.test"} if random.random() < 0.3 else set()
            driver.saving = random.random() < 0.7
        elif choice == 20 and random.random() < 0.5:
            self.forced.clear()
            driver.saving = True
            driver.crash(random.choice([1.0, 5000.0]), boot_id=random.choice(["boot", "other"]))
            for profile in driver.profiles:
                driver.want(profile, random.random() < 0.5)
        driver.run(random.choice([0.0, 0.005, 0.02, 0.5, 3.0, 40.0, 300.0, 4000.0]))

    def settings(self) -> dict[str, Any]:
        random = self.random
        host = random.choice(["192.0.2.1", "192.0.2.1", "two.test", "v6.test", "none.test"])
        transport = random.choice(["", "", ";transport=tcp"])
        changes: dict[str, Any] = {
            "registrar": server(f"sip:{host}{transport}", random.choice(["secret", "wrong", None])),
            "expires": random.choice([60, 3600]),
            "headers": random.choice([[], [], [f"X-Large-{number}: {'x' * 200}" for number in range(6)]]),
            "contact_params": random.choice([[], ["q=0.5"]]),
            "contact_user": random.choice([None, None, "alice"]),
            "dscp": random.choice([None, 46]),
            "proxies": random.choice(
                [[], [], [server("sip:192.0.2.7")], [server("sip:192.0.2.7"), server("sip:two.test")]]
            ),
            "aor": random.choice(["sip:alice@192.0.2.1", "sip:bob@192.0.2.1"]),
        }
        kept = random.randrange(1, len(changes))
        return dict(random.sample(sorted(changes.items()), kept))

    def check(self) -> None:
        driver = self.driver
        check(driver.registrations, driver.now)
        for registration in driver.registrations.by_profile.values():
            flow = registration.flows[0]
            if registration.should_register and flow.phase == WAITING:
                never = flow.breaker_open and not driver.settings.probe_interval
                assert bool(flow.next_try) != never
        minutes = Counter(int(at // 60) for at, _, _ in driver.sends)
        assert not minutes or max(minutes.values()) <= SENDS_A_MINUTE, minutes.most_common(3)


@pytest.mark.parametrize("seed", range(25))
def test_anything_may_happen(seed: int) -> None:
    play = Play(seed)
    for _ in range(60):
        play.step()
        play.check()
    driver = play.driver
    driver.saving = True
    driver.settle()
    driver.unanswered_names = set()
    driver.unopened = set()
    driver.always = digest()
    if seed % 2:
        driver.stop(deregister=True)
        driver.run(120)
        assert driver.registrations.stopped
        return
    for number in list(driver.profiles):
        driver.update(number, registrar=server("sip:192.0.2.1"), aor="sip:alice@192.0.2.1", proxies=[])
        driver.hold("", number)
        driver.want(number)
        driver.retry_now(number)
    driver.refused = set()
    driver.run(7200)
    play.check()
    for number in driver.profiles:
        driver.assert_status("registered", number=number)
        driver.disable(number)
    driver.run(120)
    assert driver.registrations.stopped
    assert all(flow.phase == IDLE and not flow.lease_end for flow in driver.registrations.flows.values())
