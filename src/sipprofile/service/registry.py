"""The profiles as the service knows them in memory, and what everybody is told about them.

A full profile is not kept, since there may be 100,000: its document is read from the store when it is asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..agents.base import Agent
from ..errors import SipProfileError
from ..events import Event, EventName, RegistrationState, StateChanged, Status
from ..profile import Profile, public
from ..records import Held, ProfileRecord
from ..registration.registrations import Registrations
from ..registration.state import status_shown
from .hub import STATE_EVENTS, Hub
from .operations import DEFAULT, Reference
from .settings import ServiceSettings

if TYPE_CHECKING:
    from random import Random

    from .bridge.bridges import Bridges

_encode = msgspec.json.Encoder().encode


class Manner(msgspec.Struct, frozen=True, gc=False):
    """How a profile is used; the same for many."""

    type: str = ""
    held: Held = ""
    locked: bool = False
    always: bool = False
    """Registered whether anybody uses it or not; a bridge uses it always."""
    linger: float = 0.0
    linger_lost: float = 0.0
    bridge_port: int = 0


_MANNERS: dict[Manner, Manner] = {}
MANNERS_KEPT = 1_000
"""Beyond it they begin anew, and later profiles share among themselves."""


def _shared(manner: Manner) -> Manner:
    if len(_MANNERS) >= MANNERS_KEPT:
        _MANNERS.clear()
    return _MANNERS.setdefault(manner, manner)


class Entry(msgspec.Struct, gc=False):
    """What is always needed of a profile. ``revision`` is that of the stored document."""

    id: int
    name: str
    revision: int
    manner: Manner
    """One object for all who are used alike."""
    users: int = 0
    """Sessions that have enabled it, lost ones that may still come back included."""
    lingers: bool = False
    """Nobody uses it any more, but its registration is kept for a while."""

    @property
    def type(self) -> str:
        """The name of its agent."""
        return self.manner.type

    @property
    def held(self) -> Held:
        """An operator's word."""
        return self.manner.held

    @held.setter
    def held(self, held: Held) -> None:
        self.manner = _shared(msgspec.structs.replace(self.manner, held=held))

    @property
    def locked(self) -> bool:
        """Nobody may change it who does not unlock it."""
        return self.manner.locked

    @property
    def always(self) -> bool:
        """See :class:`Manner`."""
        return self.manner.always

    @property
    def linger(self) -> float:
        """Seconds for which the registration outlives its last user."""
        return self.manner.linger

    @property
    def linger_lost(self) -> float:
        """The same where that user's connection was lost."""
        return self.manner.linger_lost

    @property
    def bridge_port(self) -> int:
        """Where its local program sends requests; 0 = there is no socket."""
        return self.manner.bridge_port

    @bridge_port.setter
    def bridge_port(self, port: int) -> None:
        self.manner = _shared(msgspec.structs.replace(self.manner, bridge_port=port))

    def take(self, record: ProfileRecord) -> None:
        """Note another version of the profile."""
        profile = record.profile
        registrar = profile.registrar
        # One object for what is often the same.
        same = registrar is not None and registrar.username == profile.name
        self.name = registrar.username if same and registrar and registrar.username else profile.name
        self.revision = record.revision
        always = profile.register == "always" or profile.bridge is not None
        lingers = profile.linger, profile.linger_lost
        manner = Manner(profile.type, record.held, profile.locked, always, *lingers, self.manner.bridge_port)
        if manner != self.manner:
            self.manner = _shared(manner)


Listens = Callable[[EventName, int, str, int, float], bool]
"""Whether anybody outside of the core wants to be told of an event: its name, the profile's id and name, its users, and
the time."""


def completed(state: RegistrationState, entry: Entry) -> RegistrationState:
    """``state`` with what the registration does not know."""
    if entry.users or entry.bridge_port:
        return msgspec.structs.replace(state, users=entry.users, bridge_port=entry.bridge_port or None)
    return state


