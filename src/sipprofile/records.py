"""What is stored, as plain data; the store writes it, the core reads and makes it. Times are UTC seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from .profile import Profile

Held = Literal["", "paused", "forcibly_disabled"]
"""An operator's word that outlives a restart."""

RESERVED_BLOCK = 256
"""How many CSeq numbers are reserved on disk before the first of them is used."""

NONCE_BLOCK = 16
"""The same for the counts of a nonce; the next block is reserved when half of one is left, and some registrars count no
further than 255."""

HISTORY_LENGTH = 32
"""Transitions kept for each profile."""


class NonceRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A digest challenge that may be used again (RFC 7616 §3.4), with the nonce count reserved so far."""

    realm: str
    nonce: str
    algorithm: str
    algorithm_given: bool = True
    qop: str | None = None
    opaque: str | None = None
    proxy: bool = False
    count_reserved: int = 0
    userhash: bool = False
    utf8: bool = False


class FlowRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The runtime state of one flow of a profile: what a restart must know to go on as if nothing had happened.

    ``cseq_reserved``: CSeq numbers up to here may have been used. ``boot_id`` and ``wall_offset`` (UTC minus
    CLOCK_BOOTTIME) tell whether the clock that wrote the times can still be compared with ours. ``bound_as`` and
    ``sent_as`` are checksums of the settings that the lease was granted for and of those that the REGISTER carried;
    0 = not known. ``leaving``: a de-registration was begun, so the lease may be gone. ``hop``: number of the plan's
    hop, from 1, that is this flow's own; 0 = any. ``outbound``: the lease was granted with ``Require: outbound``.
    ``bridge_port``: where the profile's local program sends its requests.

    Stored without the fields' names: another field is added at the end, and with a default.
    """

    profile: int
    number: int = 1
    call_id: str = ""
    cseq_reserved: int = 0
    contact_token: str = ""
    lease_ends: float = 0.0
    refresh_at: float = 0.0
    expires_granted: int = 0
    boot_id: str = ""
    wall_offset: float = 0.0
    protocol: str = ""
    local_host: str = ""
    local_port: int = 0
    target_host: str = ""
    target_port: int = 0
    contact: str = ""
    registered_aors: tuple[str, ...] = ()
    service_route: tuple[str, ...] = ()
    nonces: tuple[NonceRecord, ...] = ()
    rejected_attempts: int = 0
    since: float = 0.0
    state_revision: int = 0
    bound_as: int = 0
    sent_as: int = 0
    leaving: bool = False
    hop: int = 0
    outbound: bool = False
    path: tuple[str, ...] = ()
    public_gruu: str = ""
    temporary_gruu: str = ""
    bridge_port: int = 0


class ProfileRecord(msgspec.Struct, frozen=True):
    """A stored profile with secrets opened; ``revision`` rises with every save."""

    profile: Profile
    revision: int
    held: Held = ""
    flows: tuple[FlowRecord, ...] = ()


class TransitionRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One row of a profile's history; ``revision`` is the state's."""

    profile: int
    revision: int
    at: float
    status: str
    code: str = "none"
    status_code: int | None = None
    text: str = ""
    attempt: int = 0
    target: str | None = None


class PutProfile(msgspec.Struct, frozen=True):
    """Insert or replace a profile; ``flows`` (a new profile's Call-ID and first CSeq block) go with it."""

    profile: Profile
    revision: int
    held: Held = ""
    flows: tuple[FlowRecord, ...] = ()


class RemoveProfile(msgspec.Struct, frozen=True, gc=False):
    """Remove a profile with everything that belongs to it."""

    profile: int


class SetDefault(msgspec.Struct, frozen=True, gc=False):
    """Make this the only default profile."""

    profile: int


class SetHeld(msgspec.Struct, frozen=True, gc=False):
    """Store an operator's pause or force-disable, or its end."""

    profile: int
    held: Held


ConfigurationWrite = PutProfile | RemoveProfile | SetDefault | SetHeld
"""Written in order, in one transaction per operation, and answered after the commit."""

RuntimeWrite = FlowRecord | TransitionRecord
"""Written in batches; a newer row of the same profile replaces an older one."""


class Query(msgspec.Struct, frozen=True):
    """Which profiles to read, in order of id; ``after`` is the last id of the page before (0: from the start)."""

    ids: tuple[int, ...] | None = None
    name: str | None = None
    type: str | None = None
    aor: str | None = None
    """Compared as URIs (RFC 3261 §19.1.4)."""
    label: str | None = None
    """``key`` or ``key=value``."""
    default: bool = False
    flows: bool = False
    """With their flows, for which all that is stored has to be looked at."""
    after: int = 0
    limit: int = 100
