"""Requests that standing claims give to webhooks: asked about over HTTP, and answered with what the webhook says.

The original API has no counterpart: there whoever receives has a session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from ..errors import SipProfileError
from ..useragent.draft import Answer
from ..useragent.unowned import Deaf
from .arrival import request_members
from .audit import Asker, Auditor
from .content import Body, encoded
from .effects import Effect, PostWebhook, WebhookUnusable

if TYPE_CHECKING:
    from ..useragent.incoming import Incoming
    from ..useragent.leg import Leg

MAXIMUM_PENDING = 4_096
"""Requests that wait for webhooks; what comes beyond is answered at once."""
RETRY_AFTER = 30  # seconds; told to callers when a webhook gives no answer
LATER = Answer(480, headers=(("Retry-After", str(RETRY_AFTER)),))


class HookAnswer(msgspec.Struct, frozen=True):
    """What a webhook says; an empty 2xx says 200."""

    status: Annotated[int, msgspec.Meta(ge=200, le=699)] = 200
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    text: str | None = None
    base64: bytes | None = None
    content_type: str | None = None

    def response(self) -> Answer:
        """The SIP response; raises ``invalid_value``."""
        if self.text is None and self.base64 is None:
            return Answer(self.status, self.reason, self.headers)
        body = Body(self.text, self.base64)
        octets = body.octets()
        content_type = (self.content_type or body.usual_type) if octets else None
        return Answer(self.status, self.reason, self.headers, octets, content_type)


class WebhookOwner(Deaf):
    """One webhook for one profile: an :class:`~sipprofile.useragent.owner.Owner` without dialogs and requests.

    All of the same webhook and profile are equal: nobody keeps them but who holds claims.
    """

    def __init__(self, profile: int, name: str, webhooks: Webhooks) -> None:
        self.profile = profile
        self.name = name
        self.label = f"webhook:{name}"
        self._webhooks = webhooks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WebhookOwner) and (other.profile, other.name) == (self.profile, self.name)

    def __hash__(self) -> int:
        return hash((self.profile, self.name))

    def requested(self, incoming: Incoming, now: float) -> None:
        """Have the webhook asked."""
        self._webhooks.ask(self, incoming, now)

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        """Nobody waits for its answer: what it says comes too late."""
        self._webhooks.forget(self, incoming, code, now)


class Webhooks:
    """The requests that webhooks are asked about. ``respond`` is :meth:`~.delivery.Delivery.respond`."""

    def __init__(
        self,
        respond: Callable[[Any, int, Answer, float], Leg | None],
        act: Callable[[Effect], None],
        name_of: Callable[[int], str],
        wall_offset: Callable[[], float],
        auditor: Auditor,
    ) -> None:
        self._respond = respond
        self._act = act
        self._name_of = name_of
        self._wall_offset = wall_offset
        self._auditor = auditor
        self._pending: dict[int, tuple[WebhookOwner, Incoming]] = {}
        """By the request's number, which is the token of the question too."""

    def __len__(self) -> int:
        return len(self._pending)

    def owner(self, profile: int, name: str) -> WebhookOwner:
        """Who holds the claims of ``profile`` to ``webhook:name``."""
        return WebhookOwner(profile, name, self)

    def ask(self, owner: WebhookOwner, incoming: Incoming, now: float) -> None:
        """Have the webhook asked about a request, or told of one that is answered already."""
        if not incoming.final:
            if len(self._pending) >= MAXIMUM_PENDING:
                self._answer(owner, incoming, LATER, now)
                return
            self._pending[incoming.number] = (owner, incoming)
        else:
            self._note(owner, incoming, now, incoming.status)
        name = self._name_of(owner.profile)
        members = {"name": name, **request_members(owner.profile, incoming, self._wall_offset())}
        self._act(PostWebhook(incoming.number, owner.name, encoded(members)))

    def forget(self, owner: WebhookOwner, incoming: Incoming, code: str, now: float) -> None:
        """Nobody waits for the answer."""
        if self._pending.pop(incoming.number, None) is not None:
            self._note(owner, incoming, now, code=code)

    def answered(self, token: int, body: bytes, now: float) -> None:
        """The webhook has answered with a 2xx."""
        owner, incoming = self._pending.pop(token, (None, None))
        if owner is None or incoming is None:
            return
        try:
            answer = msgspec.json.decode(body, type=HookAnswer).response() if body.strip() else Answer(200)
            self._respond(owner, incoming.number, answer, now)
            self._note(owner, incoming, now, answer.status)
        except msgspec.MsgspecError as error:
            self._unusable(owner, incoming, str(error), now)
        except SipProfileError as error:
            if error.code != "invalid_state":  # nobody waits for it any more
                self._unusable(owner, incoming, error.detail, now)

    def failed(self, token: int, now: float) -> None:
        """The webhook has given no answer."""
        owner, incoming = self._pending.pop(token, (None, None))
        if owner is not None and incoming is not None:
            self._answer(owner, incoming, LATER, now)

    def _unusable(self, owner: WebhookOwner, incoming: Incoming, detail: str, now: float) -> None:
        self._act(WebhookUnusable(owner.name, detail))
        self._answer(owner, incoming, LATER, now)

    def _answer(self, owner: WebhookOwner, incoming: Incoming, answer: Answer, now: float) -> None:
        try:
            self._respond(owner, incoming.number, answer, now)
        except SipProfileError:
            return  # nobody waits for it any more
        self._note(owner, incoming, now, answer.status)

    def _note(self, owner: WebhookOwner, incoming: Incoming, now: float, status: int = 0, code: str = "") -> None:
        """A line of the audit log."""
        request = incoming.request
        sender = request.header("from") or ""
        self._auditor.note(Asker(owner.label), owner.profile, "in", request.method, sender, now, status, code)
