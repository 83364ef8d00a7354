"""The sockets of one program on a virtual network, and its TCP connections."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable

from sipprofile.net.local_sockets import FIRST_PORT
from sipprofile.registration.actions import TransportKey
from sipprofile.testing.virtual_links import ETHERNET
from sipprofile.testing.virtual_nat import Address
from sipprofile.testing.virtual_network import VirtualHost, VirtualNetwork

BREAKS_AFTER = 15.0  # seconds until TCP notices that nothing gets through
OPEN_LIMIT = 10.0  # seconds until a connection that nobody answers counts as failed


class VirtualConnection:
    """One TCP connection: what is sent arrives in order, or the connection breaks."""

    def __init__(self, network: VirtualNetwork, transports: VirtualTransports, key: TransportKey, local: Address):
        self.key = key
        self.local = local
        self.open = False
        self.swallowed = False
        """What is sent is lost in silence, as behind a firewall that has forgotten the connection."""
        self._network = network
        self._transports = transports
        self._closed = False
        self._broken = False
        self._last_arrival = 0.0
        self._generation = network.generation(local[0])
        self.public = network.attach(self)
        """Its end as the server sees it."""
        if self._passes() and key.host not in network.conditions.tcp_silent:
            network.clock.after(2 * network.link(local[0], key.host).delay, self._opened)
        else:
            network.clock.after(OPEN_LIMIT, self.failed, "transport_timeout")

    def send(self, data: bytes) -> None:
        """Towards the server."""
        self._transfer(self._arrive, data)

    def answered(self, data: bytes) -> None:
        """Towards the client."""
        self._transfer(self._answer, data)

    @property
    def alive(self) -> bool:
        """Whether what either side sends arrives."""
        return self.open and not self.swallowed and self._passes()

    def close(self) -> None:
        """Nobody uses it any more; what was sent before arrives."""
        self._closed = True
        self._network.forget(self)

    def failed(self, code: str) -> None:
        """It broke; the client is told."""
        if not self._closed:
            self._broken = True
            self.close()
            self._transports.lost(self, code)

    def _opened(self) -> None:
        if self._closed:
            return
        conditions, host = self._network.conditions, self.key.host
        if host in conditions.closed or host in conditions.tcp_refused:
            self.failed("transport_refused")
        else:
            self.open = True
            self._transports.opened(self.key, self.local)

    def _transfer(self, arrive: Callable[[bytes], None], data: bytes) -> None:
        network = self._network
        if self.swallowed:
            return
        if self._passes():
            # One order for both directions: nothing depends on how they interleave.
            link = network.link(self.local[0], self.key.host)
            delay = link.delay + link.jitter * network.random.random()
            self._last_arrival = max(self._last_arrival, network.clock.now + delay)
            network.clock.at(self._last_arrival, arrive, data)
        else:
            network.clock.after(BREAKS_AFTER, self.failed, "transport_timeout")

    def _passes(self) -> bool:
        network = self._network
        here = self.local[0]
        return network.passes(here, self.key.host) and network.generation(here) == self._generation

    def _arrive(self, data: bytes) -> None:
        if not self._broken and not self._network.to_server(self.key.host, data, self.public):
            self.failed("transport_closed")

    def _answer(self, data: bytes) -> None:
        if not self._closed:
            self._transports.received(data, (self.key.host, self.key.port), self.key)


class VirtualTransports:
    """The sockets of one program: what performs OpenTransport, CloseTransport and Send on a virtual network.

    It is used as :class:`sipprofile.net.transports.Transports` is; nothing is called after :meth:`stop`.
    """

    def __init__(
        self,
        network: VirtualNetwork,
        local: Address,
        *,
        received: Callable[[bytes, Address, TransportKey], None],
        opened: Callable[[TransportKey, Address], None],
        failed: Callable[[TransportKey, str, str], None],
        host: VirtualHost | None = None,
    ) -> None:
        """``local``: address and UDP port; with ``host`` the address is the one of its route, each time anew."""
        self.local = local
        self.received = received
        self.opened = opened
        self.failed = failed
        self._network = network
        self._host = host
        self._stopped = False
        self._connections: dict[TransportKey, VirtualConnection] = {}
        self._bound = {local}
        self._listening: dict[int, Address] = {}
        network.bind(local, self)

    def open(self, key: TransportKey) -> None:
        """Make ``key`` usable."""
        if key.protocol == "udp":
            self._network.clock.after(0.0, self._open_udp, key)
            return
        connection = self._connections.get(key)
        if connection is None:
            source = self._source(key.host)
            if source is None:
                self._network.clock.after(0.0, self._no_way, key)
                return
            local = source[0], self._network.new_port()
            self._connections[key] = VirtualConnection(self._network, self, key, local)
        elif connection.open:
            self._network.clock.after(0.0, self._open_again, connection)

    def send(self, key: TransportKey, data: bytes) -> None:
        """Send one message."""
        if key.protocol == "udp":
            source = self._listening.get(key.local_port) if key.local_port else self._source(key.host)
            if source is None:
                self._network.clock.after(0.0, self._no_way, key)
            else:
                self._network.send(data, source, key)
            return
        connection = self._connections.get(key)
        if connection is not None and connection.open:
            connection.send(data)
        else:
            self._network.clock.after(0.0, self._not_open, key)

    def listen(self, host: str, port: int) -> int:
        """See :meth:`sipprofile.net.transports.Transports.listen`."""
        if port in self._listening:
            raise OSError(errno.EADDRINUSE, "another profile has it")
        chosen = port or next(number for number in itertools.count(FIRST_PORT) if number not in self._listening)
        self._listening[chosen] = host, chosen
        self._network.bind((host, chosen), self)
        return chosen

    def stop_listening(self, port: int) -> None:
        """See :meth:`sipprofile.net.transports.Transports.stop_listening`."""
        address = self._listening.pop(port, None)
        if address is not None:
            self._network.bind(address, None)

    def key_of(self, source: Address, local: Address) -> TransportKey:
        """The key of a datagram from ``source`` to our address ``local``."""
        port = local[1]
        return TransportKey("udp", *source, local_port=port if self._listening.get(port) == local else 0)

    def close(self, key: TransportKey) -> None:
        """Nothing uses ``key`` any more."""
        connection = self._connections.pop(key, None)
        if connection is not None:
            connection.close()

    def probe(self, key: TransportKey) -> tuple[Address | None, str | None, int]:
        """See :meth:`sipprofile.net.transports.Transports.probe`."""
        source = self._source(key.host)
        if key.protocol == "udp":
            return source, None, 0 if source is None else ETHERNET
        connection = self._connections.get(key)
        used = None
        if connection is not None and connection.open:
            here = connection.local[0]
            used = here if self._host is None or here in self._host.addresses else ""
        return (source[0], 0) if source is not None else None, used, 0

    def stop(self) -> None:
        """Close everything."""
        self._stopped = True
        for local in (*self._bound, *self._listening.values()):
            self._network.bind(local, None)
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def lost(self, connection: VirtualConnection, code: str) -> None:
        """A connection broke."""
        if self._connections.get(connection.key) is connection:
            del self._connections[connection.key]
        self.failed(connection.key, code, "The connection was lost.")

    def _source(self, destination: str) -> Address | None:
        """Where a message to ``destination`` leaves from; ``None`` without a route."""
        address = self.local[0] if self._host is None else self._host.source(destination)
        if address is None:
            return None
        if address == self.local[0]:
            return self.local
        local = address, self.local[1]
        if local not in self._bound:
            self._bound.add(local)
            self._network.bind(local, self)
        return local

    def _open_udp(self, key: TransportKey) -> None:
        source = self._source(key.host)
        if source is None:
            self._no_way(key)
        elif not self._stopped:
            self.opened(key, source)

    def _open_again(self, connection: VirtualConnection) -> None:
        if self._connections.get(connection.key) is connection:
            self.opened(connection.key, connection.local)

    def _no_way(self, key: TransportKey) -> None:
        if not self._stopped:
            self.failed(key, "transport_unreachable", "There is no route.")

    def _not_open(self, key: TransportKey) -> None:
        if not self._stopped:
            self.failed(key, "transport_closed", "There is no such connection.")
