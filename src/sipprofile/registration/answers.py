"""What each final answer to REGISTER means: one table, in one place. ``docs/protocol.md`` shows the same rows."""

from __future__ import annotations

from enum import Enum

import msgspec

from ..events import Reason
from ..sip.message import Response

MAXIMUM_PHRASE = 100  # characters of a server's own words that users see


class Step(Enum):
    """What the machine does: (what happens, where it goes on, when)."""

    GRANT = ("the time granted to our contact is the lease", "the same target", "when the lease is to be renewed")
    CHALLENGE = ("answered with digest; refused credentials count for the breaker", "the same target", "at once")
    REDIRECT = (
        "followed for one hop, the first usable contact of the highest q",
        "the contact, if it is in the registrar's domain and as secure",
        "at once",
    )
    PROXY = (
        "sent once more through the proxy it names, with a Route",
        "that proxy, if it is in the registrar's domain and as secure",
        "at once",
    )
    LONGER = (
        "asked again for the Min-Expires it demands, if that is more, up to 30 days",
        "the same target",
        "at once",
    )
    WITHOUT = (
        "the option tags it does not support are left out at this registrar from then on",
        "the same target",
        "at once, once for each tag",
    )
    WITH = ("an option tag that was left out and is demanded is offered again", "the same target", "at once")
    SOON = ("tried once more", "the first target", "after 2.1 to 4 s, the next time the back-off")
    NEXT_TARGET = (
        "",
        "the next target, if there is one that was not tried",
        "at once, after the last one the back-off",
    )
    REJECTED = ("", "the first target", "the back-off; the breaker if credentials were sent")
    BACK_OFF = ("", "the first target", "the back-off")


class Row(msgspec.Struct, frozen=True):
    """One row. Whatever it says, a Retry-After takes the place of the back-off (RFC 3261 §20.33)."""

    step: Step
    source: str
    reason: str = "response"
    """Code of :data:`sipprofile.events.REASONS` that users are told."""
    leave: bool = False
    """It proves that we are not registered: ``registered`` is left at once. Else a lease that lives holds."""
    down: bool = False
    """The target counts as down, for everybody."""
    unknown: bool = False
    """The registrar may have our binding all the same; it is removed when nobody wants it any more."""
    gone: bool = False
    """As the answer to a de-registration: nothing is left to be removed."""


TABLE: dict[int, Row] = {
    200: Row(Step.GRANT, "RFC 3261 §10.2.4", "none", gone=True),
    300: Row(Step.REDIRECT, "RFC 3261 §21.3.1", "redirected"),
    301: Row(Step.REDIRECT, "RFC 3261 §21.3.2", "redirected"),
    302: Row(Step.REDIRECT, "RFC 3261 §21.3.3", "redirected"),
    305: Row(Step.PROXY, "RFC 3261 §21.3.4", "redirected"),
    380: Row(Step.BACK_OFF, "RFC 3261 §21.3.5", "alternative_service"),
    400: Row(Step.BACK_OFF, "RFC 3261 §21.4.1"),
    401: Row(Step.CHALLENGE, "RFC 3261 §22.2", "rejected_credentials"),
    403: Row(Step.REJECTED, "RFC 3261 §10.3 step 4", leave=True),
    404: Row(Step.BACK_OFF, "RFC 3261 §10.3 step 5", leave=True, gone=True),
    405: Row(Step.BACK_OFF, "RFC 3261 §21.4.6", "no_registrar"),
    406: Row(Step.BACK_OFF, "RFC 3261 §21.4.7"),
    407: Row(Step.CHALLENGE, "RFC 3261 §22.3", "rejected_credentials"),
    408: Row(Step.NEXT_TARGET, "RFC 3261 §21.4.9", down=True, unknown=True),
    410: Row(Step.BACK_OFF, "RFC 3261 §21.4.10", "gone", leave=True, gone=True),
    413: Row(Step.BACK_OFF, "RFC 3261 §21.4.11", "too_large"),
    416: Row(Step.BACK_OFF, "RFC 3261 §21.4.14", "uri_scheme_refused"),
    420: Row(Step.WITHOUT, "RFC 3261 §21.4.15", "extension_refused"),
    421: Row(Step.WITH, "RFC 3261 §21.4.16", "extension_required"),
    423: Row(Step.LONGER, "RFC 3261 §10.2.8", "interval_too_brief"),
    430: Row(Step.NEXT_TARGET, "RFC 5626 §11.5"),
    439: Row(Step.WITHOUT, "RFC 5626 §11.6"),
    480: Row(Step.BACK_OFF, "RFC 3261 §21.4.18"),
    481: Row(Step.BACK_OFF, "RFC 3261 §21.4.19", gone=True),
    482: Row(Step.BACK_OFF, "RFC 3261 §21.4.20", "loop"),
    483: Row(Step.BACK_OFF, "RFC 3261 §21.4.21", "loop"),
    486: Row(Step.BACK_OFF, "RFC 3261 §21.4.24"),
    491: Row(Step.SOON, "RFC 3261 §14.1"),
    494: Row(Step.BACK_OFF, "RFC 3329 §2.3.1", "security_agreement_required"),
    500: Row(Step.NEXT_TARGET, "RFC 3261 §21.5.1"),
    501: Row(Step.BACK_OFF, "RFC 3261 §21.5.2", "no_registrar"),
    502: Row(Step.NEXT_TARGET, "RFC 3261 §21.5.3"),
    503: Row(Step.NEXT_TARGET, "RFC 3261 §21.5.4", down=True),
    504: Row(Step.NEXT_TARGET, "RFC 3261 §21.5.5", unknown=True),
    505: Row(Step.BACK_OFF, "RFC 3261 §21.5.6"),
    513: Row(Step.BACK_OFF, "RFC 3261 §21.5.7", "too_large"),
    555: Row(Step.BACK_OFF, "RFC 8599", "push_refused"),
    580: Row(Step.BACK_OFF, "RFC 3312 §8"),
    600: Row(Step.BACK_OFF, "RFC 3261 §21.6.1"),
    603: Row(Step.BACK_OFF, "RFC 3261 §21.6.2", leave=True),
    604: Row(Step.BACK_OFF, "RFC 3261 §21.6.3", leave=True, gone=True),
    606: Row(Step.BACK_OFF, "RFC 3261 §21.6.4"),
    607: Row(Step.BACK_OFF, "RFC 8197", leave=True),
}
"""By status. One that is not here is that of its class, x00 (RFC 3261 §8.1.3.2); a 6xx speaks for all targets."""

SILENCE = Row(Step.NEXT_TARGET, "RFC 3261 §17.1.2.2, timer F", "timeout", down=True, unknown=True)
"""No final answer in 64·T1, whatever provisional ones there were."""


def row_of(status: int) -> Row:
    """The row of a final ``status``."""
    return TABLE.get(status) or TABLE[status // 100 * 100]


def reason_of(row: Row, response: Response) -> Reason:
    """What users are told when ``response`` ended the attempt."""
    return Reason.of(row.reason, response.status, phrase(response) if row.reason == "response" else "")


def phrase(response: Response) -> str:
    """The reason phrase as text that can be shown and stored, whatever bytes the server sent."""
    return shown(response.reason)


def shown(text: str) -> str:
    """A server's words as text that can be shown and stored."""
    text = text[:MAXIMUM_PHRASE]
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)
