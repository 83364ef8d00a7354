"""Tokens: 256 random bits, only a hash on disk, and changes that count at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.server.tokens import FILE_NAME, Tokens, add_token, list_tokens, remove_token


def code_of(action: object, *arguments: object) -> str:
    with pytest.raises(SipProfileError) as caught:
        action(*arguments)  # type: ignore[operator]
    return caught.value.code


class TestAdd:
    def test_token_is_found_with_its_capabilities(self, tmp_path: Path) -> None:
        text = add_token(tmp_path, "panel", ["use", "read"])
        token = Tokens(tmp_path).find(text)
        assert token is not None
        assert (token.name, token.capabilities) == ("panel", ["read", "use"])

    def test_text_is_not_on_disk(self, tmp_path: Path) -> None:
        text = add_token(tmp_path, "panel", ["read"])
        secret = text.removeprefix("sipp_")
        assert len(secret) == 43  # 256 bits
        assert secret not in (tmp_path / FILE_NAME).read_text()

    def test_only_the_owner_can_read_the_file(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            add_token(tmp_path, "panel", ["read"])
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600

    def test_nothing_is_left_beside_the_file(self, tmp_path: Path) -> None:
        add_token(tmp_path, "panel", ["read"])
        assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]

    def test_two_tokens_differ(self, tmp_path: Path) -> None:
        assert add_token(tmp_path, "one", ["read"]) != add_token(tmp_path, "two", ["read"])
        assert [token.name for token in list_tokens(tmp_path)] == ["one", "two"]

    @pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "a\nb"])
    def test_bad_name(self, tmp_path: Path, name: str) -> None:
        assert code_of(add_token, tmp_path, name, ["read"]) == "invalid_value"

    def test_used_name(self, tmp_path: Path) -> None:
        add_token(tmp_path, "panel", ["read"])
        assert code_of(add_token, tmp_path, "panel", ["use"]) == "invalid_value"

    def test_unknown_capability_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SipProfileError) as caught:
            add_token(tmp_path, "panel", ["read", "sudo"])
        assert caught.value.value == "sudo"
        assert list_tokens(tmp_path) == []

    def test_before_the_first_start(self, tmp_path: Path) -> None:
        state = tmp_path / "state"
        add_token(state, "panel", ["read"])
        assert stat.S_IMODE(state.stat().st_mode) == 0o750

    def test_state_directory_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert code_of(add_token, tmp_path / "file" / "state", "panel", ["read"]) == "bad_configuration"


class TestRunningService:
    """The daemon sees changes of the file without being told."""

    def test_new_token(self, tmp_path: Path) -> None:
        tokens = Tokens(tmp_path)
        assert tokens.find("sipp_x") is None
        assert tokens.find(add_token(tmp_path, "late", ["read"])) is not None

    def test_removed_token(self, tmp_path: Path) -> None:
        text = add_token(tmp_path, "panel", ["read"])
        other = add_token(tmp_path, "other", ["read"])
        tokens = Tokens(tmp_path)
        assert tokens.find(text) is not None
        remove_token(tmp_path, "panel")
        assert tokens.find(text) is None
        assert tokens.find(other) is not None

    def test_file_that_is_gone_gives_nobody_rights(self, tmp_path: Path) -> None:
        text = add_token(tmp_path, "panel", ["read"])
        tokens = Tokens(tmp_path)
        assert tokens.find(text) is not None
        (tmp_path / FILE_NAME).unlink()
        assert tokens.find(text) is None

    def test_hash_is_no_token(self, tmp_path: Path) -> None:
        add_token(tmp_path, "panel", ["read"])
        assert Tokens(tmp_path).find(list_tokens(tmp_path)[0].sha256) is None

    def test_damaged_file_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        (tmp_path / FILE_NAME).write_text("{")
        with pytest.raises(SipProfileError, match=FILE_NAME):
            Tokens(tmp_path).find("x")


def test_removing_an_unknown_token(tmp_path: Path) -> None:
    assert code_of(remove_token, tmp_path, "none") == "not_found"
