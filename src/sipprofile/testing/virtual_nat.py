"""A virtual network address translator (RFC 4787 for UDP, RFC 5382 for TCP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Address = tuple[str, int]

FIRST_PORT = 20_000


@dataclass(slots=True)
class _Mapping:
    inside: Address
    peer: Address | None
    """The only one who gets in; ``None``: everybody does."""
    used_at: float


class VirtualNat:
    """Translates the source of everything that leaves the addresses it is given to by ``VirtualNetwork.translate``.

    It does not hairpin, and it speaks no SIP.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        per_destination: bool = False,
        lifetime: float = 120.0,
        port: int = FIRST_PORT,
    ) -> None:
        """``addresses``: the public ones, the first is used until :meth:`rebind` says otherwise.

        ``per_destination``: one mapping for each address and port sent to, open to nobody else ("symmetric"); else one
        for each source, open to everybody (endpoint-independent, RFC 4787 §4.1, §5). ``lifetime``: seconds after which
        a UDP mapping that nothing was sent through is forgotten (RFC 4787 §4.3: 120 at least, many have 30).
        """
        self.addresses = tuple(addresses)
        self.per_destination = per_destination
        self.lifetime = lifetime
        self.generation = 0
        """Rises with every rebinding; connections of an earlier one are dead."""
        self._address = self.addresses[0]
        self._port = port
        self._by_inside: dict[tuple[Address, Address | None], Address] = {}
        self._mappings: dict[Address, _Mapping] = {}

    def outbound(self, inside: Address, destination: Address, now: float) -> Address:
        """The public source of a datagram from ``inside``; its mapping lives on."""
        place = (inside, destination if self.per_destination else None)
        public = self._by_inside.get(place)
        mapping = None if public is None else self._mappings.get(public)
        if public is None or mapping is None or self._expired(mapping, now):
            if public is not None:
                self._mappings.pop(public, None)
            public = self._by_inside[place] = self.new_address()
            self._mappings[public] = _Mapping(inside, place[1], now)
        else:
            mapping.used_at = now
        return public

    def inbound(self, public: Address, source: Address, now: float) -> Address | None:
        """Whom a datagram to ``public`` is for; ``None``: it is dropped. It does not prolong the mapping."""
        mapping = self._mappings.get(public)
        if mapping is None or self._expired(mapping, now) or mapping.peer not in (None, source):
            return None
        return mapping.inside

    def rebind(self, address: str | None = None) -> None:
        """Forget every mapping and connection, as a reboot does; be at another public address if one is given."""
        self.generation += 1
        self._by_inside.clear()
        self._mappings.clear()
        if address is not None:
            self._address = address

    def new_address(self) -> Address:
        """A public address and port that nobody had before."""
        self._port += 1
        return self._address, self._port

    def _expired(self, mapping: _Mapping, now: float) -> bool:
        return now - mapping.used_at > self.lifetime
