"""A SIP registration service: one registration per profile, shared by any number of applications.

The public names are loaded when they are first used, so ``import sipprofile`` costs next to nothing::

    async with sipprofile.use("trunk", app="com.example.agent") as line:
        print(line.profile.aor, line.profile.lease_left)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .claims import Claim
    from .client import sync
    from .client.bindings import Binding
    from .client.connection_observer import ConnectionObserver
    from .client.dialog import Dialog
    from .client.events import EventStream, ProfileRegistryObserver, ServiceEvent
    from .client.granted_claim import GrantedClaim
    from .client.incoming import IncomingRequest
    from .client.invite_dialog import InviteDialog
    from .client.managed import ManagedProfileRegistry
    from .client.notify_dialog import NotifyDialog
    from .client.outgoing import OutgoingRequest
    from .client.profile import ManagedProfile, Profile
    from .client.publication import Publication
    from .client.registry import ProfileRegistry
    from .client.response import Response
    from .client.sip import Sip
    from .client.sip_connection import SipConnection
    from .client.subscription import Notification, Subscription
    from .client.use import Line, use
    from .errors import RegistrationFailed, RequestFailed, RequestRefused, SipProfileError
    from .events import Event, FlowState, Reason, RegistrationState
    from .profile import Bridge, ProfileType, ServerParameters, TlsSettings

__version__ = "0.1.0"

_HOME = {
    "Binding": ".client.bindings",
    "Bridge": ".profile",
    "Claim": ".claims",
    "ConnectionObserver": ".client.connection_observer",
    "Dialog": ".client.dialog",
    "Event": ".events",
    "EventStream": ".client.events",
    "FlowState": ".events",
    "GrantedClaim": ".client.granted_claim",
    "IncomingRequest": ".client.incoming",
    "InviteDialog": ".client.invite_dialog",
    "Line": ".client.use",
    "ManagedProfile": ".client.profile",
    "ManagedProfileRegistry": ".client.managed",
    "Notification": ".client.subscription",
    "NotifyDialog": ".client.notify_dialog",
    "OutgoingRequest": ".client.outgoing",
    "Profile": ".client.profile",
    "ProfileRegistry": ".client.registry",
    "ProfileRegistryObserver": ".client.events",
    "ProfileType": ".profile",
    "Publication": ".client.publication",
    "Reason": ".events",
    "RegistrationFailed": ".errors",
    "RegistrationState": ".events",
    "RequestFailed": ".errors",
    "RequestRefused": ".errors",
    "Response": ".client.response",
    "ServerParameters": ".profile",
    "ServiceEvent": ".client.events",
    "Sip": ".client.sip",
    "SipConnection": ".client.sip_connection",
    "SipProfileError": ".errors",
    "Subscription": ".client.subscription",
    "TlsSettings": ".profile",
    "use": ".client.use",
}

__all__ = [
    "Binding",
    "Bridge",
    "Claim",
    "ConnectionObserver",
    "Dialog",
    "Event",
    "EventStream",
    "FlowState",
    "GrantedClaim",
    "IncomingRequest",
    "InviteDialog",
    "Line",
    "ManagedProfile",
    "ManagedProfileRegistry",
    "Notification",
    "NotifyDialog",
    "OutgoingRequest",
    "Profile",
    "ProfileRegistry",
    "ProfileRegistryObserver",
    "ProfileType",
    "Publication",
    "Reason",
    "RegistrationFailed",
    "RegistrationState",
    "RequestFailed",
    "RequestRefused",
    "Response",
    "ServerParameters",
    "ServiceEvent",
    "Sip",
    "SipConnection",
    "SipProfileError",
    "Subscription",
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
