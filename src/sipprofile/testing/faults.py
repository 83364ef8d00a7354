"""What a test registrar can be told to do wrong, or to do as some deployed registrar does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """The switches of a :class:`~sipprofile.testing.registrar.Registrar`; each may be changed at any time.

    The defaults describe a registrar without faults. Times are in seconds.
    """

    # The way of a message
    silent: bool = False
    """Answer nothing. What arrives is still written to the log, with status 0."""
    drop: float = 0.0
    """Probability that a message is lost before the registrar sees it."""
    drop_answers: float = 0.0
    """Probability that an answer is lost after the registrar has acted."""
    answer_delay: float = 0.0
    """Delay of every answer."""
    trying: bool = False
    """Send a 100 before the answer; it does not share the delay (RFC 4320 frowns on it, peers do it)."""

    # The judgement of a request
    status: int | None = None
    """Answer this status to everything, before any authentication."""
    reason: str | None = None
    """The reason phrase of `status`."""
    retry_after: int | None = None
    """Put Retry-After into every 4xx, 5xx and 6xx that is no challenge (RFC 3261 §20.33)."""
    redirect: str | None = None
    """Answer 302 with this Contact value (RFC 3261 §21.3.3)."""
    reject_users: set[str] = field(default_factory=set)
    """Digest usernames that get 403 although their credentials are right."""

    # Authentication
    algorithms: Sequence[str] = ("MD5",)
    """The digest algorithms offered, in this order (RFC 8760 §2.3). Empty: credentials are not asked for."""
    qop: bool | str = True
    """True offers qop "auth", a text offers that text, False offers none (RFC 2069)."""
    omit_algorithm: bool = False
    """Leave the algorithm parameter out of an MD5 challenge; its absence means MD5 (RFC 7616 §3.3)."""
    opaque: str | None = None
    """An opaque value that the credentials must repeat (RFC 7616 §3.3)."""
    nonce_lifetime: float = 300.0
    """How long a nonce is accepted."""
    proxy_challenge: bool = False
    """Challenge with 407 and Proxy-Authenticate, as an outbound proxy does."""
    unknown_algorithm_first: bool = False
    """Put a challenge with an algorithm nobody knows before the others."""
    two_challenges: bool = False
    """Put a challenge for a foreign realm before ours, in one header line."""
    always_stale: bool = False
    """Answer right credentials with a new challenge and stale=true, without end."""
    stale_without_flag: bool = False
    """Challenge an old nonce without saying stale=true."""

    # The grant
    min_expires: int = 0
    """Shorter wishes, 0 excepted, are answered with 423 and Min-Expires."""
    maximum_expires: int | None = None
    """The longest grant."""
    grant_fraction: float = 1.0
    """The part of the wish that is granted, at least 1 s."""
    zero_grant: bool = False
    """Answer 200 with expires=0 for every contact and keep no binding."""
    max_contacts: int | None = None
    """Refuse a request that would leave more bindings than this."""
    max_contacts_status: int = 503
    """The status of that refusal."""

    # Outbound (RFC 5626)
    outbound: bool = False
    """Keep the bindings of clients that offer it by instance and reg-id, and answer `Require: outbound` (§6)."""
    first_hop_lacks_outbound: bool = False
    """Answer 439 to clients that offer it (§11.6)."""

    # The 200
    gruu: bool = False
    """Give GRUUs to clients that support them (RFC 5627 §5)."""
    path: Sequence[str] = ()
    """Path values, as if proxies on the way had added them (RFC 3327)."""
    omit_contact: bool = False
    """List no contacts."""
    expires_in_header: bool = False
    """Tell the grant in an Expires header in the place of the contacts' parameter."""
    reverse_contacts: bool = False
    """List the newest binding first."""
    extra_contacts: Sequence[str] = ()
    """Contact values of other devices, listed before all others."""
    service_route: Sequence[str] = ()
    """Service-Route values (RFC 3608)."""
    associated_uris: Sequence[str] = ()
    """P-Associated-URI values (RFC 7315 §4.1)."""