class Registry:
    """All profiles by id and by name, the default one, and their state; tells the hub what changes."""

    def __init__(
        self,
        *,
        agents: Mapping[str, Agent],
        settings: ServiceSettings,
        random: Random,
        hub: Hub,
        listens: Listens,
        wall_offset: float,
        next_profile_id: int,
    ) -> None:
        self.agents = agents
        self.settings = settings
        self.random = random
        self.hub = hub
        self._listens = listens
        self.wall_offset = wall_offset
        """UTC minus the clock of ``now``."""
        self.now = 0.0
        """The time of the input that is being dealt with, for what is told in the middle of it."""
        self.registrations: Registrations
        self.bridges: Bridges
        self.on_change: Callable[[StateChanged], None] = lambda _: None
        """Told of every change of a state, after the hub."""
        self.on_gone: Callable[[int, Held | Literal["removed"]], None] = lambda *_: None
        """Told before the registration of a profile ends by an operator's word: nothing can go through it any more."""
        self.ids: list[int] = []
        """All ids, ascending."""
        self.default: int | None = None
        self.names: dict[str, int] = {}
        self.refused: set[int] = set()
        """Stored profiles that their agent could not take."""
        self.reserved: set[str] = set()
        """Names in writes that are not on disk yet."""
        self.announced = 0
        """How many events there were, whether anybody was told of them or not."""
        self._manner = Manner()
        self._entries: dict[int, Entry] = {}
        self._next_id = next_profile_id

    def __len__(self) -> int:
        return len(self._entries)

    def new_id(self) -> int:
        """The next profile id; none is ever given twice."""
        number = self._next_id
        self._next_id += 1
        return number

    def get(self, profile: int) -> Entry | None:
        """The profile with this id."""
        return self._entries.get(profile)

    def find(self, reference: Reference) -> Entry:
        """The profile meant by ``reference``; raises ``not_found``."""
        number: int | None
        if isinstance(reference, int):
            number = reference
        elif reference == DEFAULT:
            number = self.default
            if number is None:
                raise SipProfileError("not_found", "There is no profile, so there is no default one.")
        else:
            number = self.names.get(reference)
        entry = None if number is None else self._entries.get(number)
        if entry is None:
            kind = "id" if isinstance(reference, int) else "name"
            raise SipProfileError("not_found", f"There is no profile with this {kind}.", field=kind, value=reference)
        return entry

    def check_there(self, entry: Entry) -> None:
        """Raise ``not_found`` if the profile was removed while somebody waited for his turn."""
        if self._entries.get(entry.id) is not entry:
            raise SipProfileError("not_found", "The profile was removed.", field="id", value=entry.id)

    def only(self, entry: Entry, records: list[ProfileRecord]) -> ProfileRecord:
        """The record of ``entry`` among what was read; raises ``not_found`` if it was removed meanwhile."""
        self.check_there(entry)
        for record in records:
            if record.profile.id == entry.id:
                return record
        raise SipProfileError("not_found", "The profile is being removed.", field="id", value=entry.id)

    def add(self, record: ProfileRecord) -> Entry:
        """Take in a profile that is stored."""
        number = record.profile.id
        entry = Entry(number, "", 0, self._manner)
        entry.take(record)
        self._manner = entry.manner  # often that of the next
        self._entries[number] = entry
        self.names[entry.name] = number
        if self.ids and number < self.ids[-1]:
            self.ids.insert(bisect_left(self.ids, number), number)
        else:
            self.ids.append(number)
        if record.profile.default:
            self.default = number
        if number >= self._next_id:
            self._next_id = number + 1
        return entry

    def update(self, entry: Entry, record: ProfileRecord) -> None:
        """Take in another version of a profile."""
        if entry.name != record.profile.name:
            del self.names[entry.name]
            self.names[record.profile.name] = entry.id
        entry.take(record)

    def remove(self, entry: Entry) -> None:
        """Forget a profile."""
        del self._entries[entry.id]
        del self.names[entry.name]
        del self.ids[bisect_left(self.ids, entry.id)]

    def heir(self, leaving: int) -> int | None:
        """The profile that becomes the default one when ``leaving`` is removed."""
        return next((number for number in self.ids[:2] if number != leaving), None)

    # What is true of a profile, and telling it

    def served(self, entry: Entry) -> bool:
        """Whether the profile has a registration; one that no installed agent takes can only be read and changed."""
        return entry.type in self.agents and entry.id not in self.refused

    def check_served(self, entry: Entry) -> None:
        """Raise ``unknown_type`` or ``invalid_value`` for a profile that cannot be registered as it is stored."""
        self.agent(entry.type)
        if not self.served(entry):
            raise SipProfileError(
                "invalid_value", f"The agent of the type {entry.type!r} cannot use the stored profile; change it."
            )

    def agent(self, type_name: str) -> Agent:
        """The agent of a profile type; raises ``unknown_type``."""
        agent = self.agents.get(type_name)
        if agent is None:
            raise SipProfileError(
                "unknown_type", f"No agent for the type {type_name!r} is installed.", field="type", value=type_name
            )
        return agent

    def state(self, entry: Entry) -> RegistrationState:
        """The profile's state with its users."""
        if not self.served(entry):
            return RegistrationState("unregistered", held=entry.held, users=entry.users)
        return completed(self.registrations.state(entry.id), entry)

    def status(self, entry: Entry) -> Status:
        """The status in it, at a hundredth of the cost."""
        return status_shown(self.registrations, entry.id) if self.served(entry) else "unregistered"

    def wanted(self, entry: Entry) -> bool:
        """Whether the profile is to be registered, an operator's hold aside."""
        return entry.always or entry.users > 0 or entry.lingers

    def document(self, record: ProfileRecord) -> dict[str, Any]:
        """The profile as the interface shows it."""
        document = self._stored(record)
        entry = self._entries.get(record.profile.id)
        if entry is not None:
            document["registration"] = msgspec.to_builtins(self.state(entry))
        return document

    def mark(self, profile: int) -> tuple[object, ...]:
        """Another one than before when somebody may have been told since of another document; empty without one."""
        entry = self._entries.get(profile)
        if entry is None:
            return ()
        registration = self.registrations.by_profile.get(profile)
        revision = None if registration is None else registration.revision
        return entry.revision, revision, entry.users, entry.held, entry.bridge_port, profile == self.default

    def encoded(self, record: ProfileRecord) -> bytes:
        """The same as JSON, for those who need many."""
        document = self._stored(record)
        entry = self._entries.get(record.profile.id)
        if entry is not None:
            document["registration"] = self.state(entry)
        return _encode(document)

    def _stored(self, record: ProfileRecord) -> dict[str, Any]:
        profile: Profile = record.profile
        document = public(profile)
        document["default"] = profile.id == self.default
        document["revision"] = record.revision
        return document

    def announce(self, name: EventName, entry: Entry, document: dict[str, Any] | None = None) -> None:
        """Tell whom it concerns that ``name`` happened to a profile."""
        self._tell(name, entry, self.state(entry), document)

    def changed(self, change: StateChanged) -> None:
        """A registration has another state, which is looked at only when somebody is to be told of it."""
        entry = self._entries.get(change.profile)
        if entry is None:
            return
        name = change.event
        if (
            name not in STATE_EVENTS
            or self.hub.hears(entry.id)
            or self._listens(name, entry.id, entry.name, entry.users, self.now)
        ):
            self._tell(name, entry, completed(change.state, entry), None)
        else:
            self.announced += 1
        self.on_change(change)

    def _tell(self, name: EventName, entry: Entry, state: RegistrationState, document: dict[str, Any] | None) -> None:
        self.announced += 1
        at = self.now + self.wall_offset
        self.hub.publish(Event(name, entry.id, entry.name, state, document, 0, at))
