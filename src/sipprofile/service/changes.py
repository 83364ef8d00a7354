"""Creating, changing and removing profiles (``SaveL`` and ``DestroyL`` of the original API).

What a client asks for is judged first, then written, and only what is on disk becomes true in memory and is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from ..agents.base import Advice, Agent
from ..errors import SipProfileError
from ..profile import Profile, decode, merged, with_kept_secrets
from ..records import (
    ConfigurationWrite,
    Held,
    ProfileRecord,
    PutProfile,
    Query,
    RemoveProfile,
    SetDefault,
)
from .operations import DEFAULT, Create, Patch, Remove, Replace
from .registry import Entry, Registry
from .standing import Standing
from .steps import THE_DEFAULT, Read, Steps, Turn, Write
from .usage import Usage

if TYPE_CHECKING:
    from random import Random

MAXIMUM_NAME = 64  # characters
_is_name = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*").fullmatch


class Changes:
    """The operations that change what is stored. ``dismiss`` makes every session let go of a removed profile."""

    def __init__(self, registry: Registry, usage: Usage, dismiss: Callable[[int], None], standing: Standing) -> None:
        self._registry = registry
        self._standing = standing
        self._usage = usage
        self._dismiss = dismiss

    def create(self, operation: Create) -> Steps:
        """Store a new profile; the first one becomes the default."""
        registry = self._registry
        document = checked(operation.document)
        if document.get("id"):
            raise SipProfileError(
                "invalid_value", "A new profile gets its id from the service.", field="id", value=document["id"]
            )
        if document.get("instance_id"):
            raise SipProfileError(
                "invalid_value",
                "A new profile gets its instance id from the service; leave it out.",
                field="instance_id",
                value=document["instance_id"],
            )
        profile, agent = self._complete(document)
        agent.validate(profile)
        self._check_token_source(profile)
        self._standing.check(profile)
        check_name(profile.name)
        with Reserved(registry, profile.name):
            yield Turn(THE_DEFAULT)
            profile.id = registry.new_id()
            profile.instance_id = new_instance_id(registry.random)
            profile.default = profile.default or registry.default is None
            flows = (registry.registrations.new_flow(profile.id),)
            _, now = yield Write(puts(profile, 1, "", flows))
            record = ProfileRecord(profile, 1, "", flows)
            before = registry.default
            entry = registry.add(record)
            registry.registrations.add(record, agent, now, wanted=False)
            registry.bridges.configured(entry, record, now)
            self._standing.renew(profile, now)
        document = registry.document(record)
        registry.announce("created", entry, document)
        if entry.always:
            registry.registrations.want(entry.id, True, now)
        yield from self.tell_default_moved(before)
        return {**registry.document(record), "warnings": warnings(agent.advice(profile))}

    def _check_token_source(self, profile: Profile) -> None:
        """Commands and files are named in the configuration; a profile only refers to the name."""
        known = self._registry.settings.token_sources
        if profile.token_source is not None and profile.token_source not in known:
            named = ", ".join(sorted(known)) or "none"
            raise SipProfileError(
                "invalid_value",
                f"The configuration has no token source of this name; it has {named}.",
                field="token_source",
                value=profile.token_source,
            )

    def replace(self, operation: Replace) -> Steps:
        """Store another version of a profile."""
        document = checked(operation.document)
        entry = self._registry.find(operation.profile)
        yield Turn(entry.id)
        record = yield from self.current(entry, operation.if_match)
        self._refuse_locked(entry, document)
        chosen = document.get("default") is not None
        if not chosen:
            document["default"] = entry.id == self._registry.default
        document = with_kept_secrets(document, record.profile)
        profile, agent = self._complete(document)
        return (yield from self._save(entry, record, profile, agent, chosen))

    def patch(self, operation: Patch) -> Steps:
        """Change a profile by a merge patch; an absent secret is kept, ``null`` clears it."""
        patch = checked(operation.patch)
        entry = self._registry.find(operation.profile)
        yield Turn(entry.id)
        record = yield from self.current(entry, operation.if_match)
        self._refuse_locked(entry, patch)
        chosen = patch.get("default") is not None
        if not chosen:
            patch.pop("default", None)
        stored = msgspec.to_builtins(record.profile)
        stored["default"] = entry.id == self._registry.default
        document = merged(stored, patch)
        if "proxies" in patch:  # replaced as a whole (RFC 7396 §2)
            kept = with_kept_secrets({"proxies": document.get("proxies")}, record.profile)
            document["proxies"] = kept["proxies"] or []
        profile = decode(document)
        return (yield from self._save(entry, record, profile, self._registry.agent(profile.type), chosen))

    def remove(self, operation: Remove) -> Steps:
        """Remove a profile nobody uses; a binding is given back in the background."""
        registry = self._registry
        entry = registry.find(operation.profile)
        yield Turn(entry.id)
        yield Turn(THE_DEFAULT)
        registry.check_there(entry)
        check_revision(entry, operation.if_match)
        if entry.locked:
            raise SipProfileError("locked", f"The profile {entry.name!r} is locked.", field="locked")
        if entry.users:
            raise SipProfileError(
                "in_use",
                f"The profile {entry.name!r} is used by {counted(entry.users)}.",
                users=entry.users,
            )
        writes: list[ConfigurationWrite] = [RemoveProfile(entry.id)]
        was_default = entry.id == registry.default
        heir = registry.heir(entry.id) if was_default else None
        if heir is not None:
            writes.append(SetDefault(heir))
        _, now = yield Write(tuple(writes))
        registry.on_gone(entry.id, "removed")
        registry.announce("destroyed", entry)
        registry.remove(entry)
        self._dismiss(entry.id)
        self._standing.profile_gone(entry.id)
        self._usage.detach(entry, now)
        registry.bridges.removed(entry, now)
        if registry.served(entry):
            registry.registrations.remove(entry.id, now)
        if was_default:
            registry.default = heir
            yield from self.tell_updated(heir)
        return None

    def _save(self, entry: Entry, record: ProfileRecord, profile: Profile, agent: Agent, chosen: bool) -> Steps:
        """Judge, write and apply the next version of a profile; ``chosen``: the client said if it is the default."""
        registry = self._registry
        old = record.profile
        if profile.id not in (0, entry.id):
            raise SipProfileError("invalid_value", "A profile keeps its id.", field="id", value=profile.id)
        if profile.instance_id not in ("", old.instance_id):
            raise SipProfileError(
                "invalid_value",
                "A profile keeps its instance id; only a new one gets another.",
                field="instance_id",
                value=profile.instance_id,
            )
        profile.id = entry.id
        profile.instance_id = old.instance_id
        agent.validate(profile)
        self._check_token_source(profile)
        self._standing.check(profile)
        check_name(profile.name)
        with Reserved(registry, profile.name, entry.name):
            if profile.default or registry.default == entry.id:
                yield Turn(THE_DEFAULT)
                if not chosen:  # it may have moved while we waited
                    profile.default = registry.default == entry.id
            if registry.default == entry.id and not profile.default:
                raise SipProfileError(
                    "invalid_value",
                    "There is always one default profile; make another one the default.",
                    field="default",
                    value=False,
                )
            held: Held = "paused" if entry.held == "paused" else ""  # a change ends a force-disable
            saved = ProfileRecord(profile, record.revision + 1, held, record.flows)
            _, now = yield Write(puts(profile, saved.revision, held, ()))
            served = registry.served(entry)
            was_held = entry.held
            registry.update(entry, saved)
        before, registry.default = registry.default, entry.id if profile.default else registry.default
        found = [] if not entry.users else [Advice("in_use", "", f"It is used by {counted(entry.users)}.")]
        if not served:
            registry.registrations.add(saved, agent, now, wanted=False)
            registry.refused.discard(entry.id)
        registry.bridges.configured(entry, saved, now)
        self._standing.renew(profile, now)
        # Users are told before anything goes on the wire.
        registry.announce("updated", entry, registry.document(saved))
        if served:
            registry.registrations.update(old, saved, agent, now)
            if was_held != held:
                registry.registrations.hold(entry.id, held, now)
        self._usage.reconsider(entry, now)
        answer = {**registry.document(saved), "warnings": warnings([*found, *agent.advice(profile)])}
        yield from self.tell_default_moved(before)
        return answer

    def _complete(self, document: dict[str, Any]) -> tuple[Profile, Agent]:
        """The profile of a whole document: what it leaves out is as the type's template has it."""
        type_name = document.get("type", Profile().type)
        if not isinstance(type_name, str):
            raise SipProfileError("invalid_value", "type: Expected `str`.", field="type", value=type_name)
        agent = self._registry.agent(type_name)
        return decode(merged(msgspec.to_builtins(agent.template()), document)), agent

    def _refuse_locked(self, entry: Entry, document: dict[str, Any]) -> None:
        unlocks = "locked" in document and not document["locked"]
        if entry.locked and not unlocks:
            raise SipProfileError("locked", f"The profile {entry.name!r} is locked.", field="locked")

    def current(self, entry: Entry, if_match: int | None = None) -> Steps:
        """The stored version of a profile whose turn we have."""
        self._registry.check_there(entry)
        check_revision(entry, if_match)
        new = not self._registry.served(entry)  # to its agent: it is registered with what is stored of its flows
        records, _ = yield Read(Query(ids=(entry.id,), limit=1, flows=new))
        return self._registry.only(entry, records)

    def tell_default_moved(self, before: int | None) -> Steps:
        """If another profile was the default ``before``, its holders see that it no longer is."""
        if before != self._registry.default:
            yield from self.tell_updated(before)

    def tell_updated(self, profile: int | None) -> Steps:
        """Tell a profile's new document to its holders, if there are any."""
        registry = self._registry
        entry = None if profile is None else registry.get(profile)
        if entry is None or not (registry.hub.watchers or registry.hub.holders(entry.id)):
            return
        records, _ = yield Read(Query(ids=(entry.id,), limit=1))
        if records and registry.get(entry.id) is entry:
            registry.announce("updated", entry, registry.document(records[0]))


