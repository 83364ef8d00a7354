"""What an operator may set about registering; every default has its source."""

from __future__ import annotations

import msgspec


class RegistrationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times in seconds, rates per second."""

    rate: float = 50.0
    """REGISTER requests a second to one registrar."""
    burst: float = 50.0
    """How many may be sent at once after a pause."""
    probe_interval: float = 3600.0
    """How often refused credentials are tried again; 0 = never."""
    t1: float = 0.5
    """Round-trip estimate, RFC 3261 §17.1.1.1."""
    t2: float = 4.0
    """Longest retransmission interval, RFC 3261 §17.1.2.2."""
    open_limit: float = 10.0
    """How long opening a transport may take."""
    resolve_limit: float = 15.0
    """How long a name may take to resolve."""
    canary_interval: float = 60.0
    """A target that is down is tried at least this often."""
    backoff_base: float = 30.0
    """RFC 5626 §4.5 base-time when all flows failed."""
    backoff_base_alive: float = 90.0
    """RFC 5626 §4.5 base-time while another flow of the profile lives."""
    backoff_maximum: float = 1800.0
    """RFC 5626 §4.5 max-time."""
    udp_keepalive: float = 29.0
    """Longest time between keepalives on UDP, RFC 5626 §4.4.2; the shortest is 24/29 of it; 0 = none of our own."""
    stream_keepalive: float = 120.0
    """The same on connections, RFC 5626 §4.4.1; the shortest is 95/120 of it."""
    user_agent: str = ""
    """Value of User-Agent; empty: none is sent."""
