"""What an operator may set about the service, and the limits that keep its work and memory bounded."""

from __future__ import annotations

import msgspec

from ..registration.settings import RegistrationSettings
from .claim_rules import ClaimRule

LONGEST_HOLD = 10.0
"""Seconds that a request waits at most for an application that is started for it."""


class ServiceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times in seconds, sizes in bytes."""

    registration: RegistrationSettings = RegistrationSettings()
    resume_grace: float = 30.0
    """After a start, how long users have to come back to a profile whose lease is live."""
    sessions: int = 10_000
    """How many sessions may be open at once."""
    holds: int = 100_000
    """How many profiles one session may hold."""
    holds_at_once: int = 1_000
    """How many profiles one ``hold`` may name."""
    unread: int = 256
    """Events other than state events that a session may leave unread."""
    unanswered: int = 4_096
    """Commands a session may have sent without reading the answers."""
    unread_size: int = 16_777_216
    """Size of the answers a session may leave unread."""
    frame: int = 1_048_576
    """Longest frame in either direction."""
    token_sources: tuple[str, ...] = ()
    """Names of the sources of access tokens that a profile may use."""
    webhooks: tuple[str, ...] = ()
    """Names of the webhooks that a claim may be for."""
    activate: tuple[tuple[str, float], ...] = ()
    """Names of the applications that a claim may start, each with how long a request waits for it."""
    claim_rules: tuple[ClaimRule, ...] = ()
    """Who may claim what."""
    answers: int = 200
    """Incoming SIP requests that nobody takes, answered per second; what comes beyond costs nothing."""
    requests: int = 10_000
    """Incoming SIP requests per second that go to dialogs and to those who claimed them; beyond that 503."""
    session_requests: int = 100
    """SIP requests that one session may send per second; twice as many at once after a pause."""
    session_dialogs: int = 100
    """Dialogs and refreshed publications that one session may have."""