class Reserved:
    """Keeps a name for a write that is under way; raises ``duplicate_name`` when somebody has it."""

    def __init__(self, registry: Registry, name: str, own: str | None = None) -> None:
        self._names = registry.reserved
        self._name = name
        self._kept = name == own
        if not self._kept and (name in registry.names or name in registry.reserved):
            raise SipProfileError("duplicate_name", f"There is a profile {name!r}.", field="name", value=name)

    def __enter__(self) -> None:
        if not self._kept:
            self._names.add(self._name)

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            self._names.discard(self._name)


def checked(document: Any) -> dict[str, Any]:
    """A copy of what a client sent, which must be an object."""
    if not isinstance(document, dict):
        raise SipProfileError("bad_request", "A profile is a JSON object.", value=document)
    proxies = document.get("proxies")
    if not isinstance(proxies, (list, type(None))):
        raise SipProfileError("invalid_value", "proxies: Expected `array`.", field="proxies", value=proxies)
    for number, proxy in enumerate(proxies or ()):
        if isinstance(proxy, dict) and not isinstance(proxy.get("uri", ""), str):
            field = f"proxies[{number}].uri"
            raise SipProfileError("invalid_value", f"{field}: Expected `str`.", field=field, value=proxy["uri"])
    return dict(document)


def check_name(name: str) -> None:
    """Raise ``invalid_value`` or ``missing_field`` unless ``name`` may be a profile's name."""
    if not name:
        raise SipProfileError("missing_field", "A profile needs a name.", field="name")
    if len(name) > MAXIMUM_NAME or name == DEFAULT or _is_name(name) is None:
        raise SipProfileError(
            "invalid_value",
            f"A name has at most {MAXIMUM_NAME} characters, begins with a lower-case letter, goes on with lower-case"
            " letters, digits, '_', '-' and single dots, and is not 'default'.",
            field="name",
            value=name,
        )


