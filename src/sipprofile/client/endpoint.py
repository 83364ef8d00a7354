"""Where the service is: which address a client tries, and how it proves who it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import SipProfileError

SYSTEM_SOCKET = "/run/sipprofile/sock"


class Endpoint(NamedTuple):
    """A service's address: a Unix socket (``path``) or a TCP address, with TLS or without."""

    url: str
    """As the user would write it; every error of the client names it."""
    path: str | None = None
    host: str = "localhost"
    port: int = 0
    tls: bool = False

    @property
    def base(self) -> str:
        """What an HTTP path is appended to; on a Unix socket the host does not matter."""
        if self.path is not None:
            return "http://localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def parse(url: str) -> Endpoint:
    """Read ``unix:/path``, ``http://host:port`` or ``https://host:port``; raises ``invalid_value``."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if path.startswith("/"):
            return Endpoint(f"unix:{path}", path=path)
    else:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/"):
            tls = parts.scheme == "https"
            port = port or (443 if tls else 80)
            return Endpoint(url.rstrip("/"), host=parts.hostname, port=port, tls=tls)
    raise SipProfileError(
        "invalid_value",
        f"The service's address is 'unix:/path', 'http://host:port' or 'https://host:port', not {url!r}.",
        field="url",
        value=url,
    )


def choose(url: str | None = None) -> Endpoint:
    """``url``, else ``SIPPROFILE_URL``, else the user's socket if it exists, else the system's."""
    url = url or os.environ.get("SIPPROFILE_URL")
    if url:
        return parse(url)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.exists(path := os.path.join(runtime, "sipprofile", "sock")):
        return Endpoint(f"unix:{path}", path=path)
    return Endpoint(f"unix:{SYSTEM_SOCKET}", path=SYSTEM_SOCKET)


def read_token(token_file: str | os.PathLike[str] | None = None) -> str | None:
    """The bearer token from ``token_file``, else ``SIPPROFILE_TOKEN``, else ``None``."""
    if token_file is None:
        return os.environ.get("SIPPROFILE_TOKEN") or None
    try:
        token = Path(token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise SipProfileError(
            "invalid_value",
            f"The token file cannot be read: {reason}.",
            field="token-file",
            value=str(token_file),
        ) from None
    if not token:
        raise SipProfileError("invalid_value", "The token file is empty.", field="token-file", value=str(token_file))
    return token


def headers(token: str | None) -> dict[str, str]:
    """The headers that say who is asking."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def unreachable(endpoint: Endpoint, cause: BaseException | str, code: str = "service_unavailable") -> SipProfileError:
    """The error for a service that does not answer, naming the address that was tried."""
    if isinstance(cause, OSError):
        text = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else str(cause)
        if cause.errno in (1, 13) and endpoint.path is not None:  # EPERM, EACCES
            text += "; who may use it is said by the socket's owner and group (usually 'sipprofile')"
    else:
        text = str(cause)
    said = (
        f"The service at {endpoint.url} cannot be reached"
        if code == "service_unavailable"
        else (f"The connection to the service at {endpoint.url} was lost")
    )
    return SipProfileError(code, f"{said}: {text.rstrip('.')}." if text else f"{said}.", url=endpoint.url)


def refused(status: int, text: str) -> SipProfileError:
    """The error for an HTTP answer without a problem document."""
    code = {401: "unauthenticated", 403: "permission_denied", 404: "not_found"}.get(status, "internal")
    return SipProfileError(code, f"The service answered {status} {text}.".replace(" .", "."))
