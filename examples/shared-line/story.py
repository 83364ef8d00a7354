"""Three unrelated programs share one registration, and one is killed: told as it happens, seen at the other side."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from kamailio import Kamailio, NotInstalled
from narration import Narration
from outsider import Mailbox, outsider, text_of, user_of
from programs import Program
from promise import DidNotHappen, until
from service import Service
from soft_phone import SoftPhone

from sipprofile.errors import SipProfileError
from sipprofile.sip.dialog import Dialog
from sipprofile.sip.message import Request
from sipprofile.testing.peer import SDP, Scripted
from sipprofile.testing.peer_server import SipPeerServer

EXAMPLES = Path(__file__).parents[1]
ALICE = "sip:alice@example.test"
ANSWERED = (Scripted(180), Scripted(200, body=SDP, content_type="application/sdp", delay=0.8))
HELD = SDP.replace(b"o=- 1 1", b"o=- 1 2") + b"a=sendonly\r\n"
PHONE_SAYS = {
    "CALL_INCOMING": "rings: a call from {}",
    "CALL_RINGING": "hears it ringing",
    "CALL_ESTABLISHED": "is in a call",
    "CALL_CLOSED": "the call is over",
}


class Story:
    """What happens, step by step; each step raises DidNotHappen when it does not."""

    def __init__(self, directory: Path, pause: float, narration: Narration) -> None:
        self._directory = directory
        self._pause = pause
        self._narration = narration
        self._say = narration.say
        self._told: list[str] = []
        self._kept: list[tuple[str, str]] = []
        self._passwords = {user: secrets.token_hex(8) for user in ("alice", "bob", "voicemail")}

    async def run(self) -> None:
        """From the provider's start to the last binding gone. Raises DidNotHappen, NotInstalled."""
        for program in (Kamailio, SoftPhone):
            program.find()
        async with contextlib.AsyncExitStack() as stack:
            self._stack = stack
            await self._open()
            await self._programs_come()
            await self._a_message_gets_a_reply()
            await self._a_notification_reaches_the_watcher()
            await self._the_phone_calls()
            call = await self._the_phone_is_called()
            await self._a_second_claim_is_refused()
            await self._the_bot_is_killed(call)
            await self._another_bot_answers()
            await self._the_call_ends()
            await self._what_the_phone_saw()
            await self._everybody_leaves()
        self._narration.box("what was seen at the other side", [f"{what:<39} {seen}" for what, seen in self._kept])

    # The steps

    async def _open(self) -> None:
        """The provider, the service with alice's profile, and two users outside."""
        enter = self._stack.enter_async_context
        self._kamailio = await enter(Kamailio.running(self._directory, self._passwords, self._kamailio_says))
        self._say("kamailio", f"is registrar and proxy of example.test at {self._kamailio.uri}")
        self._service = await enter(Service.running(self._directory))
        port = await self._service.add_alice(self._kamailio.uri, self._passwords["alice"])
        self._say("service", f"registered {ALICE}; it has the password, and a bridge at 127.0.0.1:{port}")
        self._bridge_port = port
        self._voicemail = Mailbox(await enter(outsider("voicemail", self._passwords["voicemail"], self._kamailio)))
        self._bob = await enter(outsider("bob", self._passwords["bob"], self._kamailio))
        self._bob.peer.script["INVITE"] = ANSWERED
        await self._one_binding("one registration")

    async def _programs_come(self) -> None:
        await self._chapter("three unrelated programs use it")
        self._bot = await self._start("bot", "bot.py", "alice")
        self._watcher = await self._start("watcher", "mwi.py", "alice")
        await until(lambda: self._bot.has_said("answers") and self._watcher.has_said("watches"), "both are there")
        subscribe = await self._heard(self._voicemail.peer, "SUBSCRIBE")
        self._say("voicemail", f"{user_of(subscribe)} subscribed to {subscribe.header('event')}")
        await self._voice_messages(0)
        directory = self._directory / "phone"
        self._phone = await SoftPhone.start(directory, self._bridge_port, self._phone_says)
        self._stack.push_async_callback(self._phone.kill)
        await until(lambda: self._phone.registered, "the phone registers at the bridge")
        self._say("phone", "baresip, unmodified, registered at the bridge; its account has no password")
        await self._one_binding("the same with three programs")

    async def _a_message_gets_a_reply(self) -> None:
        await self._chapter("bob writes to alice: the bot answers")
        reply = await self._conversation("hello", 1)
        self._keep("bob's message had an answer", f"200, and a MESSAGE from {user_of(reply)}")

    async def _a_notification_reaches_the_watcher(self) -> None:
        await self._chapter("somebody spoke on the voicemail: the watcher hears of it")
        await self._voice_messages(2)
        await until(lambda: self._watcher.has_said("waiting: yes"), "the watcher hears of it")
        if any("waiting" in line for line in self._bot.lines) or "NOTIFY sip" in self._phone.seen():
            raise DidNotHappen("the notification came to others than the watcher")
        self._keep("two new voice messages", "NOTIFY 200; neither bot nor phone saw it")

    async def _the_phone_calls(self) -> None:
        await self._chapter("the phone calls bob through the bridge")
        self._phone.command("dial", "bob")
        invite = await self._heard(self._bob, "INVITE")
        self._say("bob", f"rings: a call from {user_of(invite)}")
        proven = "INVITE from alice to bob: the password is right"
        await until(lambda: proven in self._told, "Kamailio sees a call of alice's, with her password proven")
        if user_of(invite) != ALICE:
            raise DidNotHappen(f"the phone's call came from {user_of(invite)}, not from {ALICE}")
        await until(lambda: "CALL_ESTABLISHED" in self._phone.events, "bob answers")
        await asyncio.sleep(self._pause)
        self._phone.command("hangup")
        await self._heard(self._bob, "BYE")
        self._say("bob", "was hung up on")
        await until(lambda: "CALL_CLOSED" in self._phone.events, "the phone's call is over")
        self._keep("the phone called bob", "INVITE from alice, password proven; BYE")

    async def _the_phone_is_called(self) -> Dialog:
        await self._chapter("bob calls alice: the phone rings")
        self._phone.events.clear()
        exchange = self._bob.begin("INVITE", ALICE, body=SDP, content_type="application/sdp")
        await until(lambda: "CALL_INCOMING" in self._phone.events, "the phone rings")
        await asyncio.sleep(self._pause)
        self._phone.command("accept")
        if (answer := await self._bob.final(exchange)).status != 200:
            raise DidNotHappen(f"the phone answered bob's call with {answer.status} {answer.reason}")
        self._say("bob", "is connected, and stays so for a while")
        self._keep("bob called alice", "180, 200: the phone behind the bridge took it")
        return next(iter(exchange.dialogs.values()))

    async def _a_second_claim_is_refused(self) -> None:
        await self._chapter("another program wants alice's messages too")
        command = ("-m", "sipprofile.cli.main", "listen", "alice", "--method", "MESSAGE")
        second = await self._run("second", *command)
        await until(lambda: not second.running, "the second program is refused")
        await second.stop()
        refusal = " ".join(second.lines)
        if "claim_in_use" not in refusal or "com.example.bot" not in refusal:
            raise DidNotHappen("the second claim on MESSAGE was not refused with the bot's name")
        self._keep("a second claim on MESSAGE", "refused: claim_in_use by com.example.bot")

    async def _the_bot_is_killed(self, call: Dialog) -> None:
        await self._chapter("the bot hangs with a message unanswered, and is killed")
        os.kill(self._bot.pid, signal.SIGSTOP)
        sent = len(self._kamailio.log)
        exchange = self._bob.begin("MESSAGE", ALICE, body=b"are you there?", content_type="text/plain")
        self._say("bob", "MESSAGE to alice: are you there?")
        await until(lambda: len(self._kamailio.log) > sent, "the message is on its way")
        await asyncio.sleep(max(self._pause, 0.5))
        if exchange.final is not None:
            raise DidNotHappen(f"a message was answered {exchange.final.status} while the bot hung")
        await self._bot.kill()
        self._say("bot", f"was killed with SIGKILL (process {self._bot.pid})")
        answer = await self._bob.final(exchange)
        self._say("bob", f"is told {answer.status} {answer.reason}")
        if answer.status != 480:
            raise DidNotHappen(f"the sender was told {answer.status}, not 480")
        self._keep("the bot was killed, a message waiting", f"bob was told 480 {answer.reason}")
        held = await self._bob.send("INVITE", dialog=call, body=HELD, content_type="application/sdp")
        self._say("bob", f"puts the call on hold: {held.status} {held.reason}, it goes on")
        await self._voice_messages(3)
        await until(lambda: self._watcher.lines[-1].endswith("3/0"), "the watcher hears of a third message")
        if held.status != 200 or "CALL_CLOSED" in self._phone.events or not self._watcher.running:
            raise DidNotHappen("the phone or the watcher noticed that the bot was killed")
        subscribes = len(self._voicemail.peer.requests("SUBSCRIBE"))
        self._keep("call and subscription meanwhile", f"re-INVITE 200; NOTIFY 200, {subscribes} SUBSCRIBE in all")
        await self._one_binding("registrations after that")

    async def _another_bot_answers(self) -> None:
        await self._chapter("another bot takes its place")
        self._bot = await self._start("bot", "bot.py", "alice")
        await until(lambda: self._bot.has_said("answers"), "the bot is there again")
        await self._conversation("are you there now?", 2)
        self._keep("another bot", "claimed MESSAGE and answered")

    async def _the_call_ends(self) -> None:
        await self._chapter("the phone hangs up")
        self._phone.events.clear()
        self._phone.command("hangup")
        await self._heard(self._bob, "BYE", 2)
        self._say("bob", "was hung up on")
        await until(lambda: "CALL_CLOSED" in self._phone.events, "the call is over")

    async def _what_the_phone_saw(self) -> None:
        """All messages that baresip sent or got, and its settings."""
        seen = self._phone.seen()
        if "INVITE sip" not in seen or "BYE sip" not in seen:
            raise DidNotHappen("the phone did not print what it got, so nothing can be said of it")
        for word in (self._passwords["alice"], "Digest", "Authenticate", "Authorization", "MESSAGE sip", "NOTIFY sip"):
            if word in seen:
                raise DidNotHappen(f"the phone saw {'a password' if word == self._passwords['alice'] else word}")
        self._keep(f"all that the phone got, {len(seen) // 1000} kB", "no password, no digest, no MESSAGE, no NOTIFY")

    async def _everybody_leaves(self) -> None:
        await self._chapter("everybody leaves")
        for name, program in (("bot", self._bot), ("watcher", self._watcher)):
            if await program.stop() != 0:
                raise DidNotHappen(f"the {name} did not end cleanly")
        unsubscribe = await self._heard(self._voicemail.peer, "SUBSCRIBE", 2)
        self._say("voicemail", f"SUBSCRIBE with Expires: {unsubscribe.header('expires')}: {ALICE} has unsubscribed")
        if unsubscribe.header("expires") != "0":
            raise DidNotHappen("the watcher did not unsubscribe")
        await self._phone.stop()
        status = await self._service.stop()
        left = await self._kamailio.bindings("alice")
        self._say("service", f"ended with status {status}")
        self._keep("at the end", f"SUBSCRIBE with Expires: 0; {len(left)} bindings of alice")
        if status != 0 or left:
            raise DidNotHappen(f"the service ended with status {status} and left {len(left)} bindings")

    # What they are made of

    async def _conversation(self, text: str, count: int) -> Request:
        """Bob writes; 200 and the ``count``-th message of the bot come back."""
        self._say("bob", f"MESSAGE to alice: {text}")
        answer = await self._bob.send("MESSAGE", ALICE, body=text.encode(), content_type="text/plain")
        if answer.status != 200:
            raise DidNotHappen(f"bob's message was answered with {answer.status} {answer.reason}")
        reply = await self._heard(self._bob, "MESSAGE", count)
        self._say("bob", f"is told 200, and gets a MESSAGE from {user_of(reply)}: {text_of(reply)}")
        if (user_of(reply), text_of(reply)) != (ALICE, f"You said: {text}"):
            raise DidNotHappen(f"the reply was {text_of(reply)!r} from {user_of(reply)}")
        return reply

    async def _heard(self, peer: SipPeerServer, method: str, count: int = 1) -> Request:
        """The ``count``-th request of this method that came to somebody outside."""
        try:
            return await peer.wait_for(method, count)
        except TimeoutError:
            raise DidNotHappen(f"no {method} came to {peer.peer.aor} in time") from None

    async def _start(self, name: str, script: str, *arguments: str) -> Program:
        self._say(name, f"$ python examples/{script} {' '.join(arguments)}")
        return await self._run(name, str(EXAMPLES / script), *arguments)

    async def _run(self, name: str, *arguments: str) -> Program:
        environment = {"SIPPROFILE_URL": self._service.url}
        program = await Program.start([sys.executable, *arguments], environment, lambda line: self._say(name, line))
        self._stack.push_async_callback(program.kill)
        return program

    async def _voice_messages(self, count: int) -> None:
        """A notification of the voicemail."""
        status = await self._voicemail.tell(count)
        self._say("voicemail", f"NOTIFY to alice's subscription, new messages: {count}: answered {status}")
        if status != 200:
            raise DidNotHappen(f"voicemail's NOTIFY was answered {status}, not 200")

    async def _one_binding(self, what: str) -> None:
        found = await self._kamailio.bindings("alice")
        self._say("kamailio", f"bindings of alice: {len(found)}, {', '.join(found)}")
        if len(found) != 1:
            raise DidNotHappen(f"alice has {len(found)} bindings, not exactly one")
        self._keep(what, f"1 binding of alice, at {found[0].rpartition('@')[2].partition(';')[0]}")

    def _kamailio_says(self, line: str) -> None:
        self._told.append(line)
        self._say("kamailio", line)

    def _phone_says(self, event: str, parameter: str) -> None:
        if event in PHONE_SAYS:
            self._say("phone", PHONE_SAYS[event].format(parameter))

    async def _chapter(self, title: str) -> None:
        await asyncio.sleep(self._pause)
        self._narration.chapter(title)

    def _keep(self, what: str, seen: str) -> None:
        self._kept.append((what, seen))


async def told(pause: float) -> int:
    """The exit status."""
    narration = Narration(sys.stdout.isatty())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    directory = Path(tempfile.mkdtemp(prefix="shared-line-"))
    story = asyncio.create_task(Story(directory, pause, narration).run())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((story, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not story.done():
        story.cancel()
    try:
        await story
    except asyncio.CancelledError:
        narration.say("story", "was interrupted; every program has ended")
        status = 130
    except NotInstalled as missing:
        narration.say("story", f"FAILED: {missing}")
        status = 1
    except (DidNotHappen, SipProfileError, RuntimeError, TimeoutError) as error:
        narration.say("story", f"FAILED: {error or 'no answer came in time'}; logs are in {directory}")
        return 1
    else:
        narration.say("story", "everything was as it should be")
        status = 0
    shutil.rmtree(directory)
    return status


def main(description: str | None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--pause", type=float, default=1.2, help="seconds between steps, to be read (default: 1.2)")
    return asyncio.run(told(parser.parse_args().pause))
