"""HTTP and WebSocket to the service with aiohttp.

To import aiohttp takes longer than all the rest of the client: an application pays for it when it connects, and in a
thread, so that its event loop goes on.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import SipProfileError
from . import endpoint as addresses

if TYPE_CHECKING:
    import aiohttp

MAXIMUM_FRAME = 64 * 1024 * 1024  # bytes; an answer to hold carries up to some hundred profiles
CLOSE_LIMIT = 2.0  # seconds for the service to confirm the end of a session
TCP_SILENCE = 20.0  # seconds after which a silent TCP peer is asked for a sign of life


class Connection:
    """What one application uses to reach one service: requests one by one, and its session's WebSocket."""

    def __init__(self, url: str | None, token: str | None) -> None:
        self.endpoint = addresses.choose(url)
        self._headers = addresses.headers(token or addresses.read_token())
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Prepare; puts nothing on the wire."""
        if "aiohttp" not in sys.modules:
            await asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "aiohttp")
        import aiohttp

        path = self.endpoint.path
        connector = aiohttp.UnixConnector(path) if path is not None else aiohttp.TCPConnector()
        self._http = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=30.0, connect=10.0),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close everything that is open."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send one request and return the answer's body; raises what a problem document describes."""
        import aiohttp

        data = None if body is None else msgspec.json.encode(body)
        sent = dict(headers or {})
        if data is not None:
            sent["Content-Type"] = "application/json"
        url = self.endpoint.base + path
        try:
            async with self._session().request(method, url, params=query, data=data, headers=sent) as answer:
                content = await answer.read()
        except TimeoutError:
            raise addresses.unreachable(self.endpoint, "it did not answer in time") from None
        except (OSError, aiohttp.ClientError) as error:
            raise addresses.unreachable(self.endpoint, _cause(error)) from None
        if answer.status < 300:
            return content
        try:
            problem = msgspec.json.decode(content)
        except msgspec.DecodeError:
            problem = None
        if isinstance(problem, dict) and "code" in problem:
            raise SipProfileError.from_problem(problem)
        raise addresses.refused(answer.status, answer.reason or "")

    async def websocket(self) -> aiohttp.ClientWebSocketResponse:
        """Open the session's WebSocket; raises ``service_unavailable`` or the refusal."""
        import aiohttp

        url = self.endpoint.base + "/v1/session"
        heartbeat = TCP_SILENCE if self.endpoint.path is None else None
        try:
            return await self._session().ws_connect(
                url,
                max_msg_size=MAXIMUM_FRAME,
                heartbeat=heartbeat,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_LIMIT),
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status in (401, 403, 404):
                raise addresses.refused(error.status, error.message) from None
            raise addresses.unreachable(self.endpoint, f"it answered {error.status}") from None
        except TimeoutError:
            raise addresses.unreachable(self.endpoint, "it did not answer in time") from None
        except (OSError, aiohttp.ClientError) as error:
            raise addresses.unreachable(self.endpoint, _cause(error)) from None

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise SipProfileError("closed", "This session is closed.")
        return self._http


def _cause(error: Exception) -> Exception:
    """The operating system's error beneath aiohttp's, which says it shorter."""
    inner = getattr(error, "os_error", None)
    return inner if isinstance(inner, OSError) else error
