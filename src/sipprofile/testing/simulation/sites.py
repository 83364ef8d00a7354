"""The registrars of a simulation: several addresses each, which move, restarts, and what they have answered."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sipprofile.sip.locating import Naptr, Question, Srv
from sipprofile.testing.location import Binding
from sipprofile.testing.registrar import Registrar, Seen
from sipprofile.testing.reply import Reply
from sipprofile.testing.virtual_nat import Address
from sipprofile.testing.virtual_network import VirtualNetwork

ATTEMPTS = 4  # two open the breaker, one may have begun before the change, one after it with the old password


FLOW_TIMERS = (None, None, 20, 60)  # seconds between keepalives that a registrar asks for
TTLS = (20.0, 120.0, 300.0)  # seconds for which an address may be used that is not right any more
NUMERIC = {"one.test": "198.51.100.1", "two.test": "192.0.2.1"}
"""An address of each site that never moves, for profiles that name no domain."""


class Site:
    """One registrar behind several servers, which share its location service."""

    def __init__(
        self, name: str, addresses: Sequence[str], spare: Sequence[str], network: VirtualNetwork, random: random.Random
    ) -> None:
        """The last of ``addresses`` is that of the outbound proxy; ``spare`` are those that servers move to."""
        self.name = name
        self.addresses = tuple(addresses)
        self.hosts = tuple(f"host{number}.{name}" for number in range(len(addresses) - 1))
        """Its servers as DNS knows them, one at each address."""
        self._spare = [*spare]
        self._random = random
        self.registrar = Registrar(name, {}, random=random)
        self.flow_timer: int | None = None
        self.restarted_at = -1.0
        self.granted: dict[str, Seen] = {}
        """The REGISTER that made or refreshed each AOR's last binding."""
        self.bound_at: dict[str, float] = {}
        """When the last REGISTER of each Call-ID was granted."""
        self.detours: set[str] = set()
        """The Call-IDs whose last REGISTER was granted over TCP."""
        self.refusals: dict[str, set[int]] = {}
        """The attempts in which credentials were refused, by AOR, since somebody last changed anything."""
        self.changed_at: dict[str, float] = {}
        self.attempts: Callable[[str], int] = lambda _: 0
        """How many attempts there were, by AOR."""
        self.others: dict[str, Site] = {}
        """Where its addresses proxy requests for other registrars to, by host."""
        self._network = network
        for address in (*addresses, *spare):
            network.serve(address, lambda data, source, address=address: self._receive(data, source, address))  # type: ignore[misc]

    def promise(self, flow_timer: int | None) -> None:
        """Answer keepalives that come at least so often, in seconds, and say so."""
        self.flow_timer = self.registrar.faults.flow_timer = flow_timer

    # Names

    def publish(self, *, services: bool, ttl: float) -> None:
        """Put its names into the DNS: with NAPTR and SRV records, or with addresses alone."""
        names, name = self._network.names, self.name
        self._ttl = ttl
        self._services = services
        names.put(f"proxy.{name}", self.addresses[-1:], ttl=ttl)
        names.put(f"alt.{name}", self.addresses[-1:], ttl=ttl)
        self._publish_hosts()
        if services:
            protocols = (("udp", "SIP+D2U", 10), ("tcp", "SIP+D2T", 20))
            records = [
                Naptr(10, preference, "s", service, f"_sip._{protocol}.{name}")
                for protocol, service, preference in protocols
            ]
            names.put_records(Question(name, "NAPTR"), records, ttl=ttl)
            self.weigh()

    def weigh(self) -> None:
        """Give its servers other weights and priorities, if it has SRV records."""
        if self._services:
            for protocol in ("udp", "tcp"):
                records = [
                    Srv(10 * self._random.randrange(1, 3), self._random.randrange(0, 100), 5060, host)
                    for host in self.hosts
                ]
                self._network.names.put_records(
                    Question(f"_sip._{protocol}.{self.name}", "SRV"), records, ttl=self._ttl
                )

    def move(self) -> tuple[str, str]:
        """One server moves to another address, and nothing answers at the old one; both addresses."""
        place = self._random.randrange(1, len(self.addresses))
        old, new = self.addresses[place], self._spare.pop(0)
        self._spare.append(old)
        self.addresses = (*self.addresses[:place], new, *self.addresses[place + 1 :])
        self._network.break_connections(old)
        self.publish(services=self._services, ttl=self._ttl)
        return old, new

    def _publish_hosts(self) -> None:
        names = self._network.names
        for host, address in zip(self.hosts, self.addresses, strict=False):
            names.put(host, (address,), ttl=self._ttl)
        if not self._services:
            names.put(self.name, self.addresses[:-1], ttl=self._ttl)

    # Registrations

    @property
    def now(self) -> float:
        """Its clock, which is right."""
        return self._network.clock.now

    def bindings(self, aor: str) -> list[Binding]:
        """What it holds for an AOR now."""
        return self.registrar.bindings(aor, self._network.clock.now)

    def all_bindings(self) -> dict[str, list[Binding]]:
        """What it holds now."""
        return self.registrar.all_bindings(self._network.clock.now)

    def restart(self) -> None:
        """It forgets everything it has not been configured with."""
        clock = self._network.clock
        self.registrar.restart(clock.now)
        self.restarted_at = clock.now
        for address in self.addresses:
            self._network.break_connections(address)

    def changed(self, user: str) -> None:
        """From now on refused credentials of this user may be tried again."""
        for aor in [aor for aor in self.refusals if aor.startswith(f"sip:{user}@")]:
            del self.refusals[aor]
        self.changed_at[user] = self._network.clock.now

    def too_many_refusals(self, probe_interval: float) -> str | None:
        """The AOR whose refused credentials were tried more often than two attempts and one in every interval."""
        for aor, attempts in self.refusals.items():
            since = self.changed_at.get(aor[4:].partition("@")[0], 0.0)
            if len(attempts) > ATTEMPTS + (self._network.clock.now - since) / probe_interval:
                return aor
        return None

    def forget_nonces(self) -> None:
        """Every nonce is stale from now on."""
        self.registrar.forget_nonces()

    def _receive(self, data: bytes, source: Address, address: str) -> None:
        if address not in self.addresses:
            return
        host = data[:100].partition(b" sip:")[2].partition(b" ")[0].partition(b";")[0].decode(errors="replace")
        self.others.get(host.removeprefix("alt."), self)._answer(data, source, address, host.startswith("alt."))

    def _answer(self, data: bytes, source: Address, address: str, redirected: bool) -> None:
        clock = self._network.clock
        log = self.registrar.log
        before = len(log)
        faults = self.registrar.faults
        redirect = faults.redirect
        if redirected or address == self.addresses[-1]:
            faults.redirect = None  # it is where the redirections lead to
        replies = self.registrar.receive(data, source, clock.now)
        faults.redirect = redirect
        if len(log) > before and log[-1].method == "REGISTER" and not log[-1].retransmission:
            seen = log[-1]
            if seen.status == 200 and seen.expires:
                self.granted[seen.aor] = seen
                self.bound_at[seen.call_id] = seen.now
                (self.detours.add if b"SIP/2.0/TCP" in data else self.detours.discard)(seen.call_id)
                self.refusals.pop(seen.aor, None)
            elif seen.status in (401, 403) and b"uthorization: Digest" in data and not _is_stale(replies):
                self.refusals.setdefault(seen.aor, set()).add(self.attempts(seen.aor))
        for reply in replies:
            clock.after(reply.delay, self._network.answer, reply.data, address, reply.destination, reply.port or 5060)


def _is_stale(replies: list[Reply]) -> bool:
    return any(b"stale=true" in reply.data for reply in replies)
