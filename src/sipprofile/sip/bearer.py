"""Bearer challenges and tokens in SIP (RFC 8898, RFC 6750)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .headers import split_list

is_token68 = re.compile(r"[A-Za-z0-9\-._~+/]++=*+").fullmatch
"""Whether a text can be a token (RFC 6750 §2.1 ``b64token``)."""


def asks_for_bearer(values: Iterable[str]) -> bool:
    """Whether one of the challenges in all lines of a header is of the scheme Bearer (RFC 8898 §4)."""
    for line in values:
        for part in split_list(line):
            scheme, _, _ = part.partition(" ")
            if scheme.lower() == "bearer":
                return True
    return False
