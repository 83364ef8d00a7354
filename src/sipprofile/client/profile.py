"""A profile as an application holds it (``CSIPProfile``), and as an administrator edits it."""

from __future__ import annotations

import builtins
import time
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast, overload

from msgspec import convert

from ..claims import StandingClaim
from ..errors import SipProfileError
from ..events import FlowState, OtherContact, Reason, RegistrationState, Status
from ..profile import Bridge, Extension, ServerParameters
from .document import ProfileDocument, ServerDocument, decode, difference, settings_of

if TYPE_CHECKING:
    from .registry_base import RegistryBase

T = TypeVar("T")
E = TypeVar("E", bound=Extension)


class _Setting(Generic[T]):
    """A stored field; assignable in a :class:`ManagedProfile` only."""

    def __set_name__(self, owner: type[Profile], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Profile]) -> Self: ...
    @overload
    def __get__(self, instance: Profile, owner: type[Profile]) -> T: ...
    def __get__(self, instance: Profile | None, owner: type[Profile]) -> T | Self:
        if instance is None:
            return self
        return cast(T, getattr(instance._settings(), self._name))

    def __set__(self, instance: ManagedProfile, value: T) -> None:
        if not isinstance(instance, ManagedProfile):
            raise AttributeError(f"{self._name} can be changed through a ManagedProfileRegistry only")
        setattr(instance._settings(), self._name, value)


class _Registrar(_Setting["ServerDocument | None"]):
    def __set__(self, instance: ManagedProfile, value: ServerParameters | None) -> None:
        super().__set__(instance, None if value is None else _server(value))


class _Proxies(_Setting[list[ServerDocument]]):
    def __set__(self, instance: ManagedProfile, value: Iterable[ServerParameters]) -> None:
        super().__set__(instance, [_server(one) for one in value])


def _server(given: ServerParameters) -> ServerDocument:
    return given if isinstance(given, ServerDocument) else convert(given, ServerDocument, from_attributes=True)


class _State(Generic[T]):
    """A read-only field of the registration's state."""

    def __set_name__(self, owner: type[Profile], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Profile]) -> Self: ...
    @overload
    def __get__(self, instance: Profile, owner: type[Profile]) -> T: ...
    def __get__(self, instance: Profile | None, owner: type[Profile]) -> T | Self:
        return self if instance is None else cast(T, getattr(instance.registration, self._name))

    def __set__(self, instance: Profile, value: Any) -> None:
        raise AttributeError(f"{self._name} is read-only")


