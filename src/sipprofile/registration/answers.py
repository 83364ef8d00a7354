"""What each final answer to REGISTER means when it is neither a 2xx, a challenge nor a 423 (one table, one place)."""

from __future__ import annotations

from enum import Enum

from ..sip.message import Response

MAXIMUM_PHRASE = 100  # characters of a reason phrase that users see


class Outcome(Enum):
    """What happens to the registration."""

    NEXT_TARGET = "try the next target before backing off"
    REJECTED = "the credentials, if any were sent, are refused; leave 'registered' at once"
    REFUSED = "the registrar does not know us; leave 'registered' at once, back off"
    REDIRECT = "follow one hop inside the domain"
    FAILED = "back off; a live lease holds until its end"


TABLE: dict[int, Outcome] = {
    301: Outcome.REDIRECT,  # RFC 3261 §21.3
    302: Outcome.REDIRECT,
    403: Outcome.REJECTED,  # RFC 3261 §10.3 step 4, §21.4.4
    404: Outcome.REFUSED,  # RFC 3261 §10.3 step 5
    408: Outcome.NEXT_TARGET,  # RFC 3263 §4.3
    430: Outcome.NEXT_TARGET,  # RFC 5626 §5.3.1
    503: Outcome.NEXT_TARGET,  # RFC 3263 §4.3
}


def outcome_of(status: int) -> Outcome:
    """The outcome of a final ``status``; what is not in the table is a failure."""
    return TABLE.get(status, Outcome.FAILED)


def phrase(response: Response) -> str:
    """The reason phrase as text that can be shown and stored, whatever bytes the server sent."""
    text = response.reason[:MAXIMUM_PHRASE]
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)
