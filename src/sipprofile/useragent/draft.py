"""What an owner wants to send, before it is looked at."""

from __future__ import annotations

import msgspec

MAXIMUM_BODY = 65_536
"""Bytes of a body in either direction; more is refused with ``too_large``."""


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A request as an application gives it. Headers are in order, their names as the sender writes them.

    Via, CSeq, Max-Forwards, Route, Record-Route, Authorization, Proxy-Authorization, From, To, Call-ID (inside a
    dialog) and every CR or LF are refused (``header_refused``).
    """

    method: str
    uri: str = ""
    """The request's target; inside a dialog it is the dialog's."""
    to: str | None = None
    """URI of To; absent: ``uri``."""
    identity: str | None = None
    """URI of From: the AOR (when absent), an associated URI, or one of ``allowed_identities``."""
    display_name: str | None = None
    anonymous: bool = False
    """Anonymous From, ``Privacy: id`` and P-Preferred-Identity (RFC 3323, RFC 3325)."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str | None = None
    call_id: str | None = None
    """Only outside of dialogs."""
    contact_params: str = ""
    """``;name=value…`` for our Contact, whose URI is ours (RFC 3840)."""
    refresh: int = 0
    """SUBSCRIBE and PUBLISH: seconds; the service repeats it before that time ends. 0: once."""
    manual: bool = False
    """ACK to a 2xx and PRACK are sent by the owner (``acknowledge``, a request PRACK). Without it the service sends
    them at once, an ACK only when the INVITE had a body: with a delayed offer the answer belongs into the ACK."""
    max_forwards: int = 70


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A response as an application gives it; the rules for headers are those of :class:`Draft`."""

    status: int
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str | None = None
    contact_params: str = ""
    reliable: bool = False
    """A provisional that is repeated until a PRACK comes (RFC 3262); refused when the caller does not support it."""
    manual: bool = False
    """From now on PRACKs are the owner's to answer."""
