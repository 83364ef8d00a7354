"""A small service that speaks the interface, for tests of the client and the command line."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from sipprofile.errors import SipProfileError
from sipprofile.profile import merged

TYPE = {
    "name": "ietf",
    "class": "internet",
    "fields": {"expires": {"type": "int", "default": 600, "range": [10, 4294967295]}},
    "transports": ["udp", "tcp"],
    "not_supported": ["sigcomp"],
    "extensions": {},
}


def response(request: int, status: int, reason: str = "", **members: Any) -> dict[str, Any]:
    """A response's frame."""
    return {
        "event": "response", "profile": 1, "request": request, "status": status, "reason": reason, "headers": [],
        "final": status >= 200, "dialog": None, "body": None, "content_type": None, **members,
    }  # fmt: skip


class Session:
    """One client's WebSocket as the service sees it."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.socket = socket
        self.transport = transport
        self.held: set[int] = set()
        self.enabled: set[int] = set()
        self.claims: dict[int, dict[str, Any]] = {}


class FakeService:
    """Keeps profiles in memory; a test moves their registration by :meth:`event`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix:{path}"
        self.profiles: dict[int, dict[str, Any]] = {}
        self.sessions: list[Session] = []
        self.commands: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, Any, str | None]] = []
        """Method, path, body and If-Match of every HTTP request that changes something."""
        self.refuse: dict[str, SipProfileError] = {}
        """By command: what to answer instead of doing it."""
        self.on_enable: Callable[[int], None] = lambda id_: None
        self.before_answer: Callable[[], Awaitable[None] | None] = lambda: None
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        """What GET /v1/events sends: id, name, data."""
        self.last_event_ids: list[str | None] = []
        self.stopped_with: Any = None
        self.on_send: Callable[[dict[str, Any], int], Iterable[dict[str, Any]]] = lambda command, number: [
            response(number, 200, "OK")
        ]
        """What a sent request with this number brings; the frames follow the answer."""
        self.early: list[dict[str, Any]] = []
        """Frames that overtake the answer to the next ``send``."""
        self.dialogs: dict[int, int] = {}
        """By the number of a request that is responded to: the dialog that this makes."""
        self.state = "active"
        self.message_answer: dict[str, Any] = {"status": 200, "reason": "OK", "headers": []}
        self._numbers = 100
        self._runner: web.AppRunner | None = None

    # What tests do

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/v1/session", self._session)
        application.router.add_get("/v1/events", self._events)
        application.router.add_route("*", "/{path:.*}", self._http)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()

    async def stop(self) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
        self.path.unlink(missing_ok=True)

    def add(self, name: str, **fields: Any) -> int:
        id_ = max(self.profiles, default=0) + 1
        document = {"id": id_, "name": name, "type": "ietf", "aor": f"sip:{name}@example.test", "register": "on-demand"}
        document |= {"expires": 3600, "default": not self.profiles, "revision": 1, "registration": {}}
        self.profiles[id_] = {**document, **fields}
        return id_

    def cut(self) -> None:
        """Break every session's connection, as a crash does."""
        for session in tuple(self.sessions):
            session.transport.abort()

    async def event(self, event: str, id_: int, *, everybody: bool = False, **state: Any) -> None:
        """Change a profile's state and tell its holders."""
        profile = self.profiles[id_]
        before = profile["registration"]
        profile["registration"] = {**before, **state, "revision": before.get("revision", 0) + 1}
        await self.tell(
            {"event": event, "profile": id_, "name": profile["name"], "state": profile["registration"]}, everybody
        )

    async def update(self, id_: int, **fields: Any) -> None:
        """Change a profile's settings and tell its holders."""
        self.profiles[id_] = {**self.profiles[id_], **fields, "revision": self.profiles[id_]["revision"] + 1}
        await self.tell({"event": "updated", "profile": id_, "document": self.profiles[id_]})

    async def tell(self, frame: dict[str, Any], everybody: bool = False) -> None:
        for session in tuple(self.sessions):
            if everybody or frame["profile"] in session.held:
                await session.socket.send_str(json.dumps(frame))

    def said(self, op: str) -> list[dict[str, Any]]:
        """The commands of this kind that came."""
        return [command for command in self.commands if command["op"] == op]

    # The session

    async def _session(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        session = Session(socket, request.transport)
        self.sessions.append(session)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._command(session, json.loads(message.data))
        finally:
            self.sessions.remove(session)
            for id_ in session.enabled:
                self._users(id_, -1)
        return socket

    async def _command(self, session: Session, command: dict[str, Any]) -> None:
        self.commands.append(command)
        op = command["op"]
        try:
            if op in self.refuse:
                raise self.refuse[op]
            answer = {"id": command["id"], "ok": getattr(self, "_op_" + op.replace("-", "_"))(session, command)}
        except SipProfileError as error:
            answer = {"id": command["id"], "error": error.problem()}
        if (overtaking := self.before_answer()) is not None:
            await overtaking
        following: Iterable[dict[str, Any]] = ()
        if op in ("send", "fetch-bindings") and "ok" in answer:
            early, self.early = self.early, []
            for frame in early:
                await session.socket.send_str(json.dumps(frame))
            following = self.on_send(command, answer["ok"]["request"])
        await session.socket.send_str(json.dumps(answer))
        for frame in following:
            await session.socket.send_str(json.dumps(frame))
        if op == "enable" and "ok" in answer:
            self.on_enable(command["profile"])

    def _op_hello(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        return {"version": 1, "session": f"token-{len(self.said('hello'))}", "service": "fake/1", "ping": 10}

    def _op_hold(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        if "name" in command:
            found = [self._by_name(command["name"])]
        elif command.get("default"):
            found = [profile for profile in self.profiles.values() if profile["default"]]
        else:
            found = [self._profile(id_) for id_ in command.get("ids", [command.get("profile")])]
        if not found:
            raise SipProfileError("not_found", "There is no default profile.")
        session.held |= {profile["id"] for profile in found}
        return {"profiles": found}

    def _op_release(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        session.held.discard(command["profile"])
        if command["profile"] in session.enabled:
            self._op_disable(session, command)
        return {}

    def _op_enable(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        profile = self._profile(command["profile"])
        if profile["id"] in session.enabled:
            raise SipProfileError("already_enabled")
        session.enabled.add(profile["id"])
        session.held.add(profile["id"])
        self._users(profile["id"], 1)
        if profile["registration"].get("status", "unregistered") == "unregistered":
            profile["registration"] = {**profile["registration"], "status": "registering", "reason": {}}
        return {"registration": profile["registration"]}

    def _op_disable(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        profile = self._profile(command["profile"])
        if profile["id"] not in session.enabled:
            raise SipProfileError("not_enabled")
        session.enabled.discard(profile["id"])
        self._users(profile["id"], -1)
        return {"registration": profile["registration"]}

    def _op_retry_now(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        return {"registration": self._profile(command["profile"])["registration"]}

    def _op_force_disable(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        profile = self._profile(command["profile"])
        for each in self.sessions:
            each.enabled.discard(profile["id"])
        profile["registration"] = {"status": "unregistered", "held": "forcibly_disabled"}
        asyncio.get_running_loop().create_task(self.event("forcibly_disabled", profile["id"], everybody=True))
        return {"registration": profile["registration"]}

    # Connections

    async def sip(self, event: str, **members: Any) -> None:
        """Tell every session about a request, a response, a dialog or a connection."""
        for session in tuple(self.sessions):
            await session.socket.send_str(json.dumps({"event": event, **members}))

    async def incoming(self, request: int, method: str = "MESSAGE", profile: int = 1, **members: Any) -> None:
        """A request comes in."""
        frame = {
            "profile": profile, "request": request, "dialog": None, "claim": 1, "method": method,
            "uri": "sip:token@192.0.2.1", "from": "<sip:bob@example.test>;tag=b", "to": "<sip:trunk@example.test>",
            "call_id": "c1", "headers": [], "body": None, "content_type": None, "answered": False, "at": 1.0,
        }  # fmt: skip
        await self.sip("request", **{**frame, **members})

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _connected(self, session: Session, command: dict[str, Any]) -> int:
        if command["profile"] not in session.enabled:
            raise SipProfileError("not_enabled")
        profile: int = command["profile"]
        return profile

    def _op_connection(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        profile = self._connected(session, command)
        return {"connection": {"profile": profile, "state": self.state, "local_address": "192.0.2.1:5060"}}

    def _op_claim(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        self._connected(session, command)
        if any(command["claim"] in other.claims.values() for other in self.sessions):
            raise SipProfileError("claim_in_use", "Somebody has it.", by="com.example.other")
        number = self._number()
        session.claims[number] = command["claim"]
        return {"claim": number}

    def _op_unclaim(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        del session.claims[command["claim"]]
        return {}

    def _op_send(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        if "dialog" not in command:
            self._connected(session, command)
        return {"request": self._number(), "dialog": command.get("dialog")}

    def _op_fetch_bindings(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        self._connected(session, command)
        return {"request": self._number()}

    def _op_respond(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        return {"dialog": self.dialogs.get(command["request"])}

    def _done(self, session: Session, command: dict[str, Any]) -> dict[str, Any]:
        return {}

    _op_cancel = _op_ack = _op_end = _op_stop_refresh = _done

    def _users(self, id_: int, by: int) -> None:
        if id_ in self.profiles:
            state = self.profiles[id_]["registration"]
            self.profiles[id_]["registration"] = {**state, "users": state.get("users", 0) + by}

    def _profile(self, id_: int) -> dict[str, Any]:
        if id_ not in self.profiles:
            raise SipProfileError("not_found", "There is no such profile.", field="profile", value=id_)
        return self.profiles[id_]

    def _by_name(self, name: str) -> dict[str, Any]:
        for profile in self.profiles.values():
            if profile["name"] == name:
                return profile
        raise SipProfileError("not_found", f"There is no profile {name!r}.", field="name", value=name)

    # HTTP

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.last_event_ids.append(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": fake\n\n")
        for id_, name, data in self.events:
            await response.write(f"id: {id_}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
        return response

    async def _http(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read() or b"null")
        try:
            answer = await self._answer(request, body)
        except SipProfileError as error:
            text = json.dumps(error.problem())
            return web.Response(text=text, status=error.status, content_type="application/problem+json")
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    async def _answer(self, request: web.Request, body: Any) -> Any:
        path, method = request.path, request.method
        if method != "GET":
            self.requests.append((method, path, body, request.headers.get("If-Match")))
        key = f"{method} {path}"
        if key in self.refuse:
            raise self.refuse[key]
        if path == "/v1/types":
            return {"types": [TYPE]}
        if path == "/v1/status":
            return {"version": "0.1.0", "native": True, "protocol": 1, "uptime": 5.0, "started_at": 1.0,
                    "profiles": len(self.profiles), "by_status": {"registered": 1}, "sessions": len(self.sessions),
                    "queues": [], "store": {"failing": None}, "ready": True}  # fmt: skip
        if path == "/v1/stop":
            self.stopped_with = body
            return web.json_response({"stopping": True, **body}, status=202)
        if path == "/v1/profiles":
            return await self._create(body) if method == "POST" else self._list(request)
        return await self._one(request, path.removeprefix("/v1/profiles/").split("/"), body)

    async def _create(self, body: dict[str, Any]) -> web.Response:
        if not body.get("aor"):
            raise SipProfileError("missing_field", "A profile needs an address-of-record.", field="aor")
        if any(profile["name"] == body["name"] for profile in self.profiles.values()):
            raise SipProfileError("duplicate_name", f"There is a profile {body['name']!r}.", field="name")
        id_ = self.add(**self._without_passwords(body))
        await self.tell({"event": "created", "profile": id_, "document": self.profiles[id_]}, everybody=True)
        warnings = (
            [{"code": "unwise", "field": "expires", "detail": "Very short."}] if body.get("expires") == 10 else []
        )
        return web.json_response({**self.profiles[id_], "warnings": warnings}, status=201)

    def _list(self, request: web.Request) -> dict[str, Any]:
        after, limit = int(request.query.get("cursor", 0)), int(request.query.get("limit", 100))
        wanted = [
            profile
            for profile in self.profiles.values()
            if profile["id"] > after
            and all(request.query.get(name) in (None, profile[name]) for name in ("type", "aor"))
            and request.query.get("label") in (None, *profile.get("labels", {}))
            and request.query.get("status") in (None, profile["registration"].get("status", "unregistered"))
        ]
        cursor = str(wanted[limit - 1]["id"]) if len(wanted) > limit else None
        return {"profiles": wanted[:limit], "cursor": cursor}

    async def _one(self, request: web.Request, parts: list[str], body: Any) -> Any:
        method = request.method
        if parts[0] == "by-name":
            profile, rest = self._by_name(parts[1]), parts[2:]
        elif parts[0] == "default":
            profile, rest = next(each for each in self.profiles.values() if each["default"]), parts[1:]
        else:
            profile, rest = self._profile(int(parts[0])), parts[1:]
        id_ = profile["id"]
        if rest:
            if rest[0] == "message":
                return self.message_answer
            return await self._verb(id_, rest[0])
        if method == "PATCH":
            if request.headers.get("If-Match") not in (None, f'"{profile["revision"]}"'):
                raise SipProfileError("revision_mismatch")
            await self.update(id_, **self._without_passwords(merged(profile, body)))
            for name in [name for name, value in body.items() if value is None]:
                self.profiles[id_].pop(name, None)
        elif method == "DELETE":
            users = profile["registration"].get("users", 0)
            if users:
                raise SipProfileError("in_use", f"{users} sessions use the profile.", users=users)
            del self.profiles[id_]
            await self.tell({"event": "destroyed", "profile": id_, "name": profile["name"]})
            return web.Response(status=204)
        return self.profiles[id_]

    async def _verb(self, id_: int, verb: str) -> Any:
        if verb == "history":
            row = {"profile": id_, "revision": 1, "at": 1.0, "status": "registered", "target": "udp:192.0.2.1:5060"}
            return {"history": [row]}
        if verb == "test":
            found = self.profiles[id_]["name"] != "broken"
            return {
                "steps": [
                    {"step": "settings", "ok": True, "detail": "valid"},
                    {
                        "step": "dns",
                        "ok": found,
                        "detail": "looked up",
                        **({} if found else {"remedy": "Look elsewhere."}),
                    },
                ]
            }
        if verb == "default":
            for profile in self.profiles.values():
                profile["default"] = profile["id"] == id_
        if verb == "pause":
            await self.event("status", id_, held="paused")
        return self.profiles[id_]

    @staticmethod
    def _without_passwords(body: dict[str, Any]) -> dict[str, Any]:
        kept = json.loads(json.dumps(body))
        for server in (kept.get("registrar"), *(kept.get("proxies") or ())):
            if server and "password" in server:
                server["password_set"] = server.pop("password") is not None
        return {name: value for name, value in kept.items() if name != "id"}


@asynccontextmanager
async def running() -> AsyncIterator[FakeService]:
    """A fake service in this event loop."""
    with tempfile.TemporaryDirectory(prefix="sipp") as directory:
        service = FakeService(Path(directory, "sock"))
        await service.start()
        try:
            yield service
        finally:
            await service.stop()


@contextmanager
def in_thread() -> Iterator[FakeService]:
    """A fake service in a thread of its own, for clients that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    manager = running()
    try:
        yield asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result(5)
    finally:
        asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
