"""Applications that are started when a request comes for them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from claims_world import Owner, World, facts

from sipprofile.claims import Claim
from sipprofile.server.activation import Activations
from sipprofile.server.sharing_sections import ActivateSection
from sipprofile.service.activation import MAXIMUM_HELD, PAUSE
from sipprofile.service.effects import Activate

BOT = Claim(methods=["MESSAGE"])


def world(**timeouts: float) -> World:
    """One whose profile has a standing claim to ``activate:bot``."""
    made = World(activate=timeouts or {"bot": 10.0})
    owner = made.activation.owner(1, "bot")
    made.claims.claim(owner, 1, BOT, None, made.now, reserve=True, check=False)
    return made


class TestHold:
    def test_it_is_started_and_the_request_waits_for_its_claim(self) -> None:
        one = world()
        incoming = one.receive("MESSAGE")
        assert one.effects == [Activate("bot")]
        one.pass_time(3)
        assert one.statuses(incoming) == []
        one.owner("phone", Claim(methods=["INVITE"]))
        bot = one.owner("bot (alice)", BOT)
        assert bot.told == [], "it first hears that its claim holds"
        one.pass_time(0)
        assert bot.told == [("requested", incoming.number)]
        assert bot.by == [3]
        one.answer(bot, incoming)
        one.pass_time(20)
        assert one.statuses(incoming) == [200]

    def test_who_is_there_goes_first_though_less_well(self) -> None:
        one = world()
        phone = one.owner("phone", Claim(default=True))
        one.receive("MESSAGE")
        assert (phone.told, one.effects) == ([("requested", 1)], [])

    def test_nobody_comes(self) -> None:
        one = world(bot=4.0)
        incoming = one.receive("MESSAGE")
        one.pass_time(3.9)
        assert one.statuses(incoming) == []
        one.pass_time(0.2)
        (answer,) = one.sent[incoming.number]
        assert (answer.status, answer.headers) == (480, (("Retry-After", "5"),))
        one.pass_time(10)
        assert len(one.activation) == 0

    def test_never_longer_than_ten_seconds(self) -> None:
        one = world(bot=60.0)
        incoming = one.receive("MESSAGE")
        one.pass_time(10)
        assert one.statuses(incoming) == [480]

    def test_it_could_not_be_started(self) -> None:
        one = world()
        first, second = one.receive("MESSAGE"), one.receive("MESSAGE")
        one.activation.failed("bot", one.now)
        one.activation.failed("nobody", one.now)
        assert one.statuses(first) == one.statuses(second) == [480]
        one.pass_time(20)

    def test_the_caller_gives_up(self) -> None:
        one = world()
        incoming = one.receive("MESSAGE")
        incoming.status = 487
        assert incoming.owner is not None
        incoming.owner.withdrawn(incoming, "cancelled", one.now)
        bot = one.owner("bot", BOT)
        one.pass_time(20)
        assert bot.told == []
        assert one.sent == {}

    def test_it_may_claim_what_it_was_started_for(self) -> None:
        one = world()
        one.owner("bot", BOT)
        assert one.claims.find(1, facts("MESSAGE"))[0].owner.label == "bot"


class TestStarts:
    def test_not_again_and_again(self) -> None:
        one = world()
        for _ in range(3):
            one.receive("MESSAGE")
            one.pass_time(1)
        assert one.effects == [Activate("bot")]
        one.pass_time(PAUSE - 3)
        assert one.effects == [Activate("bot")] * 2, "somebody still waits, and it may be started again"
        one.pass_time(20)
        assert one.effects == [Activate("bot")] * 2, "nobody waits any more"

    def test_again_when_it_has_ended_and_somebody_waits(self) -> None:
        one = world()
        first = one.receive("MESSAGE")
        bot = one.owner("bot", BOT)
        one.pass_time(6)
        one.answer(bot, first)
        one.delivery.owners_gone([bot], one.now)
        one.activation.ended("bot", one.now)
        assert one.effects == [Activate("bot")], "nobody waits"
        one.receive("MESSAGE")
        assert one.effects == [Activate("bot")] * 2
        one.activation.ended("bot", one.now)
        one.activation.ended("nobody", one.now)
        one.pass_time(PAUSE)
        assert one.effects == [Activate("bot")] * 3

    def test_what_waits_has_a_limit(self) -> None:
        one = world()
        for _ in range(MAXIMUM_HELD):
            one.receive("MESSAGE")
        more = one.receive("MESSAGE")
        assert one.statuses(more) == [480]
        assert len(one.activation) == MAXIMUM_HELD
        bot = one.owner("bot", BOT, answers=lambda incoming: one.answer(bot, incoming))
        one.pass_time(0)
        assert len(bot.told) == MAXIMUM_HELD
        assert one.delivery.counts() == {"contests": 0, "held": 0}

    def test_several_who_share_it_get_it_one_after_another(self) -> None:
        """The first that comes has it; nobody waits for a second."""
        one = world()
        shared = Claim(methods=["MESSAGE"], exclusive=False)
        incoming = one.receive("MESSAGE")
        first = one.owner("first", shared)
        one.pass_time(0)
        second = Owner("second")
        one.claims.claim(second, 1, shared, None, one.now)
        one.pass_time(0)
        assert (first.told, second.told) == ([("requested", incoming.number)], [])


class Log:
    def info(self, *_: Any, **__: Any) -> None: ...

    warning = info


class Shell:
    """Starts applications and waits for what becomes of them."""

    def __init__(self, **sections: ActivateSection) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.failed: list[str] = []
        self.ended: list[str] = []
        told = (self.ended.append, self.failed.append)
        self.activations = Activations(sections, "unix:/run/x", Log(), self._begin, *told)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def start(self) -> None:
        self.activations.activate(Activate("bot"))

    async def done(self) -> None:
        await asyncio.wait_for(asyncio.gather(*self.tasks), 20)


def program(text: str) -> ActivateSection:
    return ActivateSection(command=(sys.executable, "-c", text))


class TestPrograms:
    async def test_it_finds_the_service_and_nothing_else_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SIPPROFILE_PASSWORD", "secret")
        inherited = os.open(tmp_path, os.O_RDONLY)
        os.set_inheritable(inherited, True)
        report = tmp_path / "report"
        text = f"""
