"""The record of a profile as the service sends it: kept encoded, decoded when asked."""

from __future__ import annotations

from typing import Any

import msgspec

from .. import profile as settings
from ..events import NO_REASON, Reason, RegistrationState

NOT_FAILURES = frozenset({"none", "disabled", "paused", "forcibly_disabled", "removed", "stopped"})
"""Reasons of a status that are nobody's fault; every other one is a failure."""


class TlsDocument(settings.TlsSettings, omit_defaults=True, forbid_unknown_fields=False):
    """TLS parameters as read; a newer service may send more. ``private_key`` is never read."""

    private_key_set: bool = False
    """Read-only: the service has a private key for it."""


class ServerDocument(settings.ServerParameters, omit_defaults=True, forbid_unknown_fields=False):
    """A registrar or proxy as read; ``password`` is never read, a string sets it and ``""`` clears it."""

    tls: TlsDocument | None = None
    password_set: bool = False
    """Read-only: the service has a password for it."""


class ProfileDocument(settings.Profile, omit_defaults=True, forbid_unknown_fields=False):
    """Everything the service says about a profile."""

    registrar: ServerDocument | None = None
    proxies: list[ServerDocument] = []  # type: ignore[assignment]  # noqa: RUF012
    revision: int = 0
    registration: RegistrationState = msgspec.field(default_factory=RegistrationState)


class SaveWarning(msgspec.Struct, frozen=True):
    """Something legal but unwise in what was saved."""

    code: str
    field: str | None = None
    detail: str = ""


class Identity(msgspec.Struct):
    """The part of a record that says whose it is and how new it is."""

    id: int
    revision: int = 0
    register: str = "on-demand"
    registration: RegistrationState = msgspec.field(default_factory=RegistrationState)


class _Revision(msgspec.Struct):
    revision: int = 0


class SavedDocument(Identity):
    """The part of an answer to a save that is not the profile."""

    warnings: list[SaveWarning] = []


_document = msgspec.json.Decoder(ProfileDocument)
_identity = msgspec.json.Decoder(Identity)
_revision = msgspec.json.Decoder(_Revision)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(record: bytes) -> ProfileDocument:
    """The record's values."""
    return _document.decode(record)


def identify(record: bytes | msgspec.Raw) -> Identity:
    """Whose record it is, how new, and its registration's state; cheaper than :func:`decode`."""
    return _identity.decode(record)


def revision_of(state: msgspec.Raw) -> int:
    """How new a registration state is; comparable within one connection."""
    return _revision.decode(state).revision


def with_state(record: bytes, state: bytes | msgspec.Raw) -> bytes:
    """``record`` with another registration state; everything else stays as received."""
    members = _members.decode(record)
    members["registration"] = msgspec.Raw(bytes(state))
    return msgspec.json.encode(members)


def newer(record: bytes, current: bytes) -> bytes:
    """The newer of two records of one profile that came by different ways, with the newer of their states."""
    one, other = identify(record), identify(current)
    if one.revision < other.revision:
        return current
    if one.registration.revision < other.registration.revision:
        return with_state(record, msgspec.json.encode(other.registration))
    return record


def settings_of(document: ProfileDocument) -> dict[str, Any]:
    """The part of ``document`` that can be saved; a secret ``""`` becomes ``null``, which clears it."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    for name in settings.READ_ONLY:
        plain.pop(name, None)
    for server in (plain.get("registrar"), *plain.get("proxies", ())):
        if server is not None:
            server.pop("password_set", None)
            if server.get("password") == "":
                server["password"] = None
            tls = server.get("tls") or {}
            tls.pop("private_key_set", None)
            if tls.get("private_key") == "":
                tls["private_key"] = None
    return plain


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7396) that turns ``old`` into ``new``."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := difference(before, value):
                patch[name] = inner
        elif name not in old or value != before:
            patch[name] = value
    return patch


def failure(state: RegistrationState) -> Reason | None:
    """Why the registration fails at present, or ``None`` when it does not."""
    if state.last_error is not None:
        return state.last_error
    if state.status != "registered" and state.reason.code not in NOT_FAILURES:
        return state.reason
    return None


def refusal(state: RegistrationState) -> Reason | None:
    """Why it will not be registered soon: held down, or failed and waiting; ``None`` while it may be."""
    if state.registered:
        return None
    if state.held:
        return state.reason if state.reason != NO_REASON else Reason.of(state.held)
    if state.status != "unregistered" and state.next_try is None:  # under way
        return None
    return failure(state)
