"""What a change of a profile means for its registration (the difference set of the original agents, repaired)."""

from __future__ import annotations

import zlib
from operator import attrgetter
from typing import Literal

import msgspec

from ..agents.base import Hop, Plan

Consequence = Literal["none", "credentials", "refresh", "replace", "rebind"]

REBIND = ("aor", "request_uri", "registrar", "instance_id")
REPLACE = ("contact_user", "contact_uri", "dscp", "outbound")
REFRESH = ("contact_params", "expires", "headers", "gruu")


def consequence(old: Plan, new: Plan) -> Consequence:
    """``rebind``: another binding, new first, then the old one goes. ``replace``: a REGISTER that replaces the contact.

    ``refresh``: one REGISTER with the same contact. ``credentials``: nothing on the wire now. ``none``: nothing at all.
    """
    if old == new:
        return "none"
    if _differ(old, new, REBIND):
        return "rebind"
    if _differ(old, new, REPLACE) or without_credentials(old.hops) != without_credentials(new.hops):
        return "replace"
    if _differ(old, new, REFRESH):
        return "refresh"
    if old.credentials != new.credentials or old.hops != new.hops or old.token_source != new.token_source:
        return "credentials"
    return "none"


_encode = msgspec.json.Encoder().encode
_binding = attrgetter(*REBIND)
_carried = attrgetter(*REPLACE, *REFRESH)


def bound_as(plan: Plan) -> int:
    """A checksum of what makes a binding another one: a lease granted for other settings is not this profile's."""
    return _checksum(_binding(plan))


def sent_as(plan: Plan) -> int:
    """A checksum of what a REGISTER carries and where it goes, credentials aside."""
    return _checksum(_what_is_sent(plan))


def _what_is_sent(plan: Plan) -> tuple[object, ...]:
    hops = [(hop.server.host, hop.server.port, hop.server.transport, hop.route, hop.strict) for hop in plan.hops]
    return (*_carried(plan), hops)


def bound_to(aor: str, request_uri: str, registrar: str, instance_id: str) -> int:
    """:func:`bound_as` of a plan that has these."""
    return zlib.crc32(_encode((aor, request_uri, registrar, instance_id))) or 1


def carried_behind(plan: Plan) -> bytes:
    """What :func:`sent_as` is the checksum of, behind ``contact_user``."""
    return _encode(_what_is_sent(plan))[len(plan.contact_user) + 2 :]


def sent_with(contact_user: str, carried: bytes) -> int:
    """:func:`sent_as` of a plan with this ``contact_user`` and what is behind it; another number where the user has
    characters that JSON escapes."""
    return zlib.crc32(f'["{contact_user}'.encode() + carried) or 1


def _checksum(values: tuple[object, ...]) -> int:
    return zlib.crc32(_encode(values)) or 1


def credentials_changed(old: Plan, new: Plan) -> bool:
    """Whether any user name, realm, password or source of tokens differs."""
    return (old.token_source, old.credentials, *(hop.credentials for hop in old.hops)) != (
        new.token_source,
        new.credentials,
        *(hop.credentials for hop in new.hops),
    )


def _differ(old: Plan, new: Plan, names: tuple[str, ...]) -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in names)


def without_credentials(hops: tuple[Hop, ...]) -> tuple[Hop, ...]:
    """``hops`` as they are compared when only where a request goes matters."""
    return tuple(msgspec.structs.replace(hop, credentials=None) for hop in hops)
