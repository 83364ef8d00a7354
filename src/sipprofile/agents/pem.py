"""Certificates and keys as text (RFC 7468): what can be said about them without cryptography."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from ..profile import TlsSettings
from ..sip.syntax import SipSyntaxError, parse_host_port
from .base import Problem

MAXIMUM_PEM = 65_536  # characters

_BEGIN = "-----BEGIN "
_END = "-----END "
_DASHES = "-----"
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_KEYS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")


def tls_problems(field: str, tls: TlsSettings) -> Iterator[Problem]:
    """Why ``tls`` cannot be used; a private key or what may be one is never repeated."""
    if tls.server_name is not None and not _is_domain(tls.server_name):
        detail = f"{field}.server_name is the name in the server's certificate, a domain or an address."
        yield Problem("invalid_value", f"{field}.server_name", detail, tls.server_name)
    for name in ("ca", "certificate"):
        text = getattr(tls, name)
        fault = None if text is None else _fault(text, _CERTIFICATES)
        if fault is not None:
            yield Problem("invalid_value", f"{field}.{name}", f"{field}.{name} {fault}.")
    if tls.private_key is not None:
        fault = _fault(tls.private_key, _KEYS)
        if fault is not None:
            yield Problem("invalid_value", f"{field}.private_key", f"{field}.private_key {fault}.")
        if tls.certificate is None:
            detail = f"{field}: a private key needs its certificate."
            yield Problem("missing_field", f"{field}.certificate", detail)
    elif tls.certificate is not None:
        yield Problem("missing_field", f"{field}.private_key", f"{field}: a certificate needs its private key.")


def _is_domain(text: str) -> bool:
    try:
        host, port = parse_host_port(f"[{text}]" if ":" in text and not text.startswith("[") else text)
    except SipSyntaxError:
        return False
    return bool(host) and port is None and len(text) <= 253


def _fault(text: str, labels: tuple[str, ...]) -> str | None:
    """What is wrong with PEM that may have blocks with ``labels`` only; it follows the field's name."""
    wanted = "a private key" if labels is _KEYS else "certificates"
    if len(text) > MAXIMUM_PEM:
        return f"is longer than {MAXIMUM_PEM} characters"
    if not text.isascii() or "\0" in text:
        return "contains characters that PEM has not"
    found = 0
    label = ""
    body: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if line.startswith(_BEGIN) and line.endswith(_DASHES):
            label, body = line[len(_BEGIN) : -len(_DASHES)], []
            if "ENCRYPTED" in label:
                return "is encrypted; give it without a passphrase, it is sealed in the store"
            if label not in labels and not (labels is _KEYS and label == "EC PARAMETERS"):
                return f"has a block that does not belong there; give the PEM of {wanted}"
        elif line.startswith(_END):
            if not label or line != f"{_END}{label}{_DASHES}":
                return "has an END line without its BEGIN"
            if "ENCRYPTED" in body[0] if body else False:
                return "is encrypted; give it without a passphrase, it is sealed in the store"
            if label != "EC PARAMETERS":
                found += 1
                if not _is_der_sequence("".join(body)):
                    return "is damaged: what is between BEGIN and END is not complete"
            label = ""
        elif label:
            body.append(line)
    if label:
        return "lacks its END line"
    if not found:
        return f"is not PEM; give the content of the file with {wanted}, '-----BEGIN' included"
    if labels is _KEYS and found > 1:
        return "has more than one key"
    return None


def _is_der_sequence(text: str) -> bool:
    """Base64 of one SEQUENCE that is as long as it says (X.690 §8.1.3)."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return False
    if len(data) < 2 or data[0] != 0x30:
        return False
    length, begin = data[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(data[2:begin], "big")
    return begin + length <= len(data)
