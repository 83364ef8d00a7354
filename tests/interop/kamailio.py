"""Kamailio as the registrar of the tests: a child process on a loopback port, asked over JSON-RPC."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import routing
from .namespace import Namespace
from .ports import free_port, is_free

TEMPLATE = Path(__file__).with_name("kamailio.cfg")
_numbers = itertools.count(1)
START_LIMIT = 15.0  # seconds until Kamailio must answer its control socket
STOP_LIMIT = 1.0  # seconds between SIGTERM and SIGKILL; it normally takes some milliseconds


SCHEMAS = Path("/usr/share/kamailio/db_sqlite")
"""Where the packages put the tables of Kamailio's modules."""

REGINFO_MODULES = """
loadmodule "db_sqlite.so"
loadmodule "presence.so"
loadmodule "presence_reginfo.so"
@presence_modules@
loadmodule "pua.so"
loadmodule "pua_reginfo.so"
modparam("presence|pua", "db_url", "sqlite://@database@")
modparam("presence", "server_address", "sip:presence@127.0.0.1:@port@")
modparam("presence", "notifier_processes", 0)
modparam("presence", "min_expires", 1)
modparam("pua", "db_mode", 0)
modparam("pua", "outbound_proxy", "sip:127.0.0.1:@port@")
modparam("pua_reginfo", "default_domain", "@domain@")
modparam("pua_reginfo", "server_address", "sip:reginfo@127.0.0.1:@port@")
modparam("pua_reginfo", "outbound_proxy", "sip:127.0.0.1:@port@")
"""

PRESENCE_MODULES = """
loadmodule "presence_xml.so"
modparam("presence_xml", "db_url", "sqlite://@database@")
modparam("presence_xml", "force_active", 1)
modparam("presence", "subs_db_mode", 3)  # what a test looks at is in the database at once
"""

REGINFO_ROUTE = """
    if (is_method("PUBLISH")) {
        handle_publish();
        exit;
    }
    if (is_method("SUBSCRIBE")) {
        route(AUTHENTICATE);
        xlog("L_NOTICE", "SUBSCRIBE-SEEN|$TV(Sn)|$var(verdict)|$ci|$cs|$tt|$hdr(Expires)\\n");
        if ($var(verdict) != 1) {
            www_challenge("@realm@", "@qop@");
            exit;
        }
        t_newtran();
        if (!has_totag()) record_route();
        handle_subscribe();
        exit;
    }
"""

FORWARDING_MODULES = """
loadmodule "tm.so"
loadmodule "tmx.so"
udp_mtu=1300
udp_mtu_try_proto=TCP
"""
FORWARDING_ROUTE = """
    if ($rU != $null && !is_method("REGISTER")) {
        loose_route();  # a phone that has us as its outbound proxy says so in a Route
        if (is_method("ACK") && !t_check_trans()) exit;
        if (is_method("ACK|CANCEL")) {
            t_relay();
            exit;
        }
        if (!lookup("location")) {
            sl_send_reply("480", "Temporarily Unavailable");
            exit;
        }
        xlog("L_NOTICE", "FORWARDED|$TV(Sn)|$rm|$ru|$ci\\n");
        t_on_reply("FORWARDED");
        t_relay();
        exit;
    }
"""
FORWARDING_REPLIES = """
onreply_route[FORWARDED] {
    xlog("L_NOTICE", "FORWARDED-ANSWERED|$rs|$rm|$ci\\n");
}
"""

