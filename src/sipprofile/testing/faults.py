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
    trying_only: bool = False
    """Send a 100 and never an answer. What was asked for is done all the same."""
    duplicate_answers: bool = False
    """Send every answer twice."""
    garbage: float = 0.0
    """Probability that an answer arrives as random bytes, cut short, or with bytes changed."""
    answer_port: int | None = None
    """Send datagrams from this port and not from the one the request went to (RFC 3261 §18.2.2 allows it)."""

    # The judgement of a request
    status: int | None = None
    """Answer this status to everything, before any authentication."""
    reason: str | None = None
    """The reason phrase of `status`."""
    retry_after: int | None = None
    """Put Retry-After into every 4xx, 5xx and 6xx that is no challenge (RFC 3261 §20.33)."""
    redirect: str | None = None
    """Answer with a redirection to this Contact value (RFC 3261 §21.3)."""
    redirect_status: int = 302
    """The status of that redirection: 300 to 399."""
    unsupported: Sequence[str] = ()
    """Option tags that are answered with 420 and Unsupported even in a Supported header (RFC 3261 §21.4.15)."""
    required: Sequence[str] = ()
    """Option tags without which in Supported the answer is 421 and Require (RFC 3261 §21.4.16)."""
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
    one_time_nonces: bool = False
    """Accept every nonce once, whatever the nonce count."""
    first_realm: str | None = None
    """A proxy in front of the registrar asks for credentials of this realm first, with 407 and the same users."""
    other_scheme: str | None = None
    """A challenge of another scheme than Digest, put before the others: ``'Bearer realm="example.test"'``."""
    proxy_challenge: bool = False
    """Challenge with 407 and Proxy-Authenticate, as an outbound proxy does."""
    challenge_requests: bool = False
    """Challenge with 407 what the users send to others outside of dialogs, and let nobody use another's name."""
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
    too_brief: str | None = None
    """Answer every wish but 0 with 423 and this Min-Expires; an empty text leaves the header out."""
    maximum_expires: int | None = None
    """The longest grant."""
    grant_fraction: float = 1.0
    """The part of the wish that is granted, at least 1 s; more than 1 grants more than was asked for."""
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

    flow_timer: int | None = None
    """Tell it as Flow-Timer in every 200 (§4.4), and answer STUN as it promises."""

    # The 200
    gruu: bool = False
    """Give GRUUs to clients that support them (RFC 5627 §5)."""
    path: Sequence[str] = ()
    """Path values, as if proxies on the way had added them (RFC 3327)."""
    omit_contact: bool = False
    """List no contacts."""
    omit_own_contact: bool = False
    """List the contacts of other requests only, not those that this one has set."""
    contact_alias: bool = False
    """List contacts with an ``alias`` parameter in their URI, as Kamailio does for clients behind a NAT."""
    contact_port: int | None = None
    """List contacts with this port in the place of theirs, as a session border controller does."""
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
