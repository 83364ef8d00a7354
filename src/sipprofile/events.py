"""The words on the wire: what the service tells applications, and what registrations tell the service.

Times are UTC seconds since the epoch where they leave the service. ``docs/session-protocol.md`` describes the frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

PROTOCOL_VERSION = 1

Status = Literal["unregistered", "registering", "registered", "unregistering"]
"""Public registration status (the four values of ``CSIPConcreteProfile::TStatus``)."""

REASONS: dict[str, str] = {
    "none": "",
    "response": "The registrar answered {status} {text}.",
    "disabled": "Nobody uses it.",
    "paused": "An operator paused it.",
    "forcibly_disabled": "It was forcibly disabled.",
    "removed": "It was removed.",
    "stopped": "The service stopped.",
    "no_credentials": "The server asks for a password and the profile has none.",
    "rejected_credentials": "The server refused the user name or password.",
    "credentials_needed": "The server refused the credentials twice; correct them.",
    "challenge_unsupported": "The server asks for an authentication that is not supported.",
    "too_many_challenges": "The server keeps asking for authentication.",
    "token_unavailable": "The source gave no access token; the service's log says why.",
    "bearer_needs_tls": "The server asks for an access token, which is sent over TLS only.",
    "timeout": "The server did not answer.",
    "resolve_not_found": "The server's name does not exist.",
    "resolve_timeout": "The name server did not answer.",
    "resolve_failed": "The server's name could not be resolved.",
    "transport_refused": "The server refused the connection.",
    "transport_unreachable": "The network is unreachable.",
    "transport_timeout": "The connection was not opened in time.",
    "transport_closed": "The connection was closed.",
    "keepalive_lost": "The server did not answer keepalives any more.",
    "nat_binding_changed": "A NAT on the way to the server has changed our address.",
    "transport_failed": "The connection failed.",
    "address_lost": "The local address of the connection is gone.",
    "tls_wrong_name": "The server's certificate is for another name.",
    "tls_expired": "The server's certificate has expired or is not valid yet.",
    "tls_self_signed": "The server's certificate is self-signed and not in tls.ca.",
    "tls_unknown_issuer": "The server's certificate comes from an authority that is not trusted.",
    "tls_certificate_wanted": "The server wants a client certificate and was given none, or one it does not accept.",
    "tls_failed": "TLS with the server failed.",
    "websocket_refused": "The server did not accept the WebSocket.",
    "target_down": "The server is down; it is tried again as soon as it answers another profile.",
    "zero_grant": "The registrar granted no time.",
    "contact_missing": "The registrar's answer does not list our contact.",
    "lease_expired": "The lease ended before it could be renewed.",
    "lease_unknown": "The clock was changed; the stored lease cannot be trusted.",
    "redirected": "The registrar points elsewhere, outside of its domain or security. Set the registrar to where it "
    "points if you trust that.",
    "alternative_service": "The registrar points to another service instead of registering. Ask the provider which.",
    "gone": "The address-of-record does not exist any more. Ask the provider, or remove the profile.",
    "no_registrar": "The server takes no registrations. Correct the URI of the registrar.",
    "too_large": "The server finds the request too large. Shorten headers and contact_params.",
    "uri_scheme_refused": "The registrar does not take URIs of this scheme. Ask the provider whether aor is to be sip "
    "or sips; nothing is ever downgraded.",
    "extension_refused": "The server does not support extensions that headers of the profile demand: {text}.",
    "extension_required": "The server demands extensions that are not supported here: {text}.",
    "security_agreement_required": "The server demands a security agreement (RFC 3329), which is not supported. Ask "
    "the provider for access over TLS.",
    "push_refused": "The server does not support the push service in contact_params. Remove the pn- parameters.",
    "loop": "The request went in a circle between servers. Correct proxies and registrar.",
    "server_unproven": "Registered, but the server could not prove that it knows the password. Ask the provider.",
    "interval_too_brief": "The registrar's minimum expiry makes no sense.",
    "binding_may_remain": "The registrar did not confirm; a binding may remain until its lease ends.",
    "deregistered_by_network": "The registrar removed our registration of its own accord.",
    "unreachable": "Registered, but requests to the address-of-record do not arrive here.",
    "refused_by_agent": "The profile type's agent refused the answer.",
    "not_registered": "The profile is not registered.",
    "foreign_challenge": "Somebody else than the profile's servers asks for authentication.",
    "cancelled": "The caller cancelled the request.",
    "answered_elsewhere": "Another application answered the request.",
    "timed_out": "It was not answered in time.",
    "no_ack": "The answer was not acknowledged.",
    "dialog_ended": "The dialog has ended.",
    "owner_gone": "The application that had it is gone.",
    "subscription_lost": "The subscription ended, and could not be renewed.",
    "not_refreshed": "The server did not renew the subscription or publication; it is asked again while that lasts.",
    "refreshed": "The subscription or publication is renewed again.",
    "resubscribing": "The subscription ended; another one is asked for.",
    "resubscribed": "The subscription goes on in another dialog.",
    "publication_lost": "The publication ended, and could not be renewed.",
    "subscriber_gone": "The subscriber did not renew its subscription, or does not know it any more.",
}
"""Every reason code of a status, with its sentence."""


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why a status is what it is: a code of :data:`REASONS`, the SIP status code if there was one, a sentence."""

    code: str = "none"
    status_code: int | None = None
    text: str = ""

    @classmethod
    def of(cls, code: str, status_code: int | None = None, phrase: str = "") -> Reason:
        """The reason ``code`` with its sentence; ``phrase`` is the answer's reason phrase, or what else it names."""
        if code == "response":
            return cls(code, status_code, f"The registrar answered {status_code} {phrase}".rstrip() + ".")
        if status_code is None:
            return _PLAIN[code]
        return cls(code, status_code, REASONS[code].replace("{text}", phrase))