WEBSOCKET_ROUTE = """
event_route[xhttp:request] {
    if ($hu == "/sip" && $hdr(Sec-WebSocket-Protocol) =~ "sip") {
        ws_handle_handshake();
        exit;
    }
    xhttp_reply("404", "Not Found", "", "");
}
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a test may want to be different; times are in seconds."""

    users: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"alice": "secret"}, repr=False)
    domain: str = "example.test"
    realm: str = "example.test"
    qop: bool = True  # False: RFC 2069 challenges without qop
    algorithm: str = ""  # MD5 or SHA-256; empty: MD5, and the challenge does not name it
    nonce_expire: int = 300  # afterwards the nonce is challenged again
    say_stale: bool = False  # True: that challenge carries stale=true; by itself Kamailio leaves it out
    min_expires: int = 0  # below it: 423 with Min-Expires; 0 accepts everything
    max_expires: int = 3600  # more is granted as this much, and so is a request without expiry
    max_contacts: int = 0  # one more: 503; 0 = any number
    alias: bool = False  # True: contacts are stored and listed with ;alias=, as behind a NAT
    token: str | None = None  # everybody registers with this access token (RFC 8898) and with no password
    certificate: Path | None = None  # PEM with its private key; then TLS is listened for, at a port of its own
    client_authority: Path | None = None  # clients need a certificate that this one has issued
    tls_method: str = "TLSv1.2+"
    flow_timer: int = 0  # a 2xx asks for keepalives this often
    stun: bool = False  # Binding requests are answered on the SIP port
    namespace: Namespace | None = None  # where it runs, at the address there; None: on 127.0.0.1
    tcp: bool = True  # False: no TCP at all
    forwards: bool = False  # requests to users go on to their contacts, over TCP when they are larger than 1300 bytes
    routes: bool = False  # calls and messages between users, see routing.py; not with `forwards`
    numbers: Mapping[str, str] = dataclasses.field(default_factory=dict)  # dialled numbers of users, with `routes`
    reginfo: bool = False  # subscriptions to registrations (RFC 3680); with `forwards` only
    presence: bool = False  # subscriptions to what users publish (RFC 3856), with `reginfo`
    outbound: int = 0  # RFC 5626 at the registrar: 0 not known, 1 supported, 2 wanted; Path comes with it
    gruu: bool = False  # RFC 5627
    granted: tuple[str, ...] = ()  # headers of every 2xx
    websocket: bool = False  # SIP over WebSocket at the path /sip, on every TCP and TLS port


@dataclasses.dataclass(frozen=True)
class Binding:
    """One row of Kamailio's location table."""

    contact: str
    call_id: str
    cseq: int
    expires: int  # seconds left
    user_agent: str
    instance: str | None
    reg_id: int = 0
    path: str = ""


@dataclasses.dataclass(frozen=True)
class Registered:
    """One REGISTER as the script of Kamailio saw it, retransmissions included.

    `verdict` is 1 when the credentials were right, else the code of pv_www_authenticate: -1 the nonce is
    not of this run of Kamailio, -2 wrong password, -3 unknown user, -4 nonce expired or its count used
    before, -5 no credentials.
    """

    at: float  # seconds of the wall clock
    verdict: int
    transport: str
    source: str
    call_id: str
    cseq: int
    aor: str
    expires: str  # the Expires header, empty without one
    contact: str  # the first Contact line

    @property
    def authorized(self) -> bool:
        return self.verdict == 1


@dataclasses.dataclass(frozen=True)
class Answered:
    """One response Kamailio sent to a REGISTER."""

    at: float
    status: int
    reason: str
    call_id: str
    cseq: int


@dataclasses.dataclass(frozen=True)
class Forwarded:
    """One request that went on to a contact of the user it was for, and what came back."""

    method: str
    contact: str  # the request URI it was sent with
    status: int | None  # of the final response, None without one


