"""Blocking HTTP over a Unix socket or TCP, for the command line: quick to import, no event loop."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from ..errors import SipProfileError
from . import endpoint as addresses
from .endpoint import Endpoint

PAGE = 1000
"""Profiles asked for at once (the interface's maximum)."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ServerSentEvent(NamedTuple):
    """One event of ``GET /v1/events``; ``id`` resumes after it."""

    id: str
    name: str
    data: dict[str, Any]


class HttpClient:
    """One connection to the service for a few requests. Not for several threads.

    ``timeout`` bounds every wait for the service, in seconds.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        self.endpoint: Endpoint = addresses.choose(url)
        self._headers = addresses.headers(token)
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """Send one request and return the answer's JSON; raises the error of a problem document."""
        answer = self._send(method, path, body, headers or {})
        data = answer.read()
        return _document(answer.status, answer.reason, data)

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET ``path`` with those members of ``query`` that are not ``None``."""
        given = {name: value for name, value in query.items() if value is not None}
        return self.request("GET", f"{path}?{urlencode(given)}" if given else path)

    def profiles(self, **query: str | None) -> Iterator[dict[str, Any]]:
        """Every profile that matches, page by page."""
        cursor: str | None = None
        while True:
            page = self.get("/v1/profiles", **query, cursor=cursor, limit=PAGE)
            yield from page["profiles"]
            cursor = page.get("cursor")
            if not cursor:
                return

    @staticmethod
    def path(name: str) -> str:
        """The path of a profile that a user named by id, by name, or as ``default``."""
        if name == "default" or (name.isascii() and name.isdigit()):
            return f"/v1/profiles/{name}"
        return f"/v1/profiles/by-name/{quote(name, safe='')}"

    def profile_id(self, name: str) -> int:
        """The id of a profile that a user named; raises ``not_found``."""
        if name.isascii() and name.isdigit():
            return int(name)
        return int(self.request("GET", self.path(name))["id"])

    def beside(self) -> HttpClient:
        """Another connection to the same service."""
        other = HttpClient(self.endpoint.url, timeout=self._timeout)
        other._headers = self._headers
        return other

    def events(self, *, profile: int | None = None, last: str | None = None) -> Iterator[ServerSentEvent]:
        """Begin to follow ``GET /v1/events`` until the service ends it; ``last`` resumes after that event id.

        Raises ``service_unavailable`` when it cannot be reached, ``service_gone`` when the connection breaks.
        """
        self.close()
        headers = {"Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        path = "/v1/events" if profile is None else f"/v1/events?profile={profile}"
        answer = self._send("GET", path, None, headers)
        if answer.status != 200:
            _document(answer.status, answer.reason, answer.read())
        return self._follow(answer)

    def _follow(self, answer: http.client.HTTPResponse) -> Iterator[ServerSentEvent]:
        try:
            yield from _server_sent(answer)
        except (OSError, http.client.HTTPException) as error:
            raise addresses.unreachable(self.endpoint, error, "service_gone") from None
        finally:
            self.close()

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        data = None if body is None else msgspec.json.encode(body)
        sent = {**self._headers, **headers}
        if data is not None:
            sent["Content-Type"] = "application/json"
        kept = self._connection is not None
        if self._connection is None:
            self._connection = self._open()
        try:
            self._connection.request(method, path, data, sent)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # A kept connection may have been closed while idle; only reading may be repeated blindly.
            if kept and method == "GET" and not isinstance(error, TimeoutError):
                return self._send(method, path, body, headers)
            cause = "it did not answer in time" if isinstance(error, TimeoutError) else error
            raise addresses.unreachable(self.endpoint, cause) from None

    def _open(self) -> http.client.HTTPConnection:
        where = self.endpoint
        if where.path is not None:
            return _UnixConnection(where.path, self._timeout)
        if where.tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(where.host, where.port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(where.host, where.port, timeout=self._timeout)


def _document(status: int, reason: str, data: bytes) -> Any:
    try:
        document = msgspec.json.decode(data) if data else None
    except msgspec.DecodeError:
        document = None
    if 200 <= status < 300:
        return document
    if isinstance(document, dict) and "code" in document:
        raise SipProfileError.from_problem(document)
    raise addresses.refused(status, reason)


def _server_sent(answer: http.client.HTTPResponse) -> Iterator[ServerSentEvent]:
    """Server-sent events (HTML §9.2.6), as far as the service uses them."""
    id_, name, data = "", "message", b""
    while line := answer.readline():
        line = line.rstrip(b"\r\n")
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data or name != "message":
                yield ServerSentEvent(id_, name, msgspec.json.decode(data) if data else {})
            name, data = "message", b""
        elif field == b"id":
            id_ = value.decode()
        elif field == b"event":
            name = value.decode()
        elif field == b"data":
            data = value if not data else data + b"\n" + value
