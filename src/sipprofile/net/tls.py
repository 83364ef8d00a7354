"""TLS on a connection (RFC 3261 §26.3.1), without the buffers that asyncio keeps for each.

The bytes come and go as arguments: a connection costs what OpenSSL keeps for it, on every event loop.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from sipprofile.net.certificates import is_for
from sipprofile.profile import Identity

READ_SIZE = 16 << 10  # bytes, the largest TLS record
PIECE = 2 << 10  # bytes handed to OpenSSL at once; its buffer for them never shrinks

_contexts: WeakValueDictionary[tuple[str | None, str | None, str | None], ssl.SSLContext] = WeakValueDictionary()

_VERIFICATION = {  # X509_V_ERR_… of <openssl/x509_vfy.h>
    9: "tls_expired",  # NOT_YET_VALID
    10: "tls_expired",  # HAS_EXPIRED
    18: "tls_self_signed",  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: "tls_unknown_issuer",  # SELF_SIGNED_CERT_IN_CHAIN: the server sends its root, which we do not know
    2: "tls_unknown_issuer",  # UNABLE_TO_GET_ISSUER_CERT
    20: "tls_unknown_issuer",  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: "tls_unknown_issuer",  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
}
_SENTENCES = {
    "tls_expired": "its certificate has expired or is not valid yet",
    "tls_self_signed": "its certificate is self-signed; put it into tls.ca to trust it",
    "tls_unknown_issuer": "its certificate comes from an unknown authority; put that one's into tls.ca",
}
_ABOUT_OUR_CERTIFICATE = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
)


class TlsFailed(Exception):
    """TLS is over. ``code`` is one of the ``tls_`` codes of :data:`sipprofile.events.REASONS`, or transport_closed."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class TlsClient:
    """Our end of TLS 1.2 or newer. What :meth:`outgoing` returns after each call is to be written."""

    __slots__ = ("_flights", "_has_certificate", "_in", "_name", "_out", "_tls", "open")

    def __init__(self, identity: Identity) -> None:
        """Begin the handshake. Raises TlsFailed for a certificate or key that OpenSSL cannot use."""
        self.open = False
        """Whether the handshake is complete and the server is who it should be."""
        self._name = identity.server_name
        self._has_certificate = identity.certificate is not None
        self._flights = 0
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        try:
            self._tls = _context(identity).wrap_bio(self._in, self._out, server_hostname=self._name)
        except (ValueError, ssl.SSLError) as error:
            raise TlsFailed("tls_failed", f"the TLS settings cannot be used: {error}") from None
        self._shake()

    def receive(self, data: bytes) -> bytes:
        """What the server sent in ``data``, decrypted. Raises TlsFailed; when it has closed, after its last data."""
        plain = bytearray()
        for start in range(0, len(data) or 1, PIECE):
            self._in.write(data[start : start + PIECE])
            if not self.open:
                self._shake()
            if self.open:
                self._read(plain)
        return bytes(plain)

    def send(self, data: bytes) -> None:
        """Encrypt ``data``."""
        self._tls.write(data)

    def outgoing(self) -> bytes:
        """What is to be written now."""
        return self._out.read()

    def close(self) -> None:
        """Say that nothing follows (RFC 8446 §6.1)."""
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # the server need not answer

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._out.pending:
                self._flights += 1
            return
        except ssl.SSLCertVerificationError as error:
            code = _VERIFICATION.get(error.verify_code, "tls_failed")
            raise TlsFailed(code, _SENTENCES.get(code) or f"its certificate: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise self._failed(error) from None
        certificate: Mapping[str, Any] = self._tls.getpeercert() or {}
        if not is_for(certificate, self._name):
            raise TlsFailed("tls_wrong_name", f"its certificate is not for {self._name}; set tls.server_name if it is")
        self.open = True

    def _read(self, plain: bytearray) -> None:
        try:
            while data := self._tls.read(READ_SIZE):
                plain += data
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            raise self._failed(error) from None
        if not plain:
            raise TlsFailed("transport_closed", "it has closed the TLS connection")

    def _failed(self, error: ssl.SSLError) -> TlsFailed:
        reason = error.reason or ""
        # Servers of TLS 1.2 say no more than that the handshake failed, after they have asked for a certificate.
        unnamed = reason.endswith("ALERT_HANDSHAKE_FAILURE") and self._flights > 1 and not self._has_certificate
        if unnamed or ("ALERT" in reason and reason.endswith(_ABOUT_OUR_CERTIFICATE)):
            what = "does not accept the client certificate" if self._has_certificate else "wants a client certificate"
            return TlsFailed("tls_certificate_wanted", f"it {what}; see tls.certificate and tls.private_key")
        return TlsFailed("tls_failed", f"TLS failed: {reason.replace('_', ' ').lower() or type(error).__name__}")


def _context(identity: Identity) -> ssl.SSLContext:
    """The settings of ``identity``, shared by all connections that have the same. Raises ssl.SSLError."""
    key = (identity.ca, identity.certificate, identity.private_key)
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = client_context(*key)
    return context


def client_context(ca: str | None, certificate: str | None, private_key: str | None) -> ssl.SSLContext:
    """TLS 1.2 or newer; the system's authorities are trusted unless ``ca`` is given. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # SIP has rules of its own (RFC 5922 §7.1)
    context.verify_mode = ssl.CERT_REQUIRED
    if ca is None:
        context.set_default_verify_paths()
    else:
        context.load_verify_locations(cadata=ca)
    if certificate is not None and private_key is not None:
        _load(context, f"{certificate}\n{private_key}")
    return context


def _load(context: ssl.SSLContext, pem: str) -> None:
    """The ssl module reads certificates from files only; this one has no name on any disk."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem.encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    finally:
        os.close(descriptor)
