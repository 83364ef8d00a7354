"""A virtual IP network: datagrams that are lost, late, reordered and duplicated, and connections that break.

All chance is that of one ``random.Random``; the same seed gives the same network. Its links are described in
:mod:`~sipprofile.testing.virtual_links`, its names in :mod:`~sipprofile.testing.virtual_names`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sipprofile.registration.actions import TransportKey
from sipprofile.testing.virtual import VirtualClock
from sipprofile.testing.virtual_links import Conditions, Link
from sipprofile.testing.virtual_names import VirtualNames
from sipprofile.testing.virtual_nat import Address, VirtualNat

if TYPE_CHECKING:
    from sipprofile.testing.virtual_transports import VirtualConnection, VirtualTransports

Datagram = Callable[[bytes, Address], None]
"""Called with what arrives and the address it comes from."""


class VirtualHost:
    """A computer of the network whose addresses come and go; on no network it has none."""

    def __init__(self, network: VirtualNetwork, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        """Those it has now, the preferred one first."""
        self.asleep = False
        """It is suspended: what is sent to it is lost."""
        self._network = network
        for address in addresses:
            network.hosts[address] = self

    def add(self, address: str, *, preferred: bool = True) -> None:
        """Another address appears."""
        self._network.hosts[address] = self
        if address not in self.addresses:
            self.addresses.insert(0 if preferred else len(self.addresses), address)

    def remove(self, address: str) -> None:
        """An address vanishes: nothing gets to or from it, and nobody is told. Unknown ones are ignored."""
        if address in self.addresses:
            self.addresses.remove(address)

    def source(self, destination: str) -> str | None:
        """The address that the route to ``destination`` has: the first of the same family."""
        family = ":" in destination
        return next((address for address in self.addresses if (":" in address) == family), None)


class VirtualNetwork:
    """The network between the programs of a simulation, its names included."""

    def __init__(self, clock: VirtualClock, random: random.Random) -> None:
        self.clock = clock
        self.random = random
        self.conditions = Conditions()
        """Holds wherever :attr:`links` says nothing else."""
        self.links: dict[str | frozenset[str], Link] = {}
        """Links of their own, of a host's address or, with precedence, of a pair of them."""
        self.names = VirtualNames()
        self.hosts: dict[str, VirtualHost] = {}
        """The computers with addresses that may vanish, by every address they ever had."""
        self._nats: dict[str, VirtualNat] = {}
        self._public: dict[str, VirtualNat] = {}
        self._servers: dict[str, Datagram] = {}
        self._clients: dict[Address, VirtualTransports] = {}
        self._connections: dict[Address, VirtualConnection] = {}
        self._next_port = 40_000

    def serve(self, host: str, receive: Datagram) -> None:
        """Have a server at ``host``, whatever the port, on UDP and TCP."""
        self._servers[host] = receive

    def translate(self, inside: str, nat: VirtualNat | None) -> None:
        """Put an address behind ``nat``, or behind none."""
        if nat is None:
            self._nats.pop(inside, None)
        else:
            self._nats[inside] = nat
            self._public.update(dict.fromkeys(nat.addresses, nat))

    def link(self, one: str, other: str) -> Link:
        """What lies between two addresses."""
        if not self.links:
            return self.conditions
        pair = self.links.get(frozenset((one, other)))
        return pair or self.links.get(one) or self.links.get(other) or self.conditions

    def answer(self, data: bytes, source: str, destination: Address, port: int = 5060) -> None:
        """A server at ``source`` sends to a client, over its connection if ``destination`` is the end of one."""
        connection = self._connections.get(destination)
        if connection is not None:
            connection.answered(data)
            return
        nat = self._public.get(destination[0])
        inside = destination if nat is None else nat.inbound(destination, (source, port), self.clock.now)
        if inside is not None:
            self._deliver(source, inside[0], len(data), self._to_client, data, (source, port), inside)

    def reaches(self, source: str, destination: Address, port: int = 5060) -> bool:
        """Whether what a server at ``source`` sends to ``destination`` gets through, now and on the whole."""
        connection = self._connections.get(destination)
        if connection is not None:
            return connection.alive
        nat = self._public.get(destination[0])
        inside = destination if nat is None else nat.inbound(destination, (source, port), self.clock.now)
        return inside in self._clients and self.passes(source, inside[0])

    def is_direct(self, address: str) -> bool:
        """Whether ``address`` is that of a computer with no NAT in front of it."""
        return address in self.hosts and address not in self._nats

    def break_connections(self, host: str) -> None:
        """Reset every TCP connection to a server, as its restart does."""
        for connection in [each for each in self._connections.values() if each.key.host == host]:
            connection.failed("transport_closed")

    def swallow(self, host: str) -> None:
        """Have every TCP connection to a server that is open lose all that is sent, and nobody told."""
        for connection in self._connections.values():
            if connection.key.host == host:
                connection.swallowed = True

    # What the transports call

    def bind(self, local: Address, transports: VirtualTransports | None) -> None:
        """Have ``transports`` get the datagrams for ``local``, or nobody."""
        if transports is None:
            self._clients.pop(local, None)
        else:
            self._clients[local] = transports

    def send(self, data: bytes, source: Address, key: TransportKey) -> None:
        """Send a datagram to a server."""
        nat = self._nats.get(source[0])
        public = source if nat is None else nat.outbound(source, (key.host, key.port), self.clock.now)
        self._deliver(source[0], key.host, len(data), self._to_server, data, source, public, key)

    def attach(self, connection: VirtualConnection) -> Address:
        """Have answers to a new connection's end find it; returns that end as the server sees it."""
        nat = self._nats.get(connection.local[0])
        public = connection.local if nat is None else nat.new_address()
        self._connections[public] = connection
        return public

    def generation(self, inside: str) -> int:
        """Changes when all connections from ``inside`` have died without a word."""
        nat = self._nats.get(inside)
        return 0 if nat is None else nat.generation

    def new_port(self) -> int:
        """A port for a connection."""
        self._next_port += 1
        return self._next_port

    def forget(self, connection: VirtualConnection) -> None:
        """The connection is closed."""
        self._connections.pop(connection.public, None)

    def passes(self, one: str, other: str) -> bool:
        """Whether anything gets from one host to the other at present."""
        dead = self.conditions.dead
        if one in dead or other in dead:
            return False
        return not self.hosts or (self._is_up(one) and self._is_up(other))

    def _is_up(self, address: str) -> bool:
        host = self.hosts.get(address)
        return host is None or (address in host.addresses and not host.asleep)

    def to_server(self, host: str, data: bytes, source: Address) -> bool:
        """Hand over what has arrived; false when nobody listens."""
        receive = self._servers.get(host)
        if receive is None or host in self.conditions.closed:
            return False
        receive(data, source)
        return True

    # Datagrams

    def _deliver(self, source: str, host: str, size: int, arrive: Callable[..., None], *arguments: object) -> None:
        link, chance = self.link(source, host), self.random.random
        if not link.carries(size):
            return
        copies = 2 if link.duplication and chance() < link.duplication else 1
        for _ in range(copies):
            if link.loss and chance() < link.loss:
                continue
            delay = link.delay
            if link.jitter:
                delay += link.jitter * chance()
            if link.reordering and chance() < link.reordering:
                delay += 2.0 * chance()
            if self.passes(source, host):
                self.clock.after(delay, arrive, *arguments)

    def _to_server(self, data: bytes, source: Address, public: Address, key: TransportKey) -> None:
        if self.passes(source[0], key.host) and not self.to_server(key.host, data, public):
            client = self._clients.get(source)
            if client is not None:
                client.failed(key, "transport_refused", "The port is closed.")

    def _to_client(self, data: bytes, source: Address, destination: Address) -> None:
        client = self._clients.get(destination)
        if client is not None and self.passes(source[0], destination[0]):
            client.received(data, source, client.key_of(source, destination))
