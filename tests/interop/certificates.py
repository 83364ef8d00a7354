"""Certificates made by the openssl program, for servers and clients of the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

LIMIT = 20.0  # seconds for one run of openssl


class OpenSslAuthority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self.file = directory / f"{name}.pem"
        """Its certificate."""
        self._key = directory / f"{name}.key"
        self._configuration = directory / f"{name}.cnf"
        self._configuration.write_text(
            f"[ca]\ndefault_ca=own\n[own]\nnew_certs_dir={directory}\ndatabase={directory}/{name}.index\n"
            f"serial={directory}/{name}.serial\ndefault_md=sha256\npolicy=any\nunique_subject=no\n"
            "copy_extensions=copy\n[any]\ncommonName=supplied\n"
        )
        (directory / f"{name}.index").touch()
        (directory / f"{name}.serial").write_text("01\n")
        new = ["req", "-x509", "-days", "2", "-subj", f"/CN={name}", *_key(self._key)]
        _openssl(*new, "-addext", "basicConstraints=critical,CA:TRUE", "-out", str(self.file))

    @staticmethod
    def program() -> str | None:
        """The path of openssl, None where it is not installed."""
        return shutil.which("openssl")

    @property
    def pem(self) -> str:
        return self.file.read_text()

    def issue(self, name: str, *names: str, start: str = "", end: str = "") -> Path:
        """A certificate for `names` (``DNS:…``, ``IP:…``, ``URI:…``) and its key; times as YYYYMMDDHHMMSSZ."""
        key, request, certificate = (self._directory / f"{name}.{end_}" for end_ in ("key", "csr", "crt"))
        extension = ["-addext", f"subjectAltName={','.join(names)}"] if names else []
        _openssl("req", "-new", "-subj", f"/CN={name}", *_key(key), *extension, "-out", str(request))
        times = ["-startdate", start, "-enddate", end] if start else ["-days", "1"]
        sign = ["ca", "-batch", "-notext", "-config", str(self._configuration), "-cert", str(self.file)]
        _openssl(*sign, "-keyfile", str(self._key), *times, "-in", str(request), "-out", str(certificate))
        return _joined(self._directory / f"{name}.pem", certificate, key)

    def self_signed(self, name: str, *names: str) -> Path:
        """A file with a certificate that nobody has issued, and its key."""
        key, certificate = self._directory / f"{name}.key", self._directory / f"{name}.crt"
        extension = ["-addext", f"subjectAltName={','.join(names)}"]
        _openssl("req", "-x509", "-days", "2", "-subj", f"/CN={name}", *_key(key), *extension, "-out", str(certificate))
        return _joined(self._directory / f"{name}.pem", certificate, key)


def parts(file: Path) -> dict[str, str]:
    """What `issue` made, as the TLS settings of a profile."""
    certificate, _, key = file.read_text().partition("-----BEGIN PRIVATE")
    return {"certificate": certificate, "private_key": "-----BEGIN PRIVATE" + key}


def _key(file: Path) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(file)]


def _joined(file: Path, *parts: Path) -> Path:
    file.write_text("".join(part.read_text() for part in parts))
    return file


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
