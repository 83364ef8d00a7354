"""The UDP sockets for local programs, each with a port of its own, beside the service's own."""

from __future__ import annotations

import errno
from collections.abc import Callable

from sipprofile.net.udp import UdpSocket
from sipprofile.registration.actions import TransportKey

FIRST_PORT = 5080
PORTS = 1_000  # how many are tried from the first one


class LocalSockets:
    """By port; the callbacks are those of :class:`sipprofile.net.udp.UdpSocket`."""

    def __init__(
        self,
        *,
        received: Callable[[bytes, tuple[str, int], TransportKey], None],
        failed: Callable[[TransportKey, str, str], None],
        flush: Callable[[], None],
    ) -> None:
        self._received = received
        self._failed = failed
        self._flush = flush
        self._sockets: dict[int, UdpSocket] = {}

    def listen(self, host: str, port: int) -> int:
        """Open a socket at `host`; the port that it has. `port` 0: the first free one from 5080. Raises OSError."""
        if port:
            return self._open(host, port)
        for candidate in range(FIRST_PORT, FIRST_PORT + PORTS):
            try:
                return self._open(host, candidate)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free")

    def get(self, port: int) -> UdpSocket | None:
        """The socket at `port`."""
        return self._sockets.get(port)

    def close(self, port: int) -> None:
        """Close the socket at `port`, if there is one."""
        udp = self._sockets.pop(port, None)
        if udp is not None:
            udp.close()

    def close_all(self) -> None:
        """Close all of them."""
        for port in list(self._sockets):
            self.close(port)

    def _open(self, host: str, port: int) -> int:
        if port in self._sockets:  # at another address it would be free, but keys tell them apart by their port
            raise OSError(errno.EADDRINUSE, "another profile has it")
        self._sockets[port] = UdpSocket(
            host,
            port,
            received=self._received,
            failed=self._failed,
            narrowed=lambda _: None,
            flush=self._flush,
            local_port=port,
        )
        return port
