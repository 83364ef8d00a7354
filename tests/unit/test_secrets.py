"""Secrets at rest, and the keys that open them."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.store import files
from sipprofile.store.secrets import KeyRing

PLACE = "profile:7:registrar.password"


def ring(path: Path) -> KeyRing:
    keys = KeyRing.read(path)
    keys.create()
    return keys


def code_of(error: pytest.ExceptionInfo[SipProfileError]) -> str:
    return error.value.code


class TestSealing:
    @pytest.mark.parametrize("secret", ["", "s3cret", "pässwörd ☎", "v1:abc:def", "x" * 10_000])
    def test_what_was_sealed_opens(self, secret: str) -> None:
        keys = KeyRing.generate()
        assert keys.open(keys.seal(secret, PLACE), PLACE) == secret

    def test_form_is_version_key_id_base64(self) -> None:
        keys = KeyRing.generate()
        version, key_id, content = keys.seal("s3cret", PLACE).split(":")
        assert (version, key_id) == ("v1", keys.current)
        assert b"s3cret" not in base64.b64decode(content)

    def test_the_same_secret_never_looks_the_same(self) -> None:
        keys = KeyRing.generate()
        assert len({keys.seal("s3cret", PLACE) for _ in range(100)}) == 100

    def test_it_does_not_open_at_another_place(self) -> None:
        keys = KeyRing.generate()
        sealed = keys.seal("s3cret", PLACE)
        with pytest.raises(SipProfileError) as error:
            keys.open(sealed, "profile:8:registrar.password")
        assert code_of(error) == "store_damaged"

    def test_an_altered_value_does_not_open(self) -> None:
        keys = KeyRing.generate()
        sealed = keys.seal("s3cret", PLACE)
        for at in range(len("v1:") + len(keys.current or "") + 1, len(sealed)):
            altered = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
            if base64.b64decode(altered.split(":")[2] + "==") == base64.b64decode(sealed.split(":")[2] + "=="):
                continue  # the unused bits at the end of base64
            with pytest.raises(SipProfileError) as error:
                keys.open(altered, PLACE)
            assert code_of(error) == "store_damaged"

    @pytest.mark.parametrize("value", ["", "s3cret", "v1", "v1:", "v1:k", "v1:k:", "v2:k:AAAA"])
    def test_what_was_never_sealed_does_not_open(self, value: str) -> None:
        with pytest.raises(SipProfileError) as error:
            KeyRing.generate().open(value, PLACE)
        assert code_of(error) == "store_damaged"
        assert "s3cret" not in str(error.value)

    @pytest.mark.parametrize("content", ["!", "AAAA", "AA=A", "ä"])
    def test_rubbish_under_a_known_key_is_damage(self, content: str) -> None:
        keys = KeyRing.generate()
        with pytest.raises(SipProfileError) as error:
            keys.open(f"v1:{keys.current}:{content}", PLACE)
        assert code_of(error) == "store_damaged"

    def test_a_foreign_key_is_named(self) -> None:
        sealed = KeyRing.generate().seal("s3cret", PLACE)
        with pytest.raises(SipProfileError) as error:
            KeyRing.generate().open(sealed, PLACE)
        assert code_of(error) == "missing_key"
        assert sealed.split(":")[1] in error.value.detail

    def test_an_empty_ring_seals_nothing(self) -> None:
        with pytest.raises(SipProfileError) as error:
            KeyRing({}, None).seal("s3cret", PLACE)
        assert code_of(error) == "missing_key"


class TestKeyFile:
    def test_reading_makes_nothing(self, tmp_path: Path) -> None:
        assert KeyRing.read(tmp_path / "key").current is None
        assert list(tmp_path.iterdir()) == []

    def test_it_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        mask = os.umask(0)
        try:
            keys = ring(tmp_path / "key")
            keys.rotate()
        finally:
            os.umask(mask)
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["key"]

    def test_it_opens_after_a_restart(self, tmp_path: Path) -> None:
        sealed = ring(tmp_path / "key").seal("s3cret", PLACE)
        assert KeyRing.read(tmp_path / "key").open(sealed, PLACE) == "s3cret"

    def test_creating_twice_keeps_the_key(self, tmp_path: Path) -> None:
        keys = ring(tmp_path / "key")
        before = keys.current
        keys.create()
        assert keys.current == before

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
    def test_others_must_not_read_or_write_it(self, tmp_path: Path, mode: int) -> None:
        ring(tmp_path / "key")
        (tmp_path / "key").chmod(mode)
        with pytest.raises(SipProfileError, match="chmod 600") as error:
            KeyRing.read(tmp_path / "key")
        assert code_of(error) == "bad_configuration"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b'{"current": "a"}',
            b'{"current": "a", "keys": {}}',
            b'{"current": "a", "keys": {"a": "AAAA"}}',
            b'{"current": "a", "keys": {"a": "not base64!"}}',
            b'{"current": "a", "keys": {"a": "%s"}}' % base64.b64encode(bytes(32)),
            b"\xff\xfe",
        ],
    )
    def test_what_is_no_key_is_a_missing_key(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(SipProfileError) as error:
            KeyRing.read(tmp_path / "key")
        assert code_of(error) == "missing_key"

    def test_errors_and_repr_show_no_key(self, tmp_path: Path) -> None:
        keys = ring(tmp_path / "key")
        document = json.loads((tmp_path / "key").read_bytes())
        (secret,) = document["keys"].values()
        assert secret not in repr(keys)
        document["keys"] = {"mistaken": secret}
        (tmp_path / "key").write_text(json.dumps(document))
        with pytest.raises(SipProfileError) as error:
            KeyRing.read(tmp_path / "key")
        assert secret not in str(error.value)
        assert secret not in str(error.value.problem())


class TestRotation:
    def test_the_new_key_seals_and_the_old_one_opens(self, tmp_path: Path) -> None:
        keys = ring(tmp_path / "key")
        old = keys.seal("s3cret", PLACE)
        keys.rotate()
        assert keys.seal("s3cret", PLACE).split(":")[1] != old.split(":")[1]
        assert KeyRing.read(tmp_path / "key").open(old, PLACE) == "s3cret"

    def test_another_process_follows(self, tmp_path: Path) -> None:
        service = ring(tmp_path / "key")
        operator = KeyRing.read(tmp_path / "key")
        operator.rotate()
        assert service.open(operator.seal("s3cret", PLACE), PLACE) == "s3cret"
        assert service.seal("s3cret", PLACE).split(":")[1] == operator.current

    def test_two_rotations_side_by_side_lose_no_key(self, tmp_path: Path) -> None:
        one = ring(tmp_path / "key")
        other = KeyRing.read(tmp_path / "key")
        one.rotate()
        other.rotate()
        assert one.ids < KeyRing.read(tmp_path / "key").ids

    def test_a_service_whose_key_file_was_taken_away_goes_on(self, tmp_path: Path) -> None:
        keys = ring(tmp_path / "key")
        (tmp_path / "key").unlink()
        assert keys.open(keys.seal("s3cret", PLACE), PLACE) == "s3cret"
        assert not (tmp_path / "key").exists()

    def test_a_crash_while_writing_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = ring(tmp_path / "key")
        before = (tmp_path / "key").read_bytes()

        def disk_full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", disk_full)
        with pytest.raises(SipProfileError, match="No space left") as error:
            keys.rotate()
        monkeypatch.undo()
        assert code_of(error) == "store_failed"
        assert (tmp_path / "key").read_bytes() == before
        assert keys.ids == KeyRing.read(tmp_path / "key").ids
        keys.rotate()
        assert len(KeyRing.read(tmp_path / "key").ids) == 2


class TestCredential:
    def test_a_key_file_serves(self, tmp_path: Path) -> None:
        sealed = ring(tmp_path / "key").seal("s3cret", PLACE)
        assert KeyRing.of_credential((tmp_path / "key").read_bytes()).open(sealed, PLACE) == "s3cret"

    def test_one_line_of_base64_serves(self) -> None:
        line = base64.b64encode(os.urandom(32)) + b"\n"
        sealed = KeyRing.of_credential(line).seal("s3cret", PLACE)
        assert KeyRing.of_credential(line).open(sealed, PLACE) == "s3cret"

    @pytest.mark.parametrize("content", [b"", b"\n", b"c2hvcnQ=", b"not base64", b"\xff" * 32])
    def test_anything_else_is_a_missing_key(self, content: bytes) -> None:
        with pytest.raises(SipProfileError) as error:
            KeyRing.of_credential(content)
        assert code_of(error) == "missing_key"

    def test_the_service_cannot_rotate_it(self) -> None:
        with pytest.raises(SipProfileError) as error:
            KeyRing.of_credential(base64.b64encode(bytes(32))).rotate()
        assert code_of(error) == "not_supported"