_PLAIN = {code: Reason(code, None, sentence) for code, sentence in REASONS.items()}
"""One object for all who have the same reason."""
NO_REASON = _PLAIN["none"]


class FlowState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One flow of a registration (RFC 5626); times in UTC.

    ``number`` is its reg-id. ``outbound``: the registrar answered ``Require: outbound``.
    """

    number: int = 1
    status: Status = "unregistered"
    outbound: bool = False
    target: str | None = None
    local: str | None = None
    lease_ends: float | None = None
    next_try: float | None = None
    reason: Reason = NO_REASON


class OtherContact(msgspec.Struct, frozen=True, gc=False):
    """A binding of the same address-of-record that is not ours: another device, another program."""

    uri: str
    instance: str | None = None
    """Its instance id (RFC 5626 §4.1), when it has one."""


class RegistrationState(msgspec.Struct, frozen=True, gc=False):
    """The read-only part of a profile: what is true now, why, and what happens next.

    ``revision`` rises with every change of this state. ``lease_ends`` and ``next_try`` are UTC; ``users`` counts the
    sessions that have enabled the profile.
    """

    status: Status = "unregistered"
    since: float = 0.0
    reason: Reason = NO_REASON
    attempt: int = 0
    next_try: float | None = None
    target: str | None = None
    flow: str | None = None
    lease_ends: float | None = None
    expires_granted: int | None = None
    refresh_at: float | None = None
    last_error: Reason | None = None
    """The failure since the last success, while the lease still holds; or what was wrong with that success."""
    registered_aors: list[str] = []
    registered_contact: str | None = None
    service_route: list[str] = []
    path: list[str] = []
    """Path of the last 2xx (RFC 3327)."""
    public_gruu: str | None = None
    temporary_gruu: str | None = None
    flows: list[FlowState] = []
    """Every flow; what stands above is that of the best one."""
    negotiated_security: str | None = None
    held: Literal["", "paused", "forcibly_disabled"] = ""
    users: int = 0
    revision: int = 0
    reg_event_state: Literal["pending", "active", "unsupported"] | None = None
    """The subscription to the registrar's view of this registration (RFC 3680), for profiles that ask for it."""
    other_contacts: list[OtherContact] = []
    """What the registrar says about others at this address-of-record, at most 16 of them; needs ``reg_event``."""
    reachable: bool | None = None
    """Whether a request to the address-of-record arrived here when it was last tried; ``None``: not known."""
    reachable_at: float | None = None
    reachable_reason: str = ""
    """Why ``reachable`` is what it is: a sentence."""
    bridge_port: int | None = None
    """Where the profile's local program sends its requests; ``None`` without a bridge, and while it has no socket."""

    @property
    def registered(self) -> bool:
        """The registrar has granted us a lease that has not ended (original parameter 8)."""
        return self.status == "registered"


EventName = Literal[
    "created", "updated", "registered", "deregistered", "destroyed", "forcibly_disabled", "error", "status"
]
"""The events of ``MSIPProfileRegistryObserver``; ``status`` is any other change of the state, a refresh for example."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event as a session or an event stream gets it.

    ``skipped`` counts state events of the profile that were replaced by this one because the reader was slow.
    ``profile`` is the id. ``document`` is the profile's public form on ``created`` and ``updated``.
    """

    event: EventName
    profile: int
    name: str = ""
    state: RegistrationState | None = None
    document: dict[str, Any] | None = None
    skipped: int = 0
    at: float = 0.0


class StateChanged(msgspec.Struct, frozen=True, gc=False):
    """From a registration to the service: the state of ``profile`` has changed.

    ``event`` is what applications are told. ``transition``: it belongs into the history (a refresh does not).
    """

    profile: int
    event: EventName
    status: Status
    reason: Reason
    look: Callable[[int], RegistrationState]
    transition: bool = True

    @property
    def state(self) -> RegistrationState:
        """The whole state as it is at this moment: it is made here, because mostly nobody wants to know it."""
        return self.look(self.profile)

    def kept(self) -> StateChanged:
        """The same with the state of this moment, for who looks at it later."""
        state = self.state
        return replace(self, look=lambda _: state)
