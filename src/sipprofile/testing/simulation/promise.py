"""The promises that a simulation watches over, by name, and what is raised when one is broken."""

from __future__ import annotations

from enum import Enum


class Promise(Enum):
    """Everything that must be true of the service, whatever goes wrong around it."""

    NO_SILENT_LOSS = "'registered' is shown only while the registrar agrees or could not have told us yet"
    NEXT_TRY = "what is wanted and not registered has a next try, and it comes"
    ONE_BINDING = "a flow never has two bindings beyond a hand-over"
    REACHED = "what a registrar sends to a binding arrives"
    NOTICED = "where keepalives are answered, a way that loses everything is noticed within an interval and 10 s"
    FOLLOWED = "another address is registered from soon, with one REGISTER; one that comes back with none"
    BACK_IN_TIME = "every outage ends in registration within the bound of the back-off"
    BACK_TOGETHER = "everybody tries a target within a minute and the queue once one profile got through to it"
    NO_SPINNING = "the service never wakes up again and again with nothing to do"
    BREAKER = "wrong credentials are tried twice, then once in every probe interval"
    BUCKET = "a registrar never gets more new attempts than its bucket allows"
    NO_LAPSE_IN_THE_QUEUE = "no lease ends because its refresh waits for the bucket"
    CSEQ = "CSeq rises with every request of a Call-ID, over crashes too"
    NONCE_COUNT = "the nonce count rises with every use of a nonce"
    SECRETS = "no password, and nothing that serves as one, is in a trace, an event, an answer or a plain row"
    SAVED = "what was answered as saved is stored, and nothing else"
    TOLD = "what an application was told last is what is true"
    ASKED = "nobody is refused for another reason than what others did meanwhile"
    SETTLED = "when faults end everything becomes as it was asked for, at the registrars too"
    CALM = "without faults no registration is lost"
    PROMPT = "what is asked for in calm times is done at once"
    CHANGES_ARE_WHOLE = "a change that a kill interrupts is made whole soon after the start, or never was"
    RESTART_UNSEEN = "a restart registers nothing anew that is not due"
    GIVEN_BACK = "a stop with de-registration leaves nothing behind"
    ONE_ANSWER = "every request that comes in gets exactly one final answer, in time"
    CLAIMED_ONLY = "a request reaches those who claimed it, and nobody else"
    ORDER = "a session that does not read changes neither order nor count of what the others get"
    DEAD_DIALOGS = "when an application ends, the other sides of its dialogs hear of it"
    NO_LEAKS = "nothing is kept of applications, requests and dialogs that have ended"


class Violation(AssertionError):
    """A promise that the service did not keep."""

    def __init__(self, promise: Promise | None, text: str) -> None:
        """``promise``: ``None`` when the simulation itself ended in an error."""
        super().__init__(text if promise is None else f"{promise.name}: {text}")
        self.promise = promise
