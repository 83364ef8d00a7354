"""Writes docs/errors.md from the tables in the code: python docs/generate_errors.py."""

from __future__ import annotations

from pathlib import Path

from sipprofile.errors import ERRORS
from sipprofile.events import REASONS

PAGE = Path(__file__).with_name("errors.md")

INTRODUCTION = """\
# Errors and reasons

<!-- Made by docs/generate_errors.py. Change the tables in the code, then run it. -->

## Errors

An error answers something you asked for. Every error has a stable code. Programs should look at the code,
people at the sentence. On the HTTP interface an error is a problem document (RFC 9457):

```json
{
  "type": "urn:sipprofile:error:in_use",
  "title": "The profile is in use",
  "status": 409,
  "code": "in_use",
  "detail": "Two sessions use the profile.",
  "remedy": "Wait until its users disable it, or force-disable it first.",
  "users": 2
}
```

`field` and `value` are there when one field is to blame; `value` is never a secret. A profile that cannot be
saved lists everything that is wrong with it in `problems`. In a session the same document is the `error` of
an answer. In Python it is a `sipprofile.SipProfileError` with `code`, `detail`, `remedy`, `field`, `value`
and `members`.

| code | HTTP status | what happened | what to do |
|---|---|---|---|
"""

REASONS_INTRODUCTION = """
## Reasons

A reason says why a registration is in the status it is in. It is part of the profile's state
(`registration.reason`, and `registration.last_error` for a failure while the lease still holds), of every
state event and of the history. With `response`, `status_code` is the registrar's SIP status code.

| code | sentence |
|---|---|
"""


def page() -> str:
    """The whole text of docs/errors.md."""
    errors = "".join(f"| `{code}` | {kind.status} | {kind.title} | {kind.remedy} |\n" for code, kind in ERRORS.items())
    reasons = "".join(
        f"| `{code}` | {sentence or 'There is nothing to say.'} |\n" for code, sentence in REASONS.items()
    )
    return INTRODUCTION + errors + REASONS_INTRODUCTION + reasons


if __name__ == "__main__":
    PAGE.write_text(page())
