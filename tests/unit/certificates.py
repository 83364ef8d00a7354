"""Certificates for tests, made when asked for: elliptic keys, so that it is quick."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Certificate:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        form, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, form, bare).decode()

    def encrypted_key_pem(self, passphrase: bytes) -> str:
        form, sealed = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(passphrase)
        return self.key.private_bytes(serialization.Encoding.PEM, form, sealed).decode()

    def server_context(self, directory: Path, clients: Certificate | None = None) -> ssl.SSLContext:
        """What a server with this certificate uses; with ``clients`` it wants one that they issued."""
        file = directory / f"{self.certificate.serial_number:x}.pem"
        file.write_text(self.pem + self.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=clients.pem)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(text: str) -> x509.GeneralName:
    if text.startswith("sip:"):
        return x509.UniformResourceIdentifier(text)
    if text.replace(".", "").isdigit() or ":" in text:
        return x509.IPAddress(ip_address(text))
    return x509.DNSName(text)


def issue(
    *names: str,
    by: Certificate | None = None,
    common_name: str = "test",
    authority: bool = False,
    since: datetime.datetime = NOW - DAY,
    until: datetime.datetime = NOW + DAY,
) -> Certificate:
    """A certificate for ``names`` (DNS names, addresses, ``sip:`` URIs); without ``by`` it is self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = by.certificate.subject if by is not None else _name(common_name)
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=_name(common_name),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=since,
        not_valid_after=until,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return Certificate(builder.sign(by.key if by is not None else key, hashes.SHA256()), key)


AUTHORITY = issue(common_name="test authority", authority=True)
OTHER = issue(common_name="another authority", authority=True)
