"""What only OpenSSL can say about a profile's certificates and keys, said before they are stored."""

from __future__ import annotations

from sipprofile.errors import SipProfileError
from sipprofile.net.certificates import unusable
from sipprofile.profile import Profile, ServerParameters


def problem(profile: Profile) -> SipProfileError | None:
    """Why the TLS settings of a profile, whose form is right, cannot be used; ``None`` when they can."""
    if profile.registrar is not None and (found := _problem("registrar", profile.registrar)) is not None:
        return found
    for index, proxy in enumerate(profile.proxies):
        if (found := _problem(f"proxies[{index}]", proxy)) is not None:
            return found
    return None


def _problem(field: str, server: ServerParameters) -> SipProfileError | None:
    tls = server.tls
    if tls is None:
        return None
    fault = unusable(tls.ca, tls.certificate, tls.private_key)
    if fault is None:
        return None
    name, sentence = fault
    return SipProfileError("invalid_value", f"{field}.tls.{name}: {sentence}.", field=f"{field}.tls.{name}")
