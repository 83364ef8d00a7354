"""The WebSocket of a session: when what a frame brings about is sent, and how long one session has the loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.server.session import FRAMES_PER_TURN, Sender, Turn


class Client:
    """Takes frames at once, or, while it is stopped, waits with the one that it has taken."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.closed: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def send_frame(self, data: bytes, _: Any) -> None:
        self.taken.append(data)
        await self.reads.wait()

    async def send_str(self, text: str) -> None:
        await self.send_frame(text.encode(), None)

    async def close(self, code: int, message: bytes) -> None:
        self.closed.append(code)


class Core:
    """Frames that wait for one session."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._waiting: list[bytes] = []
        self._awake = False

    def tell(self, *frames: bytes) -> None:
        self._waiting += frames
        if not self._awake:
            self._awake = True
            self._sender.wake()

    def frames(self) -> list[bytes]:
        batch, self._waiting = self._waiting[:2], self._waiting[2:]
        self._awake = bool(batch)
        return batch


@pytest.fixture
async def world() -> Any:
    sender = Sender()
    client, core = Client(), Core(sender)
    running = asyncio.create_task(sender.run(client, core.frames, lambda: None))  # type: ignore[arg-type]
    yield sender, client, core
    running.cancel()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def answering(sender: Sender, client: Client, core: Core, *frames: bytes) -> Any:
    return sender.answer(client, core.frames, lambda: core.tell(*frames))  # type: ignore[arg-type]


class TestAnswers:
    async def test_they_are_sent_before_the_loop_turns_to_others(self, world: Any) -> None:
        _, client, _ = world
        with pytest.raises(StopIteration):
            answering(*world, b"1", b"2", b"3").send(None)
        assert client.taken == [b"1", b"2", b"3"]

    async def test_what_comes_later_is_sent_too(self, world: Any) -> None:
        _, client, core = world
        await answering(*world, b"answer")
        core.tell(b"event")
        await turns()
        assert client.taken == [b"answer", b"event"]

    async def test_one_does_not_overtake_what_the_client_has_not_taken(self, world: Any) -> None:
        _, client, core = world
        await turns()
        client.reads.clear()
        core.tell(b"1", b"2")
        await turns()
        await answering(*world, b"3")
        assert client.taken == [b"1"]
        client.reads.set()
        await turns()
        assert client.taken == [b"1", b"2", b"3"]

    async def test_what_comes_while_an_answer_waits_for_the_client_follows_it(self, world: Any) -> None:
        _, client, core = world
        client.reads.clear()
        waiting = asyncio.create_task(answering(*world, b"1", b"2", b"3"))
        await turns()
        core.tell(b"4")
        await turns()
        assert client.taken == [b"1"]
        client.reads.set()
        await waiting
        assert client.taken == [b"1", b"2", b"3", b"4"]

    async def test_a_session_that_a_frame_ends_is_told_why(self, world: Any) -> None:
        sender, client, _ = world
        await sender.answer(client, list, lambda: sender.end(SipProfileError("too_large")))
        await turns()
        assert b"too_large" in client.taken[0]
        assert client.closed == [1008]

    async def test_a_client_that_has_gone_is_left_to_the_reading_half(self, world: Any) -> None:
        sender, client, core = world

        async def gone(*_: Any) -> None:
            raise ConnectionResetError

        client.send_frame = gone
        await answering(sender, client, core, b"1")


class TestTurn:
    async def test_many_frames_of_one_session_leave_turns_to_others(self) -> None:
        turn = Turn()
        served: list[int] = []

        async def serve() -> None:
            for number in range(3 * FRAMES_PER_TURN):
                await turn.served()
                served.append(number)

        serving = asyncio.create_task(serve())
        seen = []
        while not serving.done():
            await asyncio.sleep(0)
            seen.append(len(served))
        most = max(after - before for before, after in zip([0, *seen], seen, strict=False))
        assert most == FRAMES_PER_TURN

    async def test_few_at_a_time_wait_for_nobody(self) -> None:
        turn = Turn()
        for _ in range(3):
            for _ in range(FRAMES_PER_TURN - 1):
                with pytest.raises(StopIteration):
                    turn.served().send(None)
            await turns(2)
