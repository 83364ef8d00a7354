"""What a virtual network does to datagrams on their way; every value may be changed at any time."""

from __future__ import annotations

from dataclasses import dataclass, field

ETHERNET = 1500  # octets, the largest IP packet (RFC 894)
IP_AND_UDP = 28  # octets before the payload (RFC 791 §3.1, RFC 768)


@dataclass(slots=True)
class Link:
    """One way of the network. Delays in seconds."""

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
    mtu: int = ETHERNET
    """The largest IP packet in octets."""
    fragments_dropped: bool = False
    """What is larger than the MTU is lost in silence, as behind many firewalls; else it arrives in fragments."""

    def carries(self, size: int) -> bool:
        """Whether a datagram with a payload of ``size`` octets gets through at all."""
        return not self.fragments_dropped or size + IP_AND_UDP <= self.mtu


@dataclass(slots=True)
class Conditions(Link):
    """The network as a whole: the link between all hosts that have none of their own, and who is cut off."""

    dead: set[str] = field(default_factory=set)
    """Addresses to and from which nothing gets through."""
    closed: set[str] = field(default_factory=set)
    """Addresses where nobody listens: the sender is told at once (ICMP port unreachable, TCP reset)."""
    tcp_refused: set[str] = field(default_factory=set)
    """Addresses where nobody listens on TCP. Connections that are open stay."""
    tcp_silent: set[str] = field(default_factory=set)
    """Addresses that do not answer when a TCP connection is opened, as behind many firewalls."""
