"""Whatever comes in, in whatever order: nothing is raised, and nothing is kept for longer than it may be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from corpus import CORPUS
from server_world import TCP, UDP, World, request

from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import MalformedMessage, Request, Response, parse
from sipprofile.useragent import server
from sipprofile.useragent.draft import Answer

MESSAGES = sorted([*(Path(__file__).parent / "data").glob("*.dat"), *CORPUS.glob("*.dat")])
METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER")
LOCAL = TransportKey("udp", "127.0.0.1", 5070, local_port=5080)


def put(world: World, data: bytes, key: TransportKey) -> None:
    try:
        message = parse(data)
    except MalformedMessage:
        return
    if isinstance(message, Request):
        server.received(world.agent, message, (key.host, key.port), key, world.now)


def settle(world: World) -> None:
    """All deadlines pass; of what came in nothing is left but dialogs."""
    world.run(4000.0)
    table = world.agent.server
    assert (world.agent.incoming, table.by_key, table.merged, table.unacknowledged) == ({}, {}, {}, {})
    assert table.open == 0
    assert all(not leg.pending for leg in world.agent.legs.values())


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_torture_messages(path: Path) -> None:
    world = World()
    data = path.read_bytes()
    for key in (UDP, TCP, LOCAL):
        put(world, data, key)
        put(world, data.replace(b"sip:", b"sip:token@", 1), key)
    settle(world)


@pytest.mark.parametrize("seed", range(4))
def test_any_order(seed: int) -> None:
    """Requests of a few dialogs, retransmitted, reordered and crossed with the application's answers."""
    world = World()
    random = Random(seed)
    tags = [""]
    for step in range(400):
        method = random.choice(METHODS)
        cseq = random.randrange(1, 8)
        to = "<sip:alice@example.test>" + random.choice(tags[-6:])
        data = request(
            method,
            *random.sample(
                [
                    "Supported: 100rel",
                    "Require: 100rel",
                    "Event: presence",
                    "Subscription-State: active",
                    f"RAck: {random.randrange(3)} {cseq} INVITE",
                    "Refer-To: <sip:x@y>",
                ],
                3,
            ),
            to=to,
            cseq=cseq,
            call_id=f"c{random.randrange(3)}",
            branch=f"z9hG4bK{random.randrange(30)}" if random.random() < 0.9 else "1",
            body=random.choice([b"", b"v=0"]),
        )
        put(world, _mutated(data, random) if random.random() < 0.2 else data, random.choice([UDP, TCP]))
        if random.random() < 0.6 and world.owner.incoming:
            _answer(world, random)
        if random.random() < 0.2:
            world.run(random.choice([0.1, 1.0, 10.0, 40.0]))
        for response in world.responses()[-1:]:
            tag = (response.header("to") or "").partition(">")[2]
            if tag:
                tags.append(tag)
        assert len(world.agent.incoming) <= step + 1
    settle(world)


def _answer(world: World, random: Random) -> None:
    incoming = random.choice(world.owner.incoming[-4:])
    status = random.choice([100, 180, 183, 200, 202, 302, 404, 486, 603])
    answer = Answer(
        status,
        reliable=random.random() < 0.3,
        manual=random.random() < 0.1,
        body=b"v=0" if random.random() < 0.5 else b"",
        content_type="application/sdp",
    )
    with suppress(SipProfileError):
        server.respond(world.agent, incoming, answer, world.now)


def _mutated(data: bytes, random: Random) -> bytes:
    position = random.randrange(len(data))
    return data[:position] + random.choice([b"", b"\r\n", b"\x00", b"<", b'"', b";", b","]) + data[position + 1 :]


def test_every_request_gets_one_final_answer() -> None:
    """Whatever the application does, or does not."""
    world = World()
    random = Random(5)
    wanted = {}
    for number in range(200):
        method = random.choice(["INVITE", "MESSAGE", "INFO", "SUBSCRIBE"])
        put(world, request(method, "Event: x", call_id=f"c{number}", branch=f"z9hG4bK{number}"), TCP)
        wanted[f"z9hG4bK{number}"] = method
        if random.random() < 0.5:
            _answer(world, random)
        world.run(random.random())
    world.run(400.0)
    finals: dict[str, list[Response]] = {}
    for response in world.responses():
        if response.status >= 200:
            finals.setdefault(response.branch() or "", []).append(response)
    assert set(finals) == set(wanted)
    for branch, responses in finals.items():
        assert len({response.status for response in responses}) == 1, branch
        if wanted[branch] != "INVITE":  # a 2xx is repeated until it is acknowledged
            assert len(responses) == 1