import os
fds = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{{fd}}")]
own = os.getpid() == os.getsid(0) == os.getpgid(0)
open({str(report)!r}, "w").write(f"{{own}} {{len(fds) <= 3}} {{os.environ['SIPPROFILE_URL']}} "
    f"{{'SIPPROFILE_PASSWORD' in os.environ}} {{os.getcwd()}} {{os.read(0, 1)}}")
"""
        shell = Shell(bot=program(text))
        shell.start()
        await shell.done()
        os.close(inherited)
        assert report.read_text() == "True True unix:/run/x False / b''"
        assert shell.failed == []

    async def test_one_at_a_time(self, tmp_path: Path) -> None:
        report = tmp_path / "report"
        text = f"import time; open({str(report)!r}, 'a').write('x'); time.sleep(0.3)"
        shell = Shell(bot=program(text))
        for _ in range(3):
            shell.start()
        await shell.done()
        assert report.read_text() == "x"
        shell.start()
        await shell.done()
        assert report.read_text() == "xx"
        assert shell.ended == ["bot", "bot"]

    @pytest.mark.parametrize(
        "section",
        [program("raise SystemExit(3)"), ActivateSection(command=("/nowhere/at/all",))],
        ids=["status", "none"],
    )
    async def test_one_that_fails_is_told(self, section: ActivateSection) -> None:
        shell = Shell(bot=section)
        shell.start()
        await shell.done()
        assert shell.failed == ["bot"]

    @pytest.mark.parametrize("status", [0, 5])
    async def test_a_unit_is_ordered_from_systemd(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/order\nexit {status}\n')
        systemctl.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        shell = Shell(bot=ActivateSection(unit="bot.service"))
        shell.start()
        await shell.done()
        manager = "" if os.geteuid() == 0 else "--user "
        assert (tmp_path / "order").read_text() == f"{manager}start --no-block -- bot.service\n"
        assert shell.failed == (["bot"] if status else [])