class Profile:
    """A held profile: its settings and the state of its registration, renewed before observers are told.

    Got from a registry. All instances of one id in a registry share one record. Losing the last of them
    releases the profile at the service, and disables it there if this registry had enabled it; :meth:`close`
    does so at a known moment. Reading a closed profile raises ``closed``.
    """

    __slots__ = ("__weakref__", "_id", "_registry")

    name = _Setting[str]()
    type = _Setting[str]()
    aor = _Setting[str]()
    provider_name = _Setting[str]()
    labels = _Setting[dict[str, str]]()
    registrar = _Registrar()
    proxies = _Proxies()
    register = _Setting[Literal["always", "on-demand"]]()
    linger = _Setting[float]()
    linger_lost = _Setting[float]()
    expires = _Setting[int]()
    contact_params = _Setting[list[str]]()
    contact_user = _Setting["str | None"]()
    contact_uri = _Setting["str | None"]()
    reg_event = _Setting[bool]()
    reachable_interval = _Setting[int]()
    headers = _Setting[list[str]]()
    allowed_identities = _Setting[list[str]]()
    private_identity = _Setting["str | None"]()
    token_source = _Setting["str | None"]()
    dscp = _Setting["int | None"]()
    instance_id = _Setting[str]()
    locked = _Setting[bool]()
    default = _Setting[bool]()
    extensions = _Setting[dict[str, Extension]]()
    claims = _Setting[list[StandingClaim]]()
    bridge = _Setting[Bridge | None]()
    sigcomp = _Setting[bool]()
    security_negotiation = _Setting[bool]()
    access_point = _Setting["str | None"]()
    destination = _Setting["str | None"]()
    bearer = _Setting["str | None"]()
    resolve_proxy = _Setting[bool]()

    status = _State[Status]()
    since = _State[float]()
    reason = _State[Reason]()
    attempt = _State[int]()
    next_try = _State["float | None"]()
    target = _State["str | None"]()
    flow = _State["str | None"]()
    lease_ends = _State["float | None"]()
    expires_granted = _State["int | None"]()
    refresh_at = _State["float | None"]()
    last_error = _State["Reason | None"]()
    registered = _State[bool]()
    registered_aors = _State[list[str]]()
    registered_contact = _State["str | None"]()
    service_route = _State[list[str]]()
    path = _State[list[str]]()
    public_gruu = _State["str | None"]()
    temporary_gruu = _State["str | None"]()
    flows = _State[list[FlowState]]()
    negotiated_security = _State["str | None"]()
    held = _State[Literal["", "paused", "forcibly_disabled"]]()
    users = _State[int]()
    reg_event_state = _State["Literal['pending', 'active', 'unsupported'] | None"]()
    other_contacts = _State[list[OtherContact]]()
    reachable = _State["bool | None"]()
    reachable_at = _State["float | None"]()
    reachable_reason = _State[str]()
    bridge_port = _State["int | None"]()

    def __init__(self, registry: RegistryBase[Any] | None, id_: int) -> None:
        self._registry = registry
        self._id = id_

    @property
    def id(self) -> int:
        """The service's number for it, never reused; 0 before the first save."""
        return self._id

    @property
    def revision(self) -> int:
        """Rises with every save."""
        return self._settings().revision

    @property
    def registration(self) -> RegistrationState:
        """The state as a whole. Times in it are UTC seconds since the epoch."""
        return self._document().registration

    @property
    def lease_left(self) -> float | None:
        """Seconds until the registrar's lease ends, never negative; ``None`` without a lease."""
        ends = self.registration.lease_ends
        return None if ends is None else max(0.0, ends - time.time())

    @property
    def enabled(self) -> bool:
        """The registry it came from has enabled it."""
        return self._registry is not None and self._id in self._registry.enabled

    @property
    def active(self) -> bool:
        """Enabled here and registered: it can be used (``IsContextActive``)."""
        return self.enabled and self.registered

    @property
    def closed(self) -> bool:
        """:meth:`close` was called, or its registry was closed."""
        return self._registry is None or not self._registry.is_open

    def extension(self, name: str, kind: builtins.type[E]) -> E:
        """The extension parameter ``name``; ``kind`` is ``int``, ``bool``, ``str`` or ``list``.

        Raises ``not_found`` when it is not set or of another kind, as ``GetParameter`` did.
        """
        value = self._settings().extensions.get(name)
        if value.__class__ is not kind:  # a bool is not an int here
            text = f"The profile has no extension {name!r} of kind {kind.__name__}."
            raise SipProfileError("not_found", text, field=f"extensions.{name}")
        return cast(E, value)

    def close(self) -> Awaitable[None]:
        """Give it back. Awaiting the answer is only needed to know that the service has released it."""
        registry, self._registry = self._registry, None
        return registry.close_handle(self._id) if registry is not None else Nothing()

    def _document(self) -> ProfileDocument:
        if self._registry is None:
            raise SipProfileError("closed", "This profile object is closed.")
        return self._registry.records.document(self._id)

    def _settings(self) -> ProfileDocument:
        return self._document()

    def __del__(self) -> None:
        registry = getattr(self, "_registry", None)
        if registry is not None:
            registry.handle_lost(self._id)

    def __repr__(self) -> str:
        if self.closed:
            return f"<{self.__class__.__name__} {self._id} closed>"
        document = self._document()
        words = (self._id, repr(document.name), document.type, document.registration.status)
        return f"<{self.__class__.__name__} {' '.join(map(str, words))}>"


class ManagedProfile(Profile):
    """A profile that can be edited (``CSIPManagedProfile``); ``ManagedProfileRegistry.save`` stores the edits.

    Without unsaved edits it follows the service like a :class:`Profile`. With edits it keeps them, and saving
    raises ``revision_mismatch`` when somebody else saved the profile meanwhile; :meth:`revert` drops them.

    Passwords are never read: ``registrar.password`` is ``None``; a string sets it at save, ``""`` clears it. So it is
    with ``registrar.tls.private_key``.
    """

    __slots__ = ("_base", "_draft")

    def __init__(self, registry: RegistryBase[Any] | None, id_: int, draft: ProfileDocument | None = None) -> None:
        super().__init__(registry, id_)
        self._draft = draft
        self._base: bytes | None = None

    @property
    def edited(self) -> bool:
        """There are changes that are not saved."""
        return bool(self._patch()) if self._id else True

    def revert(self) -> None:
        """Drop what was edited and not saved; a profile that was never saved keeps its values."""
        if self._id:
            self._draft = self._base = None

    def set_extension(self, name: str, value: Extension | None) -> None:
        """Set the extension parameter ``name``, or remove it with ``None``, ``""`` or an empty list."""
        extensions = self._settings().extensions
        if value is None or value == "" or value == []:
            extensions.pop(name, None)
        else:
            extensions[name] = value

    def _document(self) -> ProfileDocument:
        if not self._id and self._registry is not None and self._draft is not None:
            return self._draft
        return super()._document()

    def _settings(self) -> ProfileDocument:
        if self._registry is None:
            raise SipProfileError("closed", "This profile object is closed.")
        if self._id:
            record = self._registry.records.record(self._id)
            if self._draft is None or (record is not self._base and not self._patch()):
                self._base, self._draft = record, decode(record)
        assert self._draft is not None
        return self._draft

    def _patch(self) -> dict[str, Any]:
        """What was edited, as a merge patch."""
        if self._draft is None or self._base is None:
            return {}
        return difference(settings_of(decode(self._base)), settings_of(self._draft))

    def __del__(self) -> None:
        if getattr(self, "_id", 0):
            super().__del__()


class Nothing:
    """An awaitable that is done; a coroutine would warn when nobody awaits it."""

    def __await__(self) -> Any:
        return
        yield
