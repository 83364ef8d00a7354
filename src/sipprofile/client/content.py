"""Bodies and headers between an application and the service's frames."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from ..errors import SipProfileError
from ..sip.names import COMPACT_FORMS

MAXIMUM_BODY = 65_536
"""Bytes of a body in either direction; more is refused with ``too_large``."""

PLAIN = "text/plain;charset=UTF-8"

HeaderFields: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""Header fields as an application gives them: pairs in order, or a mapping."""


class Body(msgspec.Struct):
    """A body as frames carry it."""

    text: str | None = None
    base64: bytes | None = None
    """Decoded already."""

    def content(self) -> bytes:
        """The bytes."""
        if self.text is not None:
            return self.text.encode()
        return self.base64 or b""


def members(
    text: str | None,
    body: bytes | str | None,
    content_type: str | None,
    headers: HeaderFields,
) -> dict[str, Any]:
    """The members of a frame for a body and headers.

    Raises ``invalid_value`` for a body without a type, ``too_large`` beyond :data:`MAXIMUM_BODY`.
    """
    if text is not None:
        if body is not None:
            raise SipProfileError("invalid_value", "Give either text or body.", field="body")
        body, content_type = text, content_type or PLAIN
    given: dict[str, Any] = {}
    fields = headers.items() if isinstance(headers, Mapping) else headers
    if pairs := [[name, value] for name, value in fields]:
        given["headers"] = pairs
    if not body:
        return given
    content = body.encode() if isinstance(body, str) else bytes(body)
    if len(content) > MAXIMUM_BODY:
        detail = f"The body has {len(content):,} bytes; {MAXIMUM_BODY:,} are the most."
        raise SipProfileError("too_large", detail, field="body", value=len(content))
    if content_type is None:
        raise SipProfileError("invalid_value", "Say what the body is, as in 'application/sdp'.", field="content_type")
    given["content_type"] = content_type
    try:
        given["body"] = {"text": content.decode()}
    except UnicodeDecodeError:
        given["body"] = {"base64": base64.b64encode(content).decode()}
    return given


class Content:
    """What requests, responses and notifications have in common for who reads them."""

    __slots__ = ()

    headers: tuple[tuple[str, str], ...]
    body: bytes
    content_type: str | None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def header(self, name: str) -> str | None:
        """The first value of a header field, or ``None``; compact forms are known (RFC 3261 §7.3.3)."""
        return next(iter(self.values(name)), None)

    def values(self, name: str) -> list[str]:
        """The value of each header field of this name, in order."""
        wanted = _long(name)
        return [value for each, value in self.headers if _long(each) == wanted]


def _long(name: str) -> str:
    lower = name.lower()
    return COMPACT_FORMS.get(lower, lower)


def parameters(value: str | None) -> tuple[str, dict[str, str]]:
    """``active;expires=60`` → (``active``, {``expires``: ``60``}); lenient, for Event and Subscription-State."""
    first, *rest = (value or "").split(";")
    found: dict[str, str] = {}
    for part in rest:
        name, _, given = part.partition("=")
        found[name.strip().lower()] = given.strip()
    return first.strip(), found