class RpcError(Exception):
    """Kamailio refused a JSON-RPC call."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {code} {message}")
        self.code = code


class Kamailio:
    """A running Kamailio; `directory` takes its configuration, its pid file and its log."""

    def __init__(self, directory: Path, settings: Settings | None = None, *, port: int | None = None) -> None:
        self.settings = settings or Settings()
        self.host = "127.0.0.1" if self.settings.namespace is None else self.settings.namespace.address
        self.port = port or free_port()
        self.tls_port = free_port()
        self.directory = directory
        self.log = directory / "kamailio.log"
        self._process: subprocess.Popen[bytes] | None = None
        # A socket path has 107 bytes at most, too few for some directories of pytest.
        self._run = Path(tempfile.mkdtemp(prefix="kamailio-"))

    @staticmethod
    def program() -> str | None:
        """The path of the program, None where it is not installed."""
        return shutil.which("kamailio", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    @staticmethod
    def module(name: str) -> str | None:
        """The path of one of Kamailio's modules, None where it is not installed."""
        places = ("/usr/lib*/kamailio/modules", "/usr/lib/*/kamailio/modules", "/usr/local/lib*/kamailio/modules")
        return next((found for place in places for found in glob.glob(f"{place}/{name}.so")), None)

    @property
    def uri(self) -> str:
        """What a profile names as its registrar or proxy."""
        return f"sip:{self.host}:{self.port}"

    def uri_over(self, transport: str, host: str = "localhost") -> str:
        """The URI for `transport`, with a name that certificates can be for."""
        port = self.tls_port if transport in ("tls", "wss") else self.port
        return f"sip:{host}:{port};transport={transport}"

    def aor(self, user: str) -> str:
        return f"sip:{user}@{self.settings.domain}"

    # --- life ---

    def start(self) -> None:
        """Starts Kamailio and returns when it answers. Raises RuntimeError with the end of its log."""
        program = self.program()
        if program is None:
            raise RuntimeError("kamailio is not installed")
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "kamailio.cfg"
        configuration.write_text(self._configuration())
        command = [program, "-DD", "-E", "-f", str(configuration), "-Y", str(self._run)]
        if self.settings.namespace is not None:
            command = self.settings.namespace.command(*command)
        command += ["-P", str(self.directory / "kamailio.pid"), "-m", "64", "-M", "8"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_LIMIT
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"kamailio ended with {self._process.returncode}:\n{self._log_end()}")
            try:
                self.call("core.version", limit=0.2)
                return
            except OSError:
                if time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"kamailio does not answer:\n{self._log_end()}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends Kamailio; its bindings and nonces are forgotten. Does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            # Kamailio 5.6 sometimes hangs when it is ended shortly after its start.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.wait_until(lambda: is_free(self.port), STOP_LIMIT, "the port of a killed Kamailio is free")

    def restart(self, **changes: Any) -> None:
        """Stops and starts on the same port, with `changes` to the settings; bindings are forgotten."""
        self.stop()
        self.settings = dataclasses.replace(self.settings, **changes)
        self.start()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._run, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what it knows ---

    def bindings(self, aor: str) -> list[Binding]:
        """The contacts registered for `aor` (sip:user@domain) now."""
        try:
            record = self.call("ul.lookup", "location", aor.removeprefix("sip:"))
        except RpcError as error:
            if error.code in (404, 500):  # "AOR not found", whose code depends on the release
                return []
            raise
        return _bindings(record)

    def location(self) -> dict[str, list[Binding]]:
        """The whole location table: address-of-record (user@domain) -> bindings."""
        table: dict[str, list[Binding]] = {}
        for domain in self.call("ul.dump").get("Domains", []):
            for entry in domain["Domain"].get("AoRs", []):
                record = entry.get("Info", entry)
                table[record["AoR"]] = _bindings(record)
        return table

    def bind(self, user: str, contact: str) -> None:
        """Adds a binding that no REGISTER asked for: that of a peer which does not register."""
        aor = self.aor(user).removeprefix("sip:")
        self.call("ul.add", "location", aor, contact, "3600", "1.0", "", "0", "0", "0")

    def set_password(self, user: str, password: str) -> None:
        """Changes what is asked of `user` from now on, also after a restart; unknown users are added."""
        self.settings = dataclasses.replace(self.settings, users={**self.settings.users, user: password})
        self.call("htable.sets", "passwords", user, password)

    def set_token(self, token: str) -> None:
        """From now on this access token is the one that counts."""
        self.settings = dataclasses.replace(self.settings, token=token)
        self.call("htable.sets", "passwords", "token", token)

    def counters(self) -> dict[str, int]:
        """Every statistic of Kamailio by 'group.name', e.g. 'registrar.accepted_regs'."""
        found: dict[str, int] = {}
        for line in self.call("stats.get_statistics", "all"):
            name, _, value = line.partition(" = ")
            found[name.replace(":", ".")] = int(value)
        return found

    def register_log(self) -> list[Registered]:
        """Every REGISTER since the first start. A request is in it before its answer is sent."""
        seen = []
        for at, verdict, transport, source, call_id, cseq, aor, expires, contact in self.marked("REGISTER-SEEN|", 9):
            expires, contact = ("" if text == "<null>" else text for text in (expires, contact))
            seen.append(
                Registered(float(at), int(verdict), transport, source, call_id, int(cseq), aor, expires, contact)
            )
        return seen

    def credentials_log(self) -> list[str]:
        """The Authorization of every REGISTER that had one, since the first start."""
        return [value for _, _, value in self.marked("CREDENTIALS-SEEN|", 3)]

    def answer_log(self) -> list[Answered]:
        """Every response to a REGISTER since the first start, logged just after it was sent."""
        return [
            Answered(float(at), int(status), reason, call_id, int(cseq))
            for at, status, reason, call_id, cseq, method in self.marked("RESPONSE-SENT|", 6)
            if method == "REGISTER"
        ]

    def forward_log(self) -> list[Forwarded]:
        """Every request sent on since the first start; with several contacts, that to the first."""
        answers = {
            (method, call_id): int(status)
            for status, method, call_id in self.marked("FORWARDED-ANSWERED|", 3)
            if int(status) >= 200
        }
        return [
            Forwarded(method, contact, answers.get((method, call_id)))
            for _, method, contact, call_id in self.marked("FORWARDED|", 4)
        ]

    def wait_until(self, promise: Callable[[], bool], limit: float, what: str) -> None:
        """Returns as soon as `promise()` is true; AssertionError naming `what` after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not promise():
            assert time.monotonic() < deadline, f"not within {limit} s: {what}"
            time.sleep(0.02)

    def call(self, method: str, *parameters: str, limit: float = 5.0) -> Any:
        """One JSON-RPC call. Raises RpcError when it is refused, OSError when nobody answers."""
        request = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": 1}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            answers = self._run / f"answers-{next(_numbers)}"  # an abstract address is that of a network namespace
            control.bind(str(answers))
            control.settimeout(limit)
            try:
                control.sendto(json.dumps(request).encode(), str(self._run / "rpc"))
                answer = json.loads(control.recv(1 << 20))
            finally:
                answers.unlink()
        if "error" in answer:
            raise RpcError(method, int(answer["error"]["code"]), str(answer["error"]["message"]))
        return answer["result"]

    # --- its files ---

    def _configuration(self) -> str:
        settings = self.settings
        values = {
            "host": self.host,
            "port": str(self.port),
            "tcp": f"listen=tcp:{self.host}:{self.port}" if settings.tcp else "disable_tcp=yes",
            # SQLite knows one writer at a time; and one process logs in the order of the wire
            "children": "1" if settings.presence or settings.routes else "2",
            **self._forwarding(),
            "rpc_socket": str(self._run / "rpc"),
            "domain": settings.domain,
            "realm": settings.realm,
            "qop": str(int(settings.qop)),
            "stale_challenge": str(settings.qop + 16 * settings.say_stale),
            "algorithm": settings.algorithm,
            "nonce_expire": str(settings.nonce_expire),
            "min_expires": str(settings.min_expires),
            "max_expires": str(settings.max_expires),
            "max_contacts": str(settings.max_contacts),
            "authenticate": "AUTHENTICATE" if settings.token is None else "AUTHENTICATE_BEARER",
            "token": _quoted(settings.token or ""),
            "flow_timer": f'append_to_reply("Flow-Timer: {settings.flow_timer}\\r\\n");' if settings.flow_timer else "",
            "passwords": "\n".join(
                f'    $sht(passwords=>{user}) = "{_quoted(password)}";' for user, password in settings.users.items()
            ),
        }
        values.update(self._secured())
        lines = [f'modparam("registrar", "outbound_mode", {settings.outbound})'] if settings.outbound else []
        lines += ['modparam("registrar", "use_path", 1)', 'modparam("registrar", "path_mode", 1)'] if lines else []
        lines += [f'modparam("registrar", "gruu_enabled", {int(settings.gruu)})']
        values["outbound"] = "\n".join(lines)
        values["granted"] = "\n".join(f'    append_to_reply("{line}\\r\\n");' for line in settings.granted)
        values.update(self._reginfo())
        text = TEMPLATE.read_text()
        for name in (
            "reginfo_modules",
            "reginfo_route",
            "forwarding_replies",
        ):  # they have words of their own to be filled in
            text = text.replace(f"@{name}@", values.pop(name))
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text

    def _forwarding(self) -> dict[str, str]:
        """What requests to users add to the configuration."""
        settings = self.settings
        numbers = "\n".join(f'    $sht(numbers=>{dialled}) = "{user}";' for dialled, user in settings.numbers.items())
        if settings.routes:
            texts = routing.MODULES, routing.ROUTE, routing.ROUTES
        elif settings.forwards:
            texts = FORWARDING_MODULES, FORWARDING_ROUTE, FORWARDING_REPLIES
        else:
            texts = "", "", ""
        names = ("forwarding_modules", "forwarding_route", "forwarding_replies")
        return {"numbers": numbers, **dict(zip(names, texts, strict=True))}

    def routed(self, method: str | None = None) -> list[routing.Routed]:
        """The requests between users that reached it, of one method if that is given."""
        found = routing.routed(self.marked("ROUTED|", 11))
        return [one for one in found if method in (None, one.method)]

    def replied(self, method: str | None = None) -> list[routing.Replied]:
        """The responses that came back to it, to one method if that is given."""
        found = routing.replied(self.marked("REPLIED|", 8))
        return [one for one in found if method in (None, one.method)]

    def sent(self, method: str | None = None) -> list[routing.Sent]:
        """The copies of requests that went to contacts, of one method if that is given."""
        found = routing.sent(self.marked("ONWARD|", 5))
        return [one for one in found if method in (None, one.method)]

    def _reginfo(self) -> dict[str, str]:
        """What subscriptions add to the configuration, with an empty database for them."""
        if not self.settings.reginfo:
            return {"reginfo_modules": "", "reginfo_route": ""}
        database = self.directory / "presence.db"
        database.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # whoever looks on keeps nobody from writing
            for schema in ("standard", "presence"):
                connection.executescript((SCHEMAS / f"{schema}-create.sql").read_text())
        modules = REGINFO_MODULES.replace("@presence_modules@", PRESENCE_MODULES if self.settings.presence else "")
        return {
            "reginfo_modules": modules.replace("@database@", str(database)),
            "reginfo_route": REGINFO_ROUTE + FORWARDING_ROUTE,
        }

    def presence_rows(self, query: str) -> list[tuple[Any, ...]]:
        """What its presence server has in its database; a change is committed."""
        with contextlib.closing(sqlite3.connect(self.directory / "presence.db", timeout=5)) as connection, connection:
            return connection.execute(query).fetchall()

    def _secured(self) -> dict[str, str]:
        """What TLS and WebSocket add to the configuration."""
        settings = self.settings
        listen, modules, routes = [], [], []
        if settings.certificate is not None:
            listen += ["enable_tls=yes", f"listen=tls:{self.host}:{self.tls_port}"]
            modules += ['loadmodule "tls.so"', f'modparam("tls", "config", "{self.directory / "tls.cfg"}")']
            lines = ["[server:default]", f"method = {settings.tls_method}", f"certificate = {settings.certificate}"]
            lines += [f"private_key = {settings.certificate}"]
            if settings.client_authority is not None:
                lines += [f"ca_list = {settings.client_authority}", "verify_certificate = yes"]
                lines += ["require_certificate = yes"]
            (self.directory / "tls.cfg").write_text("\n".join([*lines, ""]))
        if settings.websocket:
            listen += ["tcp_accept_no_cl=yes"]
            modules += ['loadmodule "xhttp.so"', 'loadmodule "websocket.so"']
            routes += [WEBSOCKET_ROUTE]
        if settings.stun:
            modules += ['loadmodule "stun.so"']
        if settings.alias:
            modules += ['loadmodule "nathelper.so"']
        return {
            "before_save": "set_contact_alias();" if settings.alias else "",
            "secure_listen": "\n".join(listen),
            "secure_modules": "\n".join(modules),
            "secure_routes": "\n".join(routes),
        }

    def marked(self, mark: str, fields: int) -> list[list[str]]:
        """The fields of the complete log lines that carry `mark`."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        complete = text[: text.rfind("\n") + 1]
        return [line.split(mark, 1)[1].split("|", fields - 1) for line in complete.splitlines() if mark in line]

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _bindings(record: Mapping[str, Any]) -> list[Binding]:
    found = []
    for entry in record["Contacts"]:
        row = entry.get("Contact", entry)
        if not isinstance(row["Expires"], int):  # "expired", "deleted": removed at the next tick
            continue
        instance = row.get("Instance")
        found.append(
            Binding(
                contact=row["Address"],
                call_id=row["Call-ID"],
                cseq=int(row["CSeq"]),
                expires=row["Expires"],
                user_agent=row.get("User-Agent", ""),
                instance=None if instance in (None, "[not set]") else instance,
                reg_id=int(row.get("Reg-Id", 0)),
                path="" if row.get("Path") in (None, "[not set]") else row["Path"],
            )
        )
    return found
