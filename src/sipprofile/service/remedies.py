"""What a user can do about a registration that fails: a sentence for each reason of ``events.REASONS``."""

from __future__ import annotations

from ..events import Reason

_CREDENTIALS = "Correct the user name or the password, or leave the realm away."
_TOKEN = "Correct the profile's token_source, or the source in the service's configuration."
_REACH = "Correct the registrar's or proxy's URI, or see whether a firewall or the network is in the way."
_ALONE = "Nothing: the service registers again by itself."
_ANSWER = "See whether the server speaks SIP at that port and transport, and whether a firewall drops what it answers."
_PROVIDER = "Ask the provider; the service goes on trying."
_ANOTHER = (
    "See whether something between us and the registrar changes the Contact; contact_user or contact_uri may help."
)

UNREACHABLE = "Ask the provider where it sends requests for this AOR; a NAT or firewall may be in the way."

_REMEDIES = {
    "no_credentials": "Give the profile a user name and password for this server.",
    "rejected_credentials": _CREDENTIALS,
    "credentials_needed": _CREDENTIALS,
    "challenge_unsupported": "Have the registrar offer digest authentication with MD5, SHA-256 or SHA-512-256.",
    "too_many_challenges": _PROVIDER,
    "token_unavailable": _TOKEN,
    "bearer_needs_tls": "Reach the server over TLS: ';transport=tls' in its URI.",
    "resolve": "Correct the server's name, or see whether this host's name server works.",
    "transport": _REACH,
    "tls_wrong_name": "Correct the server's URI, or set tls.server_name to a name that is in its certificate.",
    "tls_expired": "Have the server's certificate renewed, and see whether this host's clock is right.",
    "tls_self_signed": "Put the server's certificate into tls.ca if you trust it.",
    "tls_unknown_issuer": "Put the certificate of the server's authority into tls.ca.",
    "tls_certificate_wanted": "Give tls.certificate and tls.private_key as the provider issued them.",
    "tls_failed": "See whether the server speaks TLS 1.2 or newer at that port.",
    "websocket_refused": "Correct the server's URI and its extension ws-path.",
    "timeout": _ANSWER,
    "target_down": _ANSWER,
    "unreachable": UNREACHABLE,
    "deregistered_by_network": _PROVIDER,
    "zero_grant": _PROVIDER,
    "lease_expired": _ALONE,
    "lease_unknown": _ALONE,
    "keepalive_lost": _ALONE,
    "address_lost": _ALONE,
    "nat_binding_changed": _ALONE,
    "contact_missing": _ANOTHER,
    "redirected": "Set the registrar to where it points, if you trust that.",
    "interval_too_brief": "Ask for a longer lease with expires.",
}
_BY_STATUS = {
    403: "Ask the provider whether this user may register; the AOR, the user name or the password may be wrong.",
    404: "Correct the AOR: the registrar does not know this user or domain.",
    408: _ANSWER,
}


def remedy(reason: Reason) -> str:
    """The sentence for ``reason``, by code, SIP status code or first word; empty where the reason says it."""
    code = reason.code
    if code == "response":
        return _BY_STATUS.get(reason.status_code or 0, _PROVIDER)
    return _REMEDIES.get(code) or _REMEDIES.get(code.partition("_")[0], "")
