"""The sockets on which the HTTP interface listens: the Unix socket and, when configured, TCP."""

from __future__ import annotations

import contextlib
import errno
import grp
import ipaddress
import os
import socket
import ssl
import stat
from pathlib import Path

from ..errors import SipProfileError

GROUP = "sipprofile"  # whose members may connect, when the machine has it
DIRECTORY_MODE = 0o750
LONGEST_PATH = 107  # octets of sun_path without its end, unix(7)
BACKLOG = 1024


class UnixListener:
    """A listening Unix socket with mode 0660, in a directory with mode 0750 if it has to be made.

    A socket left by a service that has died is replaced. Raises ``address_in_use`` when one answers on it, or when
    the path is something else, and ``bad_configuration`` when the path cannot be used.
    """

    def __init__(self, path: Path) -> None:
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise SipProfileError(
                "bad_configuration", f"The socket's path is longer than {LONGEST_PATH} octets.", value=str(path)
            )
        group = _group()
        try:
            _make_directory(path.parent, group)
            _remove_stale(path)
            self.socket = _bind(path, group)
        except OSError as error:
            raise SipProfileError("bad_configuration", f"Socket {path}: {error.strerror}.", value=str(path)) from None
        self._path = path
        self._made = _identity(path)

    def close(self) -> None:
        """Close the socket and remove its name, unless another service has taken it over."""
        self.socket.close()
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._made:
                self._path.unlink()


def tcp_listener(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raises ``address_in_use`` or, for an unknown host, ``bad_configuration``."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        code = "address_in_use" if error.errno == errno.EADDRINUSE else "bad_configuration"
        raise SipProfileError(
            code, f"Cannot listen on {where}: {error.strerror or error}.", field="listen", value=where
        ) from None


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can connect."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate chain; raises ``bad_configuration``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SipProfileError(
            "bad_configuration", f"The TLS certificate or its key cannot be used: {error}.", value=certificate
        ) from None
    return context


def _identity(path: Path) -> tuple[int, int]:
    """Tells a socket from its successor, which may well get the same inode."""
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


def _group() -> int:
    """The id of :data:`GROUP`, -1 when there is none or we may not give files to it."""
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return -1
    return group if os.geteuid() == 0 or group in os.getgroups() else -1


def _make_directory(directory: Path, group: int) -> None:
    if not directory.is_dir():
        directory.mkdir(parents=True)
        directory.chmod(DIRECTORY_MODE)
        os.chown(directory, -1, group)


def _remove_stale(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SipProfileError("address_in_use", f"{path} exists and is not a socket.", value=str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # the queue of a service that hangs may be full; it is there all the same
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            pass
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SipProfileError("address_in_use", f"Another service answers on {path}.", value=str(path))


def _bind(path: Path, group: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o117)  # the mode must be right from the first moment on
    try:
        listener.bind(os.fspath(path))
        os.chown(path, -1, group)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