def check_revision(entry: Entry, if_match: int | None) -> None:
    """Raise ``revision_mismatch`` when the client changed another version (RFC 9110 §13.1.1)."""
    if if_match is not None and if_match != entry.revision:
        raise SipProfileError(
            "revision_mismatch",
            f"The profile {entry.name!r} has revision {entry.revision}.",
            value=if_match,
            revision=entry.revision,
        )


def puts(profile: Profile, revision: int, held: Held, flows: tuple[Any, ...]) -> tuple[ConfigurationWrite, ...]:
    """The writes that store a profile. The default flag moves last, when no two can have it."""
    plain = msgspec.structs.replace(profile, default=False) if profile.default else profile
    put = PutProfile(plain, revision, held, flows)
    return (put, SetDefault(profile.id)) if profile.default else (put,)


def warnings(found: list[Advice]) -> list[dict[str, Any]]:
    """Advice as a save's answer shows it."""
    return [{"code": advice.code, "field": advice.field, "detail": advice.detail} for advice in found]


def new_instance_id(random: Random) -> str:
    """A random UUID (RFC 5626 §4.1, RFC 4122 §4.4)."""
    return str(UUID(int=random.getrandbits(128), version=4))


def counted(users: int) -> str:
    """``users`` as words."""
    return "one session" if users == 1 else f"{users} sessions"
