"""Whatever answers come, in whatever order, and whatever owners do meanwhile: nothing breaks, nothing is left.

An owner hears one final answer to each request or that none will come, except of an INVITE that forked; an end of each
dialog; and nothing of what it has abandoned.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from machine_driver import TCP, UDP, server
from useragent_world import OFFER, UserAgentWorld

from sipprofile.errors import SipProfileError
from sipprofile.sip.message import Request
from sipprofile.useragent import client
from sipprofile.useragent.outgoing import Outgoing

STATUSES = (100, 180, 183, 183, 200, 200, 202, 302, 401, 407, 408, 481, 486, 487, 491, 500, 603)
METHODS = ("INVITE", "INVITE", "INVITE", "MESSAGE", "OPTIONS", "INFO", "BYE", "UPDATE", "PRACK")
HEADERS = (
    (),
    ("Require: 100rel", "RSeq: 1"),
    ("Require: 100rel", "RSeq: 2"),
    ("Require: 100rel", "RSeq: x"),
    ("Record-Route: <sip:a.test>, <sip:b.test;lr>", "Contact: <sip:bob@203.0.113.7>"),
    ("Contact: nonsense",),
    ("Record-Route: <sip:a\x01>", "Contact: <sip:bob@203.0.113.8>"),
    ('WWW-Authenticate: Digest realm="192.0.2.1", nonce="n1", qop="auth"',),
    ('Proxy-Authenticate: Digest realm="192.0.2.1", nonce="n2", stale=true',),
    ('Proxy-Authenticate: Digest realm="elsewhere.test", nonce="n2"',),
    ("WWW-Authenticate: Digest",),
)


class Run:
    """One world with a random owner and a random peer."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        uri = self.random.choice(("sip:192.0.2.1", "sip:192.0.2.1;transport=tcp"))
        self.key = TCP if "tcp" in uri else UDP
        self.world = UserAgentWorld(registrar=server(uri))
        self.sent: list[Outgoing] = []
        self.abandoned: set[int] = set()
        self.told_when_abandoned: dict[int, int] = {}

    def step(self) -> None:
        actions = (self.send, self.answer, self.answer, self.answer, self.cancel, self.acknowledge, self.wait)
        action = self.random.choice(actions)
        try:
            action()
        except SipProfileError as error:
            if error.code not in ("invalid_state", "not_registered"):
                raise
        self.world.settle()

    def send(self) -> None:
        random, world = self.random, self.world
        leg = random.choice((None, *world.user_agent.legs.values()))
        method = random.choice(METHODS if leg is not None else ("INVITE", "INVITE", "MESSAGE"))
        draft: dict[str, Any] = {"manual": random.random() < 0.2}
        if random.random() < 0.7:
            draft.update(body=OFFER * random.choice((1, 1, 1, 500)), content_type="application/sdp")
        self.sent.append(world.send(method, leg=leg, **draft))

    def answer(self) -> None:
        world, random = self.world, self.random
        if not world.requests:
            return
        request: Request = random.choice(world.requests[-6:])
        data_headers = random.choice(HEADERS)
        status, tag = random.choice(STATUSES), random.choice(("", "a", "b", "c"))
        world.respond(status, *data_headers, tag=tag, to=request)

    def cancel(self) -> None:
        if not self.sent:
            return
        outgoing = self.random.choice(self.sent[-4:])
        if self.random.random() < 0.3:
            client.abandon(self.world.user_agent, outgoing, self.world.now)
            self.abandoned.add(outgoing.number)
            told = sum(1 for entry in self.world.owner.told if entry[0] == "responded" and entry[1] is outgoing)
            self.told_when_abandoned.setdefault(outgoing.number, told)
        else:
            client.cancel(self.world.user_agent, outgoing, self.world.now)

    def acknowledge(self) -> None:
        for leg in list(self.world.user_agent.legs.values()):
            client.acknowledge(self.world.user_agent, leg, (), OFFER, "application/sdp", self.world.now)

    def wait(self) -> None:
        self.world.run(self.random.choice((0.1, 0.6, 5.0, 40.0, 200.0)))
        if self.random.random() < 0.05 and self.key is TCP:
            self.world.fail(TCP)
            self.world.run(120)


@pytest.mark.parametrize("seed", range(80))
def test_any_order(seed: int) -> None:
    run = Run(seed)
    for _ in range(60):
        run.step()
    world = run.world
    world.run(600)
    world.assert_nothing_left()
    told = world.owner.told
    finals = Counter(
        entry[1].number for entry in told if entry[0] == "failed" or (entry[0] == "responded" and entry[2] >= 200)
    )
    for outgoing in run.sent:
        if outgoing.number in run.abandoned:
            count = sum(1 for entry in told if entry[0] == "responded" and entry[1] is outgoing)
            assert count == run.told_when_abandoned[outgoing.number]
        elif outgoing.method == "INVITE" and outgoing.leg is None:
            assert 1 <= finals[outgoing.number] <= 4
        else:
            assert finals[outgoing.number] == 1, (outgoing, told)
    ends = Counter(entry[1].number for entry in told if entry[0] == "leg_changed" and entry[1].state == "terminated")
    assert all(count == 1 for count in ends.values())
    legs = world.user_agent.legs
    assert all(leg.state == "confirmed" and not leg.asked for leg in legs.values())
    assert len(world.user_agent.legs_by_dialog) == len(legs)
