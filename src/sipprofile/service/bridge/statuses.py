"""What one side of a bridge is answered when its request cannot go on, or nothing comes back (RFC 3261 §21)."""

from __future__ import annotations

_AFTER_ERROR = {
    "not_registered": 503,
    "header_refused": 400,
    "invalid_value": 400,
    "missing_field": 400,
    "identity_refused": 403,
    "too_large": 513,
    "invalid_state": 491,
    "quota_exceeded": 503,
}


def after_error(code: str) -> int:
    """The request was not sent because of the error ``code``."""
    return _AFTER_ERROR.get(code, 500)


def after_failure(code: str, method: str) -> int:
    """It was sent to the provider, and then ``code`` happened. A request other than INVITE is never answered 408 (RFC
    4320 §4.2)."""
    if code in ("timeout", "timed_out"):
        return 408 if method == "INVITE" else 504
    return 503


def for_program(status: int, method: str) -> int:
    """A final status of the provider's side: the program is never asked for a password."""
    return 403 if status in (401, 407) else _speakable(status, method)


def for_provider(status: int, method: str) -> int:
    """A final status of the program: the caller has no password for it."""
    return 480 if status in (401, 407) else _speakable(status, method)


def _speakable(status: int, method: str) -> int:
    return 504 if status == 408 and method != "INVITE" else status
