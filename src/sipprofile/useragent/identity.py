"""As whom a request goes out (RFC 3261 §8.1.1.3, RFC 3323, RFC 3325 §9.2)."""

from __future__ import annotations

import re

from ..agents.base import Plan
from ..errors import SipProfileError
from ..registration.registration import Registration
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri

MAXIMUM_URI = 1024  # characters
_TEL = re.compile(r"tel:[0-9A-Fa-f+*#.()\-]+(?:;[A-Za-z0-9\-._~!*'%+=:\[\]/&$;]*)?", re.IGNORECASE)  # RFC 3966 §3


def readable(text: str, field: str) -> str:
    """``text`` as a ``sip:``, ``sips:`` or ``tel:`` URI that may stand in From or To. Raises ``invalid_value``."""
    if len(text) > MAXIMUM_URI:
        raise SipProfileError("invalid_value", f"A URI has at most {MAXIMUM_URI} characters.", field=field, value=text)
    if text[:4].lower() == "tel:":
        if _TEL.fullmatch(text) is None:
            raise SipProfileError(
                "invalid_value", "The tel URI has characters that it cannot have.", field=field, value=text
            )
        return text
    try:
        uri = Uri.parse(text)
    except SipSyntaxError as error:
        shown = None if ":" in text.partition(":")[2].rpartition("@")[0] else text  # there may be a password in it
        raise SipProfileError("invalid_value", f"This is no SIP URI: {error}.", field=field, value=shown) from None
    if uri.password is not None:
        raise SipProfileError("invalid_value", "A URI in a request has no password.", field=field)
    if uri.headers:
        raise SipProfileError("invalid_value", "A URI here has no headers after '?'.", field=field, value=text)
    return text


def canonical(text: str) -> str:
    """Scheme, user, host and port; letters of scheme and host small, no parameters."""
    text = text.partition(";")[0] if text[:4].lower() == "tel:" else text
    if text[:4].lower() == "tel:":
        return "tel:" + text[4:].translate(_WITHOUT_SEPARATORS)
    try:
        return str(Uri.parse(text).without_params_and_headers())
    except SipSyntaxError:
        return ""


_WITHOUT_SEPARATORS = str.maketrans("", "", "-.()")  # RFC 3966 §5.1.1


def check_identity(registration: Registration, identity: str, field: str = "from") -> None:
    """``identity`` is one that the profile may send as. Raises ``invalid_value`` or ``identity_refused``."""
    readable(identity, field)
    if not is_identity(registration, identity):
        raise SipProfileError(
            "identity_refused", f"The profile may not send as {identity}.", field=field, value=identity
        )


def is_identity(registration: Registration, identity: str) -> bool:
    """Whether it is the address-of-record, an associated URI, or fits one of ``allowed_identities``."""
    plan: Plan = registration.plan
    if identity == plan.aor:
        return True
    asked = canonical(identity)
    if asked == canonical(plan.aor):
        return True
    for flow in registration.flows:
        if flow.lease_end > 0 and any(canonical(aor) == asked for aor in flow.registered_aors):
            return True
    return any(fits(pattern, asked) for pattern in plan.allowed_identities)


def fits(pattern: str, identity: str) -> bool:
    """Whether a canonical ``identity`` fits; ``*`` is any run of characters. Letter case counts in the user part."""
    user, at, host = pattern.rpartition("@")
    pattern = user + at + host.lower()
    scheme, colon, rest = pattern.partition(":")
    first, *others = (scheme.lower() + colon + rest).split("*")
    if not others:
        return identity == first
    *middle, last = others
    if not identity.startswith(first) or not identity.endswith(last) or len(identity) < len(first) + len(last):
        return False
    position, end = len(first), len(identity) - len(last)
    for part in middle:
        found = identity.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
