"""A SIP registration service: one registration per profile, shared by any number of applications.

The public names are loaded when they are first used, so ``import sipprofile`` costs next to nothing::

    async with sipprofile.use("trunk", app="com.example.agent") as line:
        print(line.profile.aor, line.profile.lease_left)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import sync
    from .client.events import EventStream, ProfileRegistryObserver, ServiceEvent
    from .client.managed import ManagedProfileRegistry
    from .client.profile import ManagedProfile, Profile
    from .client.registry import ProfileRegistry
    from .client.sip import Sip
    from .client.use import Line, use
    from .errors import RegistrationFailed, SipProfileError
    from .events import Event, FlowState, Reason, RegistrationState
    from .profile import ProfileType, ServerParameters, TlsSettings

__version__ = "0.1.0"

_HOME = {
    "Event": ".events",
    "EventStream": ".client.events",
    "FlowState": ".events",
    "Line": ".client.use",
    "ManagedProfile": ".client.profile",
    "ManagedProfileRegistry": ".client.managed",
    "Profile": ".client.profile",
    "ProfileRegistry": ".client.registry",
    "ProfileRegistryObserver": ".client.events",
    "ProfileType": ".profile",
    "Reason": ".events",
    "RegistrationFailed": ".errors",
    "RegistrationState": ".events",
    "ServerParameters": ".profile",
    "ServiceEvent": ".client.events",
    "Sip": ".client.sip",
    "SipProfileError": ".errors",
    "TlsSettings": ".profile",
    "use": ".client.use",
}

__all__ = [
    "Event",
    "EventStream",
    "FlowState",
    "Line",
    "ManagedProfile",
    "ManagedProfileRegistry",
    "Profile",
    "ProfileRegistry",
    "ProfileRegistryObserver",
    "ProfileType",
    "Reason",
    "RegistrationFailed",
    "RegistrationState",
    "ServerParameters",
    "ServiceEvent",
    "Sip",
    "SipProfileError",
    "TlsSettings",
    "__version__",
    "sync",
    "use",
]


def __getattr__(name: str) -> Any:
    if name == "sync":
        value: Any = import_module(".client.sync", __name__)
    elif name in _HOME:
        value = getattr(import_module(_HOME[name], __name__), name)
    else:
        raise AttributeError(f"module 'sipprofile' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
