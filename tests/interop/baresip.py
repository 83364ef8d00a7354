"""baresip, a soft phone, as another user at the same registrar: a child process, told what to do over ctrl_tcp."""

from __future__ import annotations

import dataclasses
import glob
import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .kamailio import Kamailio
from .ports import free_port

START_LIMIT = 10.0  # seconds until its control port must answer
STOP_LIMIT = 5.0  # seconds between SIGTERM, at which it de-registers, and SIGKILL
ANSWER_LIMIT = 5.0
COLOURS = re.compile("\x1b\\[[0-9;]*m")
RECEIVED = re.compile(r"^(SIP/2\.0 .*?)\n\n", re.MULTILINE | re.DOTALL)  # in baresip's own trace


@dataclasses.dataclass(frozen=True)
class Response:
    """A response that baresip received."""

    text: str  # status line and headers

    @property
    def status(self) -> int:
        return int(self.text.split(" ", 2)[1])

    @property
    def reason(self) -> str:
        return self.text.partition("\n")[0].split(" ", 2)[2]

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        lines = (line.partition(":") for line in self.text.splitlines()[1:])
        return next((value.strip() for found, _, value in lines if found.lower() == name.lower()), None)


class Baresip:
    """A phone of `user` at `kamailio`, on a loopback port of its own. It asks for leases of `expires` seconds.

    `directory` takes its configuration and its log, which has every message it sent and received. The `correspondent`
    is the address-of-record its text messages go to, since this release has no other way to name one.
    """

    host = "127.0.0.1"

    def __init__(
        self, directory: Path, kamailio: Kamailio, user: str, *, expires: int = 60, correspondent: str = ""
    ) -> None:
        self.aor = kamailio.aor(user)
        password = kamailio.settings.users[user]
        account = f'<{self.aor}>;auth_user={user};auth_pass={password};outbound="{kamailio.uri}";regint={expires}'
        self._prepare(directory, account, correspondent or self.aor)

    def _prepare(self, directory: Path, account: str, correspondent: str) -> None:
        self.port = free_port()
        self.directory = directory
        self.log = directory / "baresip.log"
        self.events: list[dict[str, Any]] = []
        """What ctrl_tcp reported since the last start, as far as it was read."""
        self._account = account
        self._correspondent = correspondent
        self._listen = f"sip_listen {self.host}:{self.port}"
        self._control_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._unread = b""

    @staticmethod
    def program() -> str | None:
        """The path of the program, None where it or its modules are not installed."""
        return shutil.which("baresip") if _modules() else None

    # --- life ---

    def start(self) -> None:
        """Starts baresip and returns when its control port answers. Raises RuntimeError with the end of its log."""
        program = self.program()
        if program is None:
            raise RuntimeError("baresip is not installed")
        self._write_configuration()
        with self.log.open("ab") as log:
            # Written to a file its output would stay in a buffer; it is looked at while baresip runs.
            self._process = subprocess.Popen(
                ["stdbuf", "-oL", program, "-f", str(self.directory), "-s"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        deadline = time.monotonic() + START_LIMIT
        self._unread = b""
        self.events = []
        while self._control is None:
            try:
                self._control = socket.create_connection((self.host, self._control_port), timeout=1.0)
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise RuntimeError(f"baresip does not answer:\n{self.shown()[-2000:]}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends baresip, which gives its binding back first. Does nothing when it is not running."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """Ends baresip as a crash does: its binding stays."""
        process, self._process = self._process, None
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what it does ---

    def command(self, name: str, parameters: str = "") -> str:
        """Gives one command of baresip, such as `reginfo`; what it prints. Raises RuntimeError when it is refused."""
        assert self._control is not None, "start() comes first"
        text = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self._control.sendall(b"%d:%s," % (len(text), text))
        deadline = time.monotonic() + ANSWER_LIMIT
        while not (answer := self._read(deadline)).get("response"):
            self.events.append(answer)
        if not answer["ok"]:
            raise RuntimeError(f"baresip refuses {name}: {answer['data']}")
        return COLOURS.sub("", answer["data"])

    def options(self, uri: str) -> Response:
        """Sends OPTIONS to `uri` and waits for the answer."""
        since = len(self.shown())
        self.command("options", uri)
        return self._answer_to("OPTIONS", since)

    def message(self, text: str) -> Response:
        """Sends `text` in a MESSAGE to the `correspondent` and waits for the answer."""
        since = len(self.shown())
        self.command("message", text)
        return self._answer_to("MESSAGE", since)

    def dial(self, uri: str) -> Response:
        """Calls `uri`, which must refuse, and waits until the call is over."""
        since, before = len(self.shown()), len(self.events)
        self.command("dial", uri)
        answer = self._answer_to("INVITE", since)
        closed = self._wait_for("CALL_CLOSED", before)
        assert closed["param"] == f"{answer.status} {answer.reason}", f"baresip tells its user {closed['param']}"
        return answer

    def wait_for(self, event: str, *, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of this type since the start."""
        deadline = time.monotonic() + 2 * ANSWER_LIMIT
        while len(found := [one for one in self.events if one.get("type") == event]) < count:
            try:
                self.events.append(self._read(deadline))
            except TimeoutError:
                raise AssertionError(f"not seen: {event}; seen: {self.events}\n{self.shown()[-6000:]}") from None
        return found[count - 1]

    def shown(self) -> str:
        """Everything it printed, over all starts, without colours."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return COLOURS.sub("", text)

    def _answer_to(self, method: str, since: int) -> Response:
        """The first final response to `method` in what it printed after `since`."""
        deadline = time.monotonic() + ANSWER_LIMIT
        while True:
            for message in RECEIVED.findall(self.shown()[since:]):
                answer = Response(message)
                if answer.status >= 200 and (answer.header("CSeq") or "").endswith(f" {method}"):
                    return answer
            assert time.monotonic() < deadline, f"no answer to {method}:\n{self.shown()[since:]}"
            time.sleep(0.02)

    def _wait_for(self, event: str, since: int) -> dict[str, Any]:
        """The first event of this type beyond the first `since` ones."""
        deadline = time.monotonic() + ANSWER_LIMIT
        while not (found := [one for one in self.events[since:] if one["type"] == event]):
            self.events.append(self._read(deadline))
        return found[0]

    def _read(self, deadline: float) -> dict[str, Any]:
        """One netstring from ctrl_tcp: an answer or an event. Raises TimeoutError."""
        assert self._control is not None
        while True:
            length, colon, rest = self._unread.partition(b":")
            if colon and len(rest) > int(length):
                self._unread = rest[int(length) + 1 :]
                return dict(json.loads(rest[: int(length)]))
            self._control.settimeout(max(0.01, deadline - time.monotonic()))
            data = self._control.recv(65536)
            if not data:
                raise RuntimeError(f"baresip has ended:\n{self.shown()[-2000:]}")
            self._unread += data

    def _write_configuration(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = [self._listen, f"net_interface {self.host}"]
        lines += [f"ctrl_tcp_listen {self.host}:{self._control_port}", f"module_path {_modules()}", "module g711.so"]
        lines += ["module_tmp account.so", *(f"module_app {name}.so" for name in ("ctrl_tcp", "menu", "contact"))]
        for name, text in (
            ("config", "\n".join(lines)),
            ("accounts", self._account),
            ("contacts", f'"correspondent" <{self._correspondent}>'),
        ):
            (self.directory / name).write_text(f"{text}\n")


def _modules() -> str | None:
    """The directory of baresip's modules."""
    places = ("/usr/lib*/baresip/modules", "/usr/lib/*/baresip/modules", "/usr/local/lib*/baresip/modules")
    return next((found for place in places for found in glob.glob(place)), None)
