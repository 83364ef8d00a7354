"""SIP headers and bodies as frames and answers show them, and bodies as applications give them."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import SipProfileError
from ..sip.message import Message

CREDENTIALS = frozenset(("authorization", "proxy-authorization"))
"""Headers that are not shown: digests and tokens are nobody's business."""

TEXTUAL = frozenset(
    (
        "application/sdp",
        "application/json",
        "application/xml",
        "application/simple-message-summary",  # RFC 3842
        "application/dtmf-relay",
        "application/x-www-form-urlencoded",
        "message/sipfrag",  # RFC 3420
        "message/cpim",  # RFC 3862
    )
)

_encode = msgspec.json.Encoder().encode


class Body(msgspec.Struct, frozen=True, gc=False):
    """A body in JSON: ``{"text": …}``, or ``{"base64": …}`` for what is no text."""

    text: str | None = None
    base64: bytes | None = None

    def octets(self, field: str = "body") -> bytes:
        """The body as it is sent; raises ``invalid_value``, naming ``field``, unless it has exactly one form."""
        if (self.text is None) == (self.base64 is None):
            raise SipProfileError("invalid_value", "A body has either text or base64.", field=field)
        return self.text.encode() if self.text is not None else self.base64 or b""

    @property
    def usual_type(self) -> str:
        """Its content type when the application does not say it."""
        return "application/octet-stream" if self.text is None else "text/plain;charset=UTF-8"


def headers_of(message: Message) -> list[tuple[str, str]]:
    """Every header line that can be read, in its order, without credentials."""
    return [item for item in message.items() if item[0].lower() not in CREDENTIALS]


def body_of(message: Message, content_type: str | None) -> dict[str, Any] | None:
    """The body in JSON, ``None`` when there is none: text when its type says so and it is valid UTF-8."""
    body = message.body
    if not body:
        return None
    if is_textual(content_type):
        try:
            return {"text": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"base64": body}


def is_textual(content_type: str | None) -> bool:
    """Whether a body of this type is text that people or JSON, XML and SDP readers read."""
    if content_type is None:
        return False
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in TEXTUAL or kind.endswith(("+xml", "+json"))


def encoded(frame: dict[str, Any]) -> bytes:
    """The frame's JSON. Bytes of headers that are no UTF-8 are shown as U+FFFD."""
    try:
        return _encode(frame)
    except UnicodeEncodeError:
        return _encode(readable(frame))


def readable(value: Any) -> Any:
    """``value`` with every undecodable byte of its texts replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {name: readable(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [readable(member) for member in value]
    return value
