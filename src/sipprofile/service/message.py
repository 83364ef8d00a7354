"""``POST /v1/profiles/{id}/message``: one MESSAGE (RFC 3428) for who keeps no session, and its final response."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from ..errors import SipProfileError
from ..events import REASONS, RegistrationState
from ..sip.message import Response
from ..useragent import client
from ..useragent.agent import UserAgent
from ..useragent.draft import Draft
from ..useragent.leg import Leg
from ..useragent.outgoing import Outgoing
from ..useragent.profile_line import profile_line
from ..useragent.unowned import Deaf
from .audit import Asker, Auditor
from .connection_commands import invalid
from .content import Body, headers_of, readable
from .operations import SendMessage
from .policy import Actor
from .quota import Quota
from .registry import Entry, Registry
from .steps import Steps, Topic, Until
from .usage import Usage

REGISTER_LIMIT = 30.0
"""Seconds in which the profile must be registered."""
ANSWER_LIMIT = 40.0
"""Seconds in which the final response must come; timer F alone is 32 (RFC 3261 §17.1.2.2)."""
AT_ONCE = 1_000
"""Messages of everybody that are under way."""
KIND: Literal["message"] = "message"


class MessageDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the request. ``identity`` is ``from`` in JSON: see :class:`~sipprofile.useragent.draft.Draft`."""

    uri: str
    text: str | None = None
    base64: bytes | None = None
    content_type: str | None = None
    identity: str | None = msgspec.field(default=None, name="from")
    headers: tuple[tuple[str, str], ...] = ()

    def draft(self) -> Draft:
        """The request; raises ``invalid_value``."""
        body = Body(self.text, self.base64)
        return Draft(
            "MESSAGE",
            uri=self.uri,
            identity=self.identity,
            headers=self.headers,
            body=body.octets("text"),
            content_type=self.content_type or body.usual_type,
        )


class _Sender(Deaf):
    """The owner of one MESSAGE: waits for its end and has neither claims nor dialogs."""

    __slots__ = ("_ended", "label", "number")

    def __init__(self, label: str, number: int, ended: Callable[[int, Response | str], None]) -> None:
        self.label = label
        self.number = number
        self._ended = ended

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        """The final response ends it."""
        if response.status >= 200:
            self._ended(self.number, response)

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        """So does the end without one."""
        self._ended(self.number, code)


class Messages:
    """The operation. What has ended is told to who waits by :meth:`settle`, at the end of the input."""

    def __init__(self, registry: Registry, usage: Usage, agent: UserAgent, auditor: Auditor) -> None:
        self._registry = registry
        self._usage = usage
        self._agent = agent
        self._auditor = auditor
        self._quotas: dict[str, Quota] = {}
        self._under_way = 0
        self._last = 0
        self.ended: deque[tuple[Topic, Response | str]] = deque()
        """Who waits for what has come, and that."""

    def send(self, operation: SendMessage, actor: Actor, now: float) -> Steps:
        """Register if need be, send, and answer with the final response's status, reason and headers."""
        registry = self._registry
        try:
            draft = msgspec.convert(operation.document, MessageDocument).draft()
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        entry = registry.find(operation.profile)
        registry.check_served(entry)
        self._take(actor, now)
        return self._sent(entry, draft, Asker(actor.label), now)

    def _sent(self, entry: Entry, draft: Draft, asker: Asker, now: float) -> Steps:
        self._under_way += 1
        self._usage.borrow(entry, now)
        try:
            now = yield from self._registered(entry, now)
            self._last += 1
            number = self._last
            owner = _Sender(asker.who, number, lambda at, what: self.ended.append(((KIND, at), what)))
            line = profile_line(self._agent, entry.id)
            try:
                outgoing = client.send(self._agent, owner, line, draft, now)
            except SipProfileError as error:
                self._auditor.note(asker, entry.id, "out", draft.method, draft.uri, now, code=error.code)
                raise
            answer, now = yield Until((KIND, number), now + ANSWER_LIMIT)
            status = answer.status if isinstance(answer, Response) else 0
            code = "timeout" if answer is None else answer if isinstance(answer, str) else ""
            if answer is None:
                client.abandon(self._agent, outgoing, now)
            self._auditor.note(asker, entry.id, "out", draft.method, draft.uri, now, status, code)
        finally:
            self._under_way -= 1
            self._usage.give_back(entry, now)
        if isinstance(answer, Response):
            return readable({"status": status, "reason": answer.reason, "headers": headers_of(answer)})
        if code == "timeout":
            raise SipProfileError("timed_out", "No final response came in time.", reason=code)
        raise SipProfileError("request_failed", f"No final response came: {REASONS.get(code, code)}", reason=code)

    def _registered(self, entry: Entry, now: float) -> Steps:
        """Wait until the profile is registered; raises what stands in the way. Returns the time."""
        registry = self._registry
        end = now + REGISTER_LIMIT
        while True:
            registry.check_there(entry)
            if entry.held:
                raise SipProfileError(entry.held, f"The profile {entry.name!r} is held down by an operator.")
            state = registry.state(entry)
            if state.status == "registered":
                return now
            change, now = yield Until(("changed", entry.id), end)
            if change is not None and change.event == "error":
                raise _not_registered(entry, registry.state(entry))
            if change is None and now >= end:
                raise _not_registered(entry, registry.state(entry))

    def _take(self, actor: Actor, now: float) -> None:
        """What one session may send, one asker without a session may too."""
        if self._under_way >= AT_ONCE:
            raise SipProfileError("quota_exceeded", f"At most {AT_ONCE} messages are sent at once.", value=AT_ONCE)
        quota = self._quotas.get(actor.label)
        if quota is None:
            quota = self._quotas[actor.label] = Quota(self._registry.settings.session_requests, now)
        quota.take(now)


def _not_registered(entry: Entry, state: RegistrationState) -> SipProfileError:
    reason = state.reason
    detail = f"The profile {entry.name!r} is not registered. {reason.text}".rstrip()
    return SipProfileError("not_registered", detail, reason=reason.code, next_try=state.next_try)
