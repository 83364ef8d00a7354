"""Every error that can reach a user: a stable code, a title, a remedy and, where there is one, the offending value.

On the HTTP interface an error is a problem document (RFC 9457); its ``code`` is the key of :data:`ERRORS` and never
changes its meaning. ``docs/errors.md`` is made from this table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MAXIMUM_VALUE_SHOWN = 200  # characters of an offending value that an error repeats


class ErrorKind(NamedTuple):
    """What is the same for all errors of one code."""

    status: int
    """HTTP status code of the problem document."""
    title: str
    remedy: str
    """One sentence that tells the user what to do."""


ERRORS: dict[str, ErrorKind] = {
    # The request itself
    "bad_request": ErrorKind(400, "The request cannot be understood", "Send JSON as the API description says."),
    "unknown_command": ErrorKind(400, "Unknown command", "Use a command of the protocol version that hello announced."),
    "protocol_version": ErrorKind(
        400, "Unsupported protocol version", "Use a client of the service's protocol version."
    ),
    "unauthenticated": ErrorKind(
        401, "Who is asking is not known", "Send 'Authorization: Bearer TOKEN'; make one with 'sipprofile token add'."
    ),
    "permission_denied": ErrorKind(
        403, "Not allowed", "Ask an operator for the capability named here, or use a token that has it."
    ),
    "not_found": ErrorKind(404, "No such thing", "List what exists with 'sipprofile list'."),
    "method_not_allowed": ErrorKind(405, "Method not allowed", "See the API description at /openapi.json."),
    "too_large": ErrorKind(413, "Too large", "Send less at once."),
    # Profiles
    "invalid_value": ErrorKind(422, "Invalid value", "Correct the named field."),
    "missing_field": ErrorKind(422, "A required field is missing", "Give the named field."),
    "unknown_field": ErrorKind(
        422, "Unknown field", "Remove the field, or put a parameter of your own into 'extensions'."
    ),
    "unknown_type": ErrorKind(
        422, "Unknown profile type", "Use a type that 'sipprofile types' lists, or install its agent."
    ),
    "not_supported": ErrorKind(
        422, "Not supported by this version", "Leave the named setting out; 'sipprofile types' says what is supported."
    ),
    "duplicate_name": ErrorKind(409, "The name is taken", "Choose another name, or change the profile that has it."),
    "in_use": ErrorKind(409, "The profile is in use", "Wait until its users disable it, or force-disable it first."),
    "locked": ErrorKind(409, "The profile is locked", "Set locked to false first."),
    "revision_mismatch": ErrorKind(412, "The profile has changed meanwhile", "Read it again and repeat the change."),
    # Sessions
    "hello_expected": ErrorKind(400, "The session has not said hello", "Send a hello frame first."),
    "already_enabled": ErrorKind(
        409, "This session has the profile enabled already", "Enable a profile once per session."
    ),
    "not_enabled": ErrorKind(409, "This session has not enabled the profile", "Enable the profile first."),
    "not_held": ErrorKind(409, "This session does not hold the profile", "Hold the profile first."),
    "paused": ErrorKind(409, "The profile is paused", "Resume it first."),
    "forcibly_disabled": ErrorKind(
        409, "The profile was forcibly disabled", "Enable it again, or let an operator resume it."
    ),
    "slow_consumer": ErrorKind(
        429, "Events are not read fast enough", "Read events without delay, or hold fewer profiles."
    ),
    "too_many_sessions": ErrorKind(
        503, "Too many sessions", "Close sessions that are not needed, or raise limits.sessions."
    ),
    # Requests, dialogs and claims
    "not_registered": ErrorKind(
        409, "The profile is not registered", "Wait until it is registered; its status says why it is not."
    ),
    "invalid_state": ErrorKind(
        409, "Not possible in this state", "Look at the state of the request or dialog that is named here."
    ),
    "header_refused": ErrorKind(
        422, "This header is not the application's", "Leave the header out; the service writes it itself."
    ),
    "identity_refused": ErrorKind(
        403,
        "The profile may not send as this identity",
        "Use the address-of-record or an associated URI, or have the identity added to allowed_identities.",
    ),
    "claim_in_use": ErrorKind(
        409, "Somebody else has claimed it", "Claim something else, claim it shared, or wait until the other is gone."
    ),
    "claim_not_allowed": ErrorKind(
        403, "The policy does not allow this claim", "Ask an operator to allow it in the service's configuration."
    ),
    "quota_exceeded": ErrorKind(429, "The session's quota is used up", "Send more slowly, or end dialogs first."),
    # The service
    "shutting_down": ErrorKind(503, "The service is stopping", "Connect again when it has restarted."),
    "store_failed": ErrorKind(
        507, "The store refused the change", "Check disk space and the permissions of the state directory."
    ),
    "internal": ErrorKind(500, "The service made a mistake", "Report it with the log lines of that moment."),
    # Raised by the client library
    "service_unavailable": ErrorKind(
        503,
        "The service cannot be reached",
        "Start it with 'sipprofile serve', or name it with --url or SIPPROFILE_URL.",
    ),
    "service_gone": ErrorKind(
        503, "The connection to the service was lost", "The client connects again by itself; repeat the call then."
    ),
    "registration_failed": ErrorKind(
        502, "The registration was refused", "Read the reason; 'sipprofile test NAME' explains it step by step."
    ),
    "request_failed": ErrorKind(
        502, "The request got no final response", "Read the reason; send it again when the profile is registered."
    ),
    "request_refused": ErrorKind(
        502, "The other side refused the request", "Look at the status code and headers of its response."
    ),
    "timed_out": ErrorKind(504, "Not done in time", "Wait longer, or look at the profile's status for the reason."),
    "closed": ErrorKind(409, "Already closed", "Make a new object."),
    # The daemon's start
    "bad_configuration": ErrorKind(500, "The configuration has a mistake", "Correct the named line."),
    "already_running": ErrorKind(
        500, "A service already runs on this state directory", "Stop it first, or use another --state."
    ),
    "missing_key": ErrorKind(
        500,
        "The key of the store's secrets is missing",
        "Restore the key file from its backup; a new key cannot open old secrets.",
    ),
    "store_damaged": ErrorKind(
        500, "The store cannot be read", "Restore it from a backup made with 'sipprofile backup'."
    ),
    "address_in_use": ErrorKind(500, "The address is in use", "Choose another port, or end the program that has it."),
}


class SipProfileError(Exception):
    """An error with a stable ``code`` of :data:`ERRORS`.

    ``field`` names what was wrong, ``value`` repeats it (shortened, never a secret), ``members`` are further
    members of the problem document, such as the number of users of a profile that is in use.
    """

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        field: str | None = None,
        value: Any = None,
        **members: Any,
    ) -> None:
        kind = ERRORS[code]
        self.code = code
        self.detail = detail or kind.title + "."
        self.field = field
        self.value = shown(value)
        self.members = members
        super().__init__(self.detail)

    @property
    def status(self) -> int:
        """HTTP status code."""
        return ERRORS[self.code].status

    @property
    def remedy(self) -> str:
        """What to do about it, one sentence."""
        return ERRORS[self.code].remedy

    def problem(self) -> dict[str, Any]:
        """The problem document (RFC 9457 §3)."""
        kind = ERRORS[self.code]
        document: dict[str, Any] = {
            "type": f"urn:sipprofile:error:{self.code}",
            "title": kind.title,
            "status": kind.status,
            "code": self.code,
            "detail": self.detail,
            "remedy": kind.remedy,
        }
        if self.field is not None:
            document["field"] = self.field
        if self.value is not None:
            document["value"] = self.value
        document.update(self.members)
        return document

    @classmethod
    def from_problem(cls, document: dict[str, Any]) -> SipProfileError:
        """Rebuild the error that a problem document describes; an unknown code becomes ``internal``."""
        members = {
            name: value
            for name, value in document.items()
            if name not in ("type", "title", "status", "code", "detail", "remedy", "field", "value")
        }
        code = document.get("code")
        error = cls(code if code in ERRORS else "internal", document.get("detail"), field=document.get("field"))
        error.value = document.get("value")
        error.members = members
        return error

    def __str__(self) -> str:
        given = "" if self.value is None or str(self.value) in self.detail else f" Given: {self.value!r}."
        return f"{self.detail}{given} {self.remedy} [{self.code}]"


class RegistrationFailed(SipProfileError):
    """A registration that was waited for was refused.

    ``reason`` is the status reason of :mod:`sipprofile.events`, ``next_try`` the UTC time (seconds since the epoch)
    of the service's next attempt, or ``None`` when none is planned.
    """

    def __init__(self, reason: Any, next_try: float | None) -> None:
        super().__init__("registration_failed", f"The registration failed: {reason.text}", reason=reason.code)
        self.reason = reason
        self.next_try = next_try


class RequestFailed(SipProfileError):
    """No final response to a request will come, or a dialog has ended by itself; ``reason`` says why."""

    def __init__(self, reason: Any) -> None:
        super().__init__("request_failed", f"The request failed: {reason.text}", reason=reason.code)
        self.reason = reason


class RequestRefused(SipProfileError):
    """The final response, ``response``, to something that needs a 2xx is none."""

    def __init__(self, method: str, response: Any) -> None:
        detail = f"The {method} was answered {response.status} {response.reason}".rstrip() + "."
        super().__init__("request_refused", detail, status_code=response.status)
        self.response = response


def shown(value: Any) -> Any:
    """``value`` as an error may repeat it: plain, and no longer than :data:`MAXIMUM_VALUE_SHOWN`.

    Objects and lists are not repeated: they may have a password in them.
    """
    if not isinstance(value, str):
        return value if isinstance(value, (bool, int, float)) else None
    return value if len(value) <= MAXIMUM_VALUE_SHOWN else value[:MAXIMUM_VALUE_SHOWN] + "…"
