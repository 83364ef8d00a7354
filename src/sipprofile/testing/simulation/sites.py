"""The registrars of a simulation: several addresses each, restarts, changed passwords, and what they have answered."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sipprofile.testing.location import Binding
from sipprofile.testing.registrar import Registrar, Seen
from sipprofile.testing.reply import Reply
from sipprofile.testing.virtual_network import Address, VirtualNetwork

ATTEMPTS = 4  # two open the breaker, one may have begun before the change, one after it with the old password


class Site:
    """One registrar behind several addresses."""

    def __init__(self, name: str, addresses: Sequence[str], network: VirtualNetwork, random: random.Random) -> None:
        self.name = name
        self.addresses = tuple(addresses)
        self.registrar = Registrar(name, {}, random=random)
        self.restarted_at = -1.0
        self.granted: dict[str, Seen] = {}
        """The REGISTER that made or refreshed each AOR's last binding."""
        self.refusals: dict[str, set[int]] = {}
        """The attempts in which credentials were refused, by AOR, since somebody last changed anything."""
        self.changed_at: dict[str, float] = {}
        self.attempts: Callable[[str], int] = lambda _: 0
        """How many attempts there were, by AOR."""
        self.others: dict[str, Site] = {}
        """Where its addresses proxy requests for other registrars to, by host."""
        self._network = network
        for address in addresses:
            network.serve(address, lambda data, source, address=address: self._receive(data, source, address))  # type: ignore[misc]

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
        self.registrar._authentication.clear()

    def _receive(self, data: bytes, source: Address, address: str) -> None:
        host = data[:100].partition(b" sip:")[2].partition(b" ")[0].partition(b";")[0].decode(errors="replace")
        self.others.get(host, self)._answer(data, source, address)

    def _answer(self, data: bytes, source: Address, address: str) -> None:
        clock = self._network.clock
        log = self.registrar.log
        before = len(log)
        replies = self.registrar.receive(data, source, clock.now)
        if len(log) > before and log[-1].method == "REGISTER" and not log[-1].retransmission:
            seen = log[-1]
            if seen.status == 200 and seen.expires:
                self.granted[seen.aor] = seen
                self.refusals.pop(seen.aor, None)
            elif seen.status in (401, 403) and b"uthorization: Digest" in data and not _is_stale(replies):
                self.refusals.setdefault(seen.aor, set()).add(self.attempts(seen.aor))
        for reply in replies:
            clock.after(reply.delay, self._network.answer, reply.data, address, reply.destination)


def _is_stale(replies: list[Reply]) -> bool:
    return any(b"stale=true" in reply.data for reply in replies)
