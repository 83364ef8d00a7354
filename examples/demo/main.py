"""What `make run` shows: a registrar, the service, and two programs that share one registration.

python examples/demo/main.py [--state DIRECTORY] [--seconds N]

The exit status is 0 when everything happened that should.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from ledger import Ledger
from narration import Narration
from programs import Program, log_to
from promise import DidNotHappen, until

import sipprofile
from sipprofile.testing.server import RegistrarServer

PORT = 5070  # of the registrar; the same at every start, so that the stored profile fits
NAME = "demo"
AOR = "sip:alice@example.test"
USER, PASSWORD = "alice", "open sesame"
LEASE = 20  # seconds, so that refreshes can be watched
END = 3.0  # seconds kept for the end of a demonstration of limited length
SHARED_LINE = Path(__file__).parents[1] / "shared_line.py"


class Demonstration:
    """The story, told as it happens."""

    def __init__(self, state: Path, seconds: float | None, narration: Narration) -> None:
        self._state = state.absolute()
        self._url = f"unix:{self._state / 'sock'}"
        self._seconds = seconds
        self._lease = LEASE if seconds is None else max(4, min(LEASE, int(seconds * 0.4)))
        self._pause = 1.5 if seconds is None else min(1.5, seconds / 20)  # between steps, to be read
        self._say = narration.say
        self._narration = narration
        self._programs: dict[str, Program] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """From the first start to the last binding gone; ``stop`` ends it early. Raises DidNotHappen."""
        self._state.mkdir(mode=0o750, parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as stack:
            server = await self._start_registrar(stack)
            self._ledger = Ledger(server, AOR, self._narration)
            service = await self._start_service()
            stack.push_async_callback(self._end, service)
            await self._prepare_profile(server.uri)
            self._show_commands()
            story = asyncio.create_task(self._story())
            following = asyncio.create_task(self._follow())
            watching = asyncio.create_task(self._watch())
            stopped = asyncio.create_task(stop.wait())
            try:
                limit = None if self._seconds is None else max(0.0, self._seconds - END)
                done, _ = await asyncio.wait(
                    (story, stopped, watching), timeout=limit, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    await task
                if not self._told and not stopped.done():
                    raise DidNotHappen(f"{self._seconds:g} s are too short for the whole story")
                story.cancel()
                await self._leave()
            finally:
                for task in (story, following, watching, stopped):
                    task.cancel()
                await asyncio.gather(story, following, watching, stopped, return_exceptions=True)

    # The story

    _told = False

    async def _story(self) -> None:
        await self._enter("mail")
        await until(lambda: self._ledger.registrations == 1, "a registration")
        await asyncio.sleep(self._pause)
        sent = self._ledger.requests
        await self._enter("phone")
        if self._ledger.requests == sent:
            self._say("demo", "two programs, one registration: nothing went to the registrar")
        await asyncio.sleep(self._pause)
        phone = self._programs.pop("phone")
        await phone.kill()
        self._say("phone", f"was killed with SIGKILL (process {phone.pid})")
        await asyncio.sleep(self._pause)
        if self._ledger.bindings != 1 or not self._programs["mail"].running:
            raise DidNotHappen("one binding, still there after a program was killed")
        self._say("demo", "the registration is as it was; a lost program counts for 2 s more, as it may come back")
        await self._enter("phone")
        await until(lambda: self._ledger.refreshes >= 1, "a refresh", self._lease)
        if self._ledger.registrations != 1 or self._ledger.bindings != 1:
            raise DidNotHappen("exactly one registration")
        self._told = True
        while True:  # come and go, until somebody ends it
            await asyncio.sleep(self._lease)
            await self._go("phone")
            await asyncio.sleep(self._lease / 2)
            await self._enter("phone")

    async def _enter(self, name: str) -> None:
        command = (sys.executable, str(SHARED_LINE), NAME, f"com.example.{name}")
        program = await Program.start(command, {"SIPPROFILE_URL": self._url}, lambda line: self._say(name, line))
        self._programs[name] = program
        await until(lambda: program.has_said("uses") or not program.running, f"{name} using the profile")
        if not program.has_said("uses"):
            raise DidNotHappen(f"{name} using the profile: it ended with the lines above")

    async def _go(self, name: str) -> None:
        program = self._programs.pop(name, None)
        if program is None:
            return
        if not program.has_said("uses"):
            await program.kill()  # it was only starting, and Python's own start does not like interrupts
        elif await program.stop() != 0:
            raise DidNotHappen(f"{name} leaving cleanly")

    async def _leave(self) -> None:
        """Everybody leaves; with the last one the binding goes."""
        for name in reversed(list(self._programs)):
            await self._go(name)
        await until(lambda: self._ledger.bindings == 0, "the binding's removal")
        self._ledger.follow()

    # What is around it

    async def _start_registrar(self, stack: contextlib.AsyncExitStack) -> RegistrarServer:
        try:
            server = await stack.enter_async_context(RegistrarServer(users={USER: PASSWORD}, port=PORT))
        except OSError:
            server = await stack.enter_async_context(RegistrarServer(users={USER: PASSWORD}))
        server.registrar.faults.maximum_expires = self._lease
        self._say("registrar", f"listens on {server.uri}, asks for passwords, grants {self._lease} s")
        return server

    async def _start_service(self) -> Program:
        configuration = self._state / "demo.toml"
        configuration.write_text('[sip]\nbind = ["127.0.0.1"]  # nothing leaves this machine\n')
        command = (
            *(sys.executable, "-m", "sipprofile.cli.main", "serve", "--config", str(configuration)),
            *("--state", str(self._state), "--socket", str(self._state / "sock")),
        )
        log = self._state / "service.log"
        service = await Program.start(command, {}, log_to(log))
        sip = sipprofile.Sip("com.example.demo", url=self._url)

        async def answers() -> bool:
            if not service.running:
                raise DidNotHappen("the service's start:\n" + "\n".join(service.lines[-5:]))
            try:
                await sip.open()
            except sipprofile.SipProfileError:
                return False
            return True

        await until(answers, f"the service's start (see {log})")
        await sip.close()
        self._say("service", f"listens on {self._url}, log in {log}")
        return service

    async def _prepare_profile(self, registrar: str) -> None:
        server = sipprofile.ServerParameters(uri=registrar, username=USER, password=PASSWORD)
        async with (
            sipprofile.Sip("com.example.demo", url=self._url) as sip,
            sipprofile.ManagedProfileRegistry(sip) as registry,
        ):
            try:
                profile = await registry.profile(name=NAME)
            except sipprofile.SipProfileError as error:
                if error.code != "not_found":
                    raise
                profile = await registry.create("ietf")
                profile.name, profile.aor = NAME, AOR
                done = "stored"
            else:
                done = "was stored before"
            profile.registrar = server
            profile.linger_lost = 2.0  # short, so that the end of a killed program's use can be watched
            await registry.save(profile)
            self._say("service", f"profile {NAME!r} {done}: {AOR} at {registrar}, registered on demand")

    async def _watch(self) -> None:
        """Tell how many use the profile; holding it without enabling it registers nothing."""
        async with (
            sipprofile.Sip("com.example.demo", url=self._url) as sip,
            sipprofile.ProfileRegistry(sip) as registry,
        ):
            profile = await registry.profile(name=NAME)
            users = 0
            async for _ in registry.events(profile):
                if profile.users != users:
                    users = profile.users
                    count = {0: "nobody", 1: "one program"}.get(users, f"{users} programs")
                    self._say("service", f"{NAME} is used by {count}, {profile.status}")

    async def _follow(self) -> None:
        while True:
            self._ledger.follow()
            await asyncio.sleep(0.05)

    async def _end(self, service: Program) -> None:
        for program in self._programs.values():
            await program.stop()
        status = await service.stop()
        self._ledger.follow()
        self._say("service", f"ended with status {status}, bindings left: {self._ledger.bindings}")
        if status != 0 or self._ledger.bindings:
            raise DidNotHappen("a clean end of the service")

    def _show_commands(self) -> None:
        command = f"{Path(sys.executable).parent}/sipprofile --url {self._url}"
        here = str(Path.cwd()) + "/"
        self._narration.box(
            "try it from a second terminal",
            [
                f"export SIPPROFILE_URL={self._url}",
                *(
                    f"{command.partition(' ')[0].removeprefix(here)} {rest}"
                    for rest in ("list", "watch", f"use {NAME} --for 30", f"show {NAME}", f"history {NAME}")
                ),
                f"curl --unix-socket {self._state / 'sock'} http://localhost/v1/profiles/by-name/{NAME}",
            ],
        )


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--state", type=Path, default=Path("var"), help="the service's store (default: ./var)")
    parser.add_argument("--seconds", type=float, help="end by itself after so many seconds, 10 or more")
    given = parser.parse_args()
    narration = Narration(sys.stdout.isatty())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    try:
        await Demonstration(given.state, given.seconds, narration).run(stop)
    except (DidNotHappen, sipprofile.SipProfileError) as error:
        narration.say("demo", f"FAILED: {error}")
        return 1
    narration.say("demo", "everything was as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
