"""Secrets at rest: AES-256-GCM (NIST SP 800-38D), bound to the profile and field they belong to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sipprofile.errors import SipProfileError
from sipprofile.store import files

KEY_LENGTH = 32  # bytes, AES-256
NONCE_LENGTH = 12  # bytes, NIST SP 800-38D §8.2.2: random
VERSION = "v1"


class _KeyFile(msgspec.Struct):
    current: str
    keys: dict[str, str]
    """Base64 by key id."""


class KeyRing:
    """The keys of the store's secrets: the current one seals, every one opens what it has sealed.

    The ring follows its file: when another process has rotated the key, the next secret gets the new one.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str | None, path: Path | None = None) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._set(keys, current)

    def __repr__(self) -> str:
        return f"KeyRing(current={self.current!r}, path={self._path})"

    @classmethod
    def read(cls, path: Path) -> KeyRing:
        """The ring in the key file; empty when there is none, and :meth:`create` then makes it.

        Raises ``missing_key`` when it holds no usable key, ``bad_configuration`` when others can read it.
        """
        ring = cls({}, None, path)
        ring._read_file()
        return ring

    @classmethod
    def of_credential(cls, content: bytes) -> KeyRing:
        """The ring in a systemd credential: a key file's content, or one base64 line of 32 random bytes."""
        if content.lstrip().startswith(b"{"):
            return cls(*_parsed(content, "the credential"))
        key = _key(content.decode("ascii", "replace").strip(), "the credential")
        return cls({_key_id(key): key}, _key_id(key))

    @classmethod
    def generate(cls) -> KeyRing:
        """A new key that lives in memory only, for tests and simulations."""
        ring = cls({}, None)
        ring.create()
        return ring

    @property
    def current(self) -> str | None:
        """The id of the key that seals; ``None`` while the ring is empty."""
        return self._current

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(self._keys)

    def create(self) -> None:
        """Make the first key, on disk before it seals anything; called while nothing is sealed yet."""
        if not self._keys:
            self._add()

    def rotate(self) -> None:
        """Make a new current key; older ones stay, earlier backups need them. ``Store.reseal`` comes next.

        Raises ``not_supported`` when the key is a credential, which only its owner can change.
        """
        if self._path is None and self._keys:
            raise SipProfileError(
                "not_supported",
                "The key is a credential of the service manager; add a new key there and make it 'current'.",
            )
        self._reread()
        self._add()

    def write(self, path: Path) -> None:
        """Write the ring into a new file, for a backup; raises ``FileExistsError``."""
        descriptor = files.create(path)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._document())
            file.flush()
            os.fsync(descriptor)

    def seal(self, plaintext: str, associated: str) -> str:
        """``v1:key id:base64`` of ``plaintext``; it opens only with the same ``associated`` text."""
        self._reread()
        current = self._current
        if current is None:
            raise SipProfileError("missing_key", "There is no key to seal secrets with.")
        nonce = os.urandom(NONCE_LENGTH)
        content = nonce + self._ciphers[current].encrypt(nonce, plaintext.encode(), associated.encode())
        return f"{VERSION}:{current}:{base64.b64encode(content).decode()}"

    def open(self, sealed: str, associated: str) -> str:
        """The text that was sealed.

        Raises ``missing_key`` when its key is not here, ``store_damaged`` when it was altered or moved.
        """
        version, _, rest = sealed.partition(":")
        key_id, _, content = rest.partition(":")
        if version != VERSION or not content:
            raise SipProfileError("store_damaged", f"The secret of {associated} is not a sealed value.")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            self._reread()
            cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise missing(key_id)
        try:
            raw = binascii.a2b_base64(content)
            return cipher.decrypt(raw[:NONCE_LENGTH], raw[NONCE_LENGTH:], associated.encode()).decode()
        except (InvalidTag, ValueError):
            raise SipProfileError("store_damaged", f"The secret of {associated} was altered.") from None

    def _set(self, keys: Mapping[str, bytes], current: str | None) -> None:
        self._keys = dict(keys)
        # In this order: another thread that sees the new id must find its cipher.
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current

    def _add(self) -> None:
        key = os.urandom(KEY_LENGTH)
        before = self._keys, self._current
        self._set({**self._keys, _key_id(key): key}, _key_id(key))
        if self._path is None:
            return
        try:
            files.replace(self._path, self._document())
            self._seen = _signature(self._path.stat())
        except OSError as error:
            self._set(*before)
            raise SipProfileError("store_failed", f"The key file {self._path}: {error.strerror}.") from None

    def _document(self) -> bytes:
        keys = {key_id: base64.b64encode(key).decode() for key_id, key in self._keys.items()}
        return msgspec.json.format(msgspec.json.encode(_KeyFile(self._current or "", keys))) + b"\n"

    def _reread(self) -> None:
        if self._path is not None and self._seen is not None:
            self._read_file()

    def _read_file(self) -> None:
        assert self._path is not None
        try:
            found = self._path.stat()
            if _signature(found) == self._seen:
                return
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise SipProfileError(
                    "bad_configuration",
                    f"The key file {self._path} can be read by others; run 'chmod 600 {self._path}'.",
                    value=oct(stat.S_IMODE(found.st_mode)),
                )
            self._set(*_parsed(self._path.read_bytes(), f"the key file {self._path}"))
            self._seen = _signature(found)
        except FileNotFoundError:
            return  # not made yet; or taken away from a running service, which goes on with what it knows
        except OSError as error:
            raise SipProfileError("missing_key", f"The key file {self._path}: {error.strerror}.") from None


def missing(key_id: str) -> SipProfileError:
    """The error that says which key is needed."""
    return SipProfileError("missing_key", f"The store holds secrets sealed with the key {key_id}, which is not here.")


def key_of(sealed: str) -> str:
    """The id of the key that sealed this value."""
    return sealed.split(":", 2)[1]


def _key_id(key: bytes) -> str:
    """A key's fingerprint: a file that was mixed up or cut off is noticed before it is used."""
    return hashlib.sha256(b"sipprofile key id" + key).hexdigest()[:12]


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        raise SipProfileError("missing_key", f"A key in {where} is not base64.") from None
    if len(key) != KEY_LENGTH:
        raise SipProfileError("missing_key", f"A key in {where} has {len(key)} bytes instead of {KEY_LENGTH}.")
    return key


def _parsed(content: bytes, where: str) -> tuple[dict[str, bytes], str]:
    try:
        document = msgspec.json.decode(content, type=_KeyFile)
    except msgspec.DecodeError:
        raise SipProfileError("missing_key", f"Not a key file: {where}.") from None
    keys = {key_id: _key(text, where) for key_id, text in document.keys.items()}
    for key_id, key in keys.items():
        if _key_id(key) != key_id:
            raise SipProfileError("missing_key", f"The key {key_id} in {where} was altered.")
    if document.current not in keys:
        raise SipProfileError("missing_key", f"The current key {document.current!r} is not in {where}.")
    return keys, document.current


def _signature(found: os.stat_result) -> tuple[int, int]:
    return found.st_mtime_ns, found.st_ino
