"""The state of a connection: whether requests can be sent through a profile now (the original ``CSIPConnection``).

It follows from the registration's state and from that of its flows' transports, and is told to the sessions that have
asked for it: the present state at once, then every change; like a registration's state the newest takes the place of
one that is still unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..registration.actions import TransportKey
from ..registration.registration import IDLE, WAITING, Registration
from ..registration.request import sent_by
from .hub import Hub, Outbox

if TYPE_CHECKING:
    from ..registration.registrations import Registrations
    from .sessions import Session

ConnectionState = Literal["init", "active", "suspended", "inactive", "unavailable"]
"""``init``: the first registering is under way. ``active``: registered. ``suspended``: registered, but the transport is
not open, or the registrar did not renew the lease: unusable for a while. ``inactive``: down, and may return.
``unavailable``: removed, paused or forcibly disabled."""

_encode = msgspec.json.Encoder().encode


class View(msgspec.Struct, frozen=True, gc=False):
    """A connection as it is now."""

    state: ConnectionState
    local: str | None = None
    """Address and port of the flow in use."""
    key: TransportKey | None = None
    """The transport on which it depends."""

    def document(self, profile: int) -> dict[str, Any]:
        """As it is shown."""
        return {"profile": profile, "state": self.state, "local_address": self.local}


UNAVAILABLE = View("unavailable")
INACTIVE = View("inactive")


def view_of(room: Registrations, registration: Registration | None, before: ConnectionState | None) -> View:
    """What is true now; ``before``: what was said last, because only the first registering is ``init``."""
    if registration is None or registration.held:
        return UNAVAILABLE
    if registration.status == "registered":
        suspended: View | None = None
        for flow in registration.flows:
            if flow.lease_end <= 0 or flow.bound is None:
                continue
            transport = room.transports.get(flow.bound)
            is_open = transport is not None and transport.local is not None
            if transport is not None and transport.local is not None and not flow.failures:
                return View("active", sent_by(transport.local), flow.bound)
            if suspended is None or is_open:
                local = flow.bound_local
                suspended = View("suspended", None if local is None else sent_by(local), flow.bound)
        return suspended or View("suspended")
    if before in (None, "init") and registration.status != "unregistering":
        failed = any(flow.failures or flow.rejected or flow.phase == WAITING for flow in registration.flows)
        idle = all(flow.phase == IDLE for flow in registration.flows)
        if not failed and not (idle and registration.reason.code != "none"):
            return View("init")
    return INACTIVE


class _Watched:
    """One profile whose connection somebody watches."""

    __slots__ = ("outboxes", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.outboxes: dict[Outbox, None] = {}


class ConnectionStates:
    """The states that sessions watch. :meth:`settle` tells the changes, at the end of the input that caused them."""

    def __init__(self, room: Registrations, hub: Hub) -> None:
        self._room = room
        self._hub = hub
        self._watched: dict[int, _Watched] = {}
        self._by_key: dict[TransportKey, set[int]] = {}
        self._changed: set[int] = set()

    def watch(self, session: Session, profile: int) -> dict[str, Any]:
        """The present state; ``session`` is told when it changes."""
        watched = self._watched.get(profile)
        if watched is None:
            watched = self._watched[profile] = _Watched(UNAVAILABLE)
            self._take(profile, watched, self._view(profile, None))
        else:
            self._look(profile)  # what others have not been told yet is told before the answer
        watched.outboxes[session.outbox] = None
        return watched.view.document(profile)

    def leave(self, session: Session, profile: int | None) -> None:
        """``session`` does not watch the profile any more, or, with ``None``, any."""
        for number in list(session.enabled) if profile is None else (profile,):
            watched = self._watched.get(number)
            if watched is not None:
                watched.outboxes.pop(session.outbox, None)
                if not watched.outboxes:
                    self._drop(number)

    def gone(self, profile: int) -> None:
        """An operator has ended the connection for everybody; they are told so and watch it no longer."""
        watched = self._watched.get(profile)
        if watched is not None:
            self._tell(profile, watched, UNAVAILABLE)
            self._drop(profile)

    def changed(self, profile: int) -> None:
        """The registration has another state."""
        if profile in self._watched:
            self._changed.add(profile)

    def transport_changed(self, key: TransportKey) -> None:
        """The transport was opened or lost."""
        if key in self._by_key:
            self._changed.update(self._by_key[key])

    @property
    def unsettled(self) -> bool:
        """Whether :meth:`settle` has something to do."""
        return bool(self._changed)

    def settle(self) -> None:
        """Tell what has changed."""
        changed, self._changed = self._changed, set()
        for profile in sorted(changed):
            self._look(profile)

    def _view(self, profile: int, before: ConnectionState | None) -> View:
        return view_of(self._room, self._room.by_profile.get(profile), before)

    def _look(self, profile: int) -> None:
        watched = self._watched.get(profile)
        if watched is not None:
            self._tell(profile, watched, self._view(profile, watched.view.state))

    def _tell(self, profile: int, watched: _Watched, view: View) -> None:
        before = watched.view
        self._take(profile, watched, view)
        if (view.state, view.local) == (before.state, before.local):
            return
        frame = _encode({"event": "connection", **view.document(profile)})
        for outbox in list(watched.outboxes):
            self._hub.tell_latest(outbox, profile, frame)

    def _take(self, profile: int, watched: _Watched, view: View) -> None:
        before = watched.view.key
        watched.view = view
        if before != view.key:
            self._unfile(profile, before)
            if view.key is not None:
                self._by_key.setdefault(view.key, set()).add(profile)

    def _drop(self, profile: int) -> None:
        self._unfile(profile, self._watched.pop(profile).view.key)

    def _unfile(self, profile: int, key: TransportKey | None) -> None:
        profiles = self._by_key.get(key) if key is not None else None
        if profiles is not None and key is not None:
            profiles.discard(profile)
            if not profiles:
                del self._by_key[key]
