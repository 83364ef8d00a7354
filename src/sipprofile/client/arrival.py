"""What the service sends about requests and dialogs: one frame of the session."""

from __future__ import annotations

import msgspec

from ..events import REASONS, Reason
from .content import Body

ARRIVALS = frozenset(
    {
        "request", "withdrawn", "acknowledged", "provisionally-acknowledged",
        "response", "failed", "dialog", "connection",
    }
)  # fmt: skip
"""The events that are not about registrations."""


class Arrival(msgspec.Struct, rename={"sender": "from"}):
    """An event of :data:`ARRIVALS`; which members are set is in docs/session-protocol.md."""

    event: str
    profile: int = 0
    request: int = 0
    dialog: int | None = None
    claim: int | None = None
    method: str = ""
    uri: str | None = None
    sender: str | None = None
    to: str | None = None
    call_id: str | None = None
    headers: list[tuple[str, str]] = []
    body: Body | None = None
    content_type: str | None = None
    answered: bool = False
    at: float = 0.0
    status: int = 0
    reason: str | None = None
    final: bool = False
    state: str = ""
    usages: list[str] = []
    code: str = "none"
    text: str | None = None
    rseq: int = 0
    replaces: int | None = None
    local_address: str | None = None

    def content(self) -> bytes:
        """The body's bytes."""
        return self.body.content() if self.body is not None else b""

    def why(self) -> Reason:
        """``code`` and ``text`` as a reason."""
        return Reason(self.code, None, self.text or REASONS.get(self.code, self.code))


decode = msgspec.json.Decoder(Arrival).decode
