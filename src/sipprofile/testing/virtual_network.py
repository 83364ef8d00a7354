"""A virtual IP network: datagrams that are lost, late, reordered and duplicated, and connections that break.

All chance is that of one ``random.Random``; the same seed gives the same network.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.locating import Question, Record
from sipprofile.testing.virtual import VirtualClock

Address = tuple[str, int]
Datagram = Callable[[bytes, Address], None]
"""Called with what arrives and the address it comes from."""

BREAKS_AFTER = 15.0  # seconds until TCP notices that nothing gets through
OPEN_LIMIT = 10.0  # seconds until a connection that nobody answers counts as failed


@dataclass(slots=True)
class Conditions:
    """What the network does to a datagram; each may be changed at any time. Delays in seconds."""

    delay: float = 0.01
    """One way."""
    jitter: float = 0.0
    """Up to this much is added at random; what is sent later may so arrive earlier."""
    loss: float = 0.0
    """Probability."""
    duplication: float = 0.0
    """Probability that a datagram arrives twice."""
    reordering: float = 0.0
    """Probability that a datagram takes up to 2 s longer."""
    dead: set[str] = field(default_factory=set)
    """Addresses to and from which nothing gets through."""
    closed: set[str] = field(default_factory=set)
    """Addresses where nobody listens: the sender is told at once (ICMP port unreachable, TCP reset)."""


class VirtualNetwork:
    """The network between the programs of a simulation, its names included."""

    def __init__(self, clock: VirtualClock, random: random.Random) -> None:
        self.clock = clock
        self.random = random
        self.conditions = Conditions()
        self.names: dict[str, tuple[str, ...]] = {}
        """Addresses."""
        self.records: dict[Question, tuple[Record, ...]] = {}
        """SRV and NAPTR records."""
        self._servers: dict[str, Datagram] = {}
        self._clients: dict[Address, VirtualTransports] = {}
        self._connections: dict[Address, VirtualConnection] = {}
        self._next_port = 40_000

    def serve(self, host: str, receive: Datagram) -> None:
        """Have a server at ``host``, whatever the port, on UDP and TCP."""
        self._servers[host] = receive

    def resolve(self, question: Question) -> tuple[Record, ...]:
        """The records of a name; empty when there are none."""
        return self.names.get(question.name, ()) if question.kind == "ADDRESS" else self.records.get(question, ())

    def answer(self, data: bytes, source: str, destination: Address) -> None:
        """A server at ``source`` sends to a client, over its connection if ``destination`` is the end of one."""
        connection = self._connections.get(destination)
        if connection is not None:
            connection.answered(data)
        else:
            self._deliver(source, destination[0], self._to_client, data, source, destination)

    def break_connections(self, host: str) -> None:
        """Reset every TCP connection to a server, as its restart does."""
        for connection in [each for each in self._connections.values() if each.key.host == host]:
            connection.failed("transport_closed")

    # What the transports call

    def bind(self, local: Address, transports: VirtualTransports | None) -> None:
        """Have ``transports`` get the datagrams for ``local``, or nobody."""
        if transports is None:
            self._clients.pop(local, None)
        else:
            self._clients[local] = transports

    def send(self, data: bytes, source: Address, key: TransportKey) -> None:
        """Send a datagram to a server."""
        self._deliver(source[0], key.host, self._to_server, data, source, key)

    def connect(self, transports: VirtualTransports, key: TransportKey) -> VirtualConnection:
        """Begin to open a connection."""
        self._next_port += 1
        connection = VirtualConnection(self, transports, key, (transports.local[0], self._next_port))
        self._connections[connection.local] = connection
        return connection

    def forget(self, connection: VirtualConnection) -> None:
        """The connection is closed."""
        self._connections.pop(connection.local, None)

    def passes(self, one: str, other: str) -> bool:
        """Whether anything gets from one host to the other at present."""
        dead = self.conditions.dead
        return one not in dead and other not in dead

    def to_server(self, host: str, data: bytes, source: Address) -> bool:
        """Hand over what has arrived; false when nobody listens."""
        receive = self._servers.get(host)
        if receive is None or host in self.conditions.closed:
            return False
        receive(data, source)
        return True

    # Datagrams

    def _deliver(self, source: str, host: str, arrive: Callable[..., None], *arguments: object) -> None:
        conditions, chance = self.conditions, self.random.random
        copies = 2 if conditions.duplication and chance() < conditions.duplication else 1
        for _ in range(copies):
            if conditions.loss and chance() < conditions.loss:
                continue
            delay = conditions.delay
            if conditions.jitter:
                delay += conditions.jitter * chance()
            if conditions.reordering and chance() < conditions.reordering:
                delay += 2.0 * chance()
            if self.passes(source, host):
                self.clock.after(delay, arrive, *arguments)

    def _to_server(self, data: bytes, source: Address, key: TransportKey) -> None:
        if self.passes(source[0], key.host) and not self.to_server(key.host, data, source):
            client = self._clients.get(source)
            if client is not None:
                client.failed(key, "transport_refused", "The port is closed.")

    def _to_client(self, data: bytes, source: str, destination: Address) -> None:
        client = self._clients.get(destination)
        if client is not None and self.passes(source, destination[0]):
            client.received(data, (source, 5060), TransportKey("udp", source, 5060))


class VirtualConnection:
    """One TCP connection: what is sent arrives in order, or the connection breaks."""

    def __init__(self, network: VirtualNetwork, transports: VirtualTransports, key: TransportKey, local: Address):
        self.key = key
        self.local = local
        self.open = False
        self._network = network
        self._transports = transports
        self._closed = False
        self._last_arrival = 0.0
        if network.passes(local[0], key.host):
            network.clock.after(2 * network.conditions.delay, self._opened)
        else:
            network.clock.after(OPEN_LIMIT, self.failed, "transport_timeout")

    def send(self, data: bytes) -> None:
        """Towards the server."""
        self._transfer(self._arrive, data)

    def answered(self, data: bytes) -> None:
        """Towards the client."""
        self._transfer(self._answer, data)

    def close(self) -> None:
        """Nobody uses it any more."""
        self._closed = True
        self._network.forget(self)

    def failed(self, code: str) -> None:
        """It broke; the client is told."""
        if not self._closed:
            self.close()
            self._transports.lost(self, code)

    def _opened(self) -> None:
        if self._closed:
            return
        if self.key.host in self._network.conditions.closed:
            self.failed("transport_refused")
        else:
            self.open = True
            self._transports.opened(self.key, self.local)

    def _transfer(self, arrive: Callable[[bytes], None], data: bytes) -> None:
        network = self._network
        if network.passes(self.local[0], self.key.host):
            # One order for both directions: nothing depends on how they interleave.
            conditions = network.conditions
            delay = conditions.delay + conditions.jitter * network.random.random()
            self._last_arrival = max(self._last_arrival, network.clock.now + delay)
            network.clock.at(self._last_arrival, arrive, data)
        else:
            network.clock.after(BREAKS_AFTER, self.failed, "transport_timeout")

    def _arrive(self, data: bytes) -> None:
        if not self._closed and not self._network.to_server(self.key.host, data, self.local):
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
    ) -> None:
        self.local = local
        self.received = received
        self.opened = opened
        self.failed = failed
        self._network = network
        self._stopped = False
        self._connections: dict[TransportKey, VirtualConnection] = {}
        network.bind(local, self)

    def open(self, key: TransportKey) -> None:
        """Make ``key`` usable."""
        if key.protocol == "udp":
            self._network.clock.after(0.0, self._open_udp, key)
            return
        connection = self._connections.get(key)
        if connection is None:
            self._connections[key] = self._network.connect(self, key)
        elif connection.open:
            self._network.clock.after(0.0, self._open_again, connection)

    def send(self, key: TransportKey, data: bytes) -> None:
        """Send one message."""
        if key.protocol == "udp":
            self._network.send(data, self.local, key)
            return
        connection = self._connections.get(key)
        if connection is not None and connection.open:
            connection.send(data)
        else:
            self._network.clock.after(0.0, self._not_open, key)

    def close(self, key: TransportKey) -> None:
        """Nothing uses ``key`` any more."""
        connection = self._connections.pop(key, None)
        if connection is not None:
            connection.close()

    def stop(self) -> None:
        """Close everything."""
        self._stopped = True
        self._network.bind(self.local, None)
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def lost(self, connection: VirtualConnection, code: str) -> None:
        """A connection broke."""
        if self._connections.get(connection.key) is connection:
            del self._connections[connection.key]
        self.failed(connection.key, code, "The connection was lost.")

    def _open_udp(self, key: TransportKey) -> None:
        if not self._stopped:
            self.opened(key, self.local)

    def _open_again(self, connection: VirtualConnection) -> None:
        if self._connections.get(connection.key) is connection:
            self.opened(connection.key, connection.local)

    def _not_open(self, key: TransportKey) -> None:
        if not self._stopped:
            self.failed(key, "transport_closed", "There is no such connection.")
