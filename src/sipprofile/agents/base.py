"""The plug-in interface: how a profile type registers (``CSIPProfileAgent`` of the original API).

An agent judges settings when they are saved, turns a profile into a :class:`Plan` of what to send, and may judge a
registrar's answer before the machine's own table does. It performs no I/O and keeps no state about a registration:
all of that is the machine's. Agents are found by the entry-point group ``sipprofile.agents``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from ..errors import SipProfileError
from ..profile import Identity, Profile, ProfileType
from ..sip.locating import Server
from ..sip.message import Response
from ..sip.transport import PROTOCOLS


class Problem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing that makes a profile impossible to save; ``code`` is one of :data:`sipprofile.errors.ERRORS`."""

    code: str
    field: str
    detail: str
    value: str | int | float | bool | None = None


class Advice(msgspec.Struct, frozen=True, gc=False):
    """Something legal but unwise about a profile."""

    code: str
    field: str
    detail: str


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """What answers a digest challenge. ``realm`` limits it to one realm, ``None`` means any of this server's."""

    username: str
    password: str
    realm: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, realm={self.realm!r}, …)"


class Hop(msgspec.Struct, frozen=True, gc=False):
    """A first hop of a REGISTER: the registrar itself, or an outbound proxy with its Route (RFC 3261 §8.1.2)."""

    server: Server
    route: str | None = None
    """Value of the Route header, ``None`` when the hop is the registrar."""
    strict: bool = False
    """The hop is a strict router (no ``lr``): it becomes the request URI (RFC 3261 §12.2.1.1)."""
    credentials: Credentials | None = None
    identity: Identity | None = None
    """Over TLS and WebSocket; ``None``: the server's host, the system's authorities, no certificate of our own."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Everything the machine needs to register one profile. Equal plans put equal requests on the wire."""

    aor: str
    request_uri: str
    registrar: str
    """``host:port`` of the registrar, the key for pacing and metrics."""
    domain: str
    """Host of the registrar; a redirect must stay in it."""
    hops: tuple[Hop, ...]
    contact_user: str
    contact_uri: str | None
    contact_params: str
    """``;name=value…`` as it follows the Contact URI, without ``expires``."""
    expires: int
    headers: tuple[str, ...]
    credentials: Credentials | None
    dscp: int | None
    instance_id: str
    token_source: str | None = None
    """Where access tokens come from (RFC 8898), as the service's configuration names it."""
    reg_event: bool = False
    """Subscribe to the state of our own registration (RFC 3680)."""
    reachable_interval: int = 0
    """Seconds between checks that requests to the address-of-record arrive here; 0 = only when somebody asks."""
    outbound: bool = False
    """Offer RFC 5626: reg-id beside the instance id, and several flows where the registrar wants them."""
    gruu: bool = False
    """Ask for GRUUs (RFC 5627)."""
    allowed_identities: tuple[str, ...] = ()
    """Patterns of URIs that requests may be sent as, beside the address-of-record and what is associated with it."""
    note: str = ""
    """Whatever the agent wants to find again in :meth:`Agent.judge`."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """An agent's own judgement of an answer.

    ``retry``: the attempt failed, try again after ``after`` seconds. ``refuse``: the registrar refused us; leave
    ``registered`` at once and back off. ``text`` is shown to users as the reason.
    """

    action: Literal["retry", "refuse"]
    after: float = 0.0
    text: str = ""


OWN_SETTINGS = frozenset(
    (
        "id",
        "name",
        "aor",
        "provider_name",
        "labels",
        "registrar",
        "register",
        "linger",
        "linger_lost",
        "instance_id",
        "locked",
        "default",
        "claims",
        "bridge",
    )
)
"""Fields of a profile that each may have for itself while it is registered like others; see :func:`uniform`."""

_UNIFORM: set[object] = set()
Method = TypeVar("Method", bound=Callable[..., Plan])


def uniform(method: Method) -> Method:
    """Decorates :meth:`Agent.plan` where all profiles of a registrar are treated alike. It promises this.

    Two profiles with an instance id each may differ in :data:`OWN_SETTINGS`, but of ``aor`` in the plain user part
    alone and of ``registrar`` in ``username`` and ``password``. Then their plans differ in nothing but ``aor``,
    ``contact_user``, ``credentials`` and ``instance_id``. Where these are in one plan what the settings say, they are
    in the other one; a user name that is not set is the private identity, or the user of the AOR.
    """
    _UNIFORM.add(method)
    return method


def is_uniform(agent: Agent) -> bool:
    """Whether the agent's own ``plan`` is :func:`uniform`; one that takes its place is not."""
    return getattr(agent.plan, "__func__", None) in _UNIFORM


class Agent:
    """What a profile type must say; the defaults are those of a type without peculiarities."""

    type: ClassVar[ProfileType]
    transports: ClassVar[tuple[str, ...]] = PROTOCOLS
    extensions: ClassVar[dict[str, str]] = {}
    """Extension parameters this type understands: name → one sentence. Others are stored and ignored."""

    def template(self) -> Profile:
        """A new profile with this type's defaults (``CreateL``)."""
        return Profile(type=self.type.name)

    def problems(self, profile: Profile) -> list[Problem]:
        """Why ``profile`` cannot be saved; empty when it can."""
        raise NotImplementedError

    def advice(self, profile: Profile) -> list[Advice]:
        """What is legal but unwise about ``profile``."""
        return []

    def plan(self, profile: Profile, contact_token: str) -> Plan:
        """What to send for a valid ``profile``; ``contact_token`` is the Contact's user part unless one is set."""
        raise NotImplementedError

    def judge(self, plan: Plan, response: Response) -> Verdict | None:
        """Judge a final answer to REGISTER other than a challenge; ``None`` leaves it to the machine's table."""
        return None

    def associated(self, aor: str, response: Response) -> tuple[str, ...]:
        """The identities that a 2xx registered (original parameter 9)."""
        return (aor,)

    def validate(self, profile: Profile) -> None:
        """Raise the first problem of ``profile`` as an error that lists all of them in ``problems``."""
        problems = self.problems(profile)
        if problems:
            first = problems[0]
            raise SipProfileError(
                first.code,
                first.detail,
                field=first.field,
                value=first.value,
                problems=[msgspec.to_builtins(problem) for problem in problems],
            )

    def describe(self) -> dict[str, Any]:
        """This type as ``GET /v1/types`` shows it."""
        from .fields import describe_fields

        return {
            "name": self.type.name,
            "class": self.type.profile_class,
            "transports": list(self.transports),
            "fields": describe_fields(),
            "not_supported": list(not_supported()),
            "extensions": self.extensions,
        }


def not_supported() -> tuple[str, ...]:
    """Names of the settings that are refused at save because their behaviour is not built yet."""
    from .fields import NOT_SUPPORTED

    return NOT_SUPPORTED
