"""What a source of access tokens gives, and what it must not (RFC 6749 §5.1, RFC 7519, RFC 8898)."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.server import token_sources
from sipprofile.server.configuration import TokenSource, decode
from sipprofile.server.token_sources import TokenUnavailable, fetch_token, read_token
from sipprofile.sip.bearer import asks_for_bearer

UTC = 1_700_000_000.0


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2ln"


class TestContent:
    @pytest.mark.parametrize(
        ("content", "token", "lifetime"),
        [
            ("abc.DEF-_~+/==\n", "abc.DEF-_~+/==", None),
            ('{"access_token": "abc", "expires_in": 300}', "abc", 300.0),
            (f'{{"access_token": "abc", "expires_at": {UTC + 60}}}', "abc", 60.0),
            ('{"access_token": "abc", "token_type": "Bearer"}', "abc", None),
            (jwt(exp=UTC + 90), jwt(exp=UTC + 90), 90.0),
            (json.dumps({"access_token": jwt(exp=UTC + 90)}), jwt(exp=UTC + 90), 90.0),
            (jwt(sub="alice"), jwt(sub="alice"), None),
            ("a.b.c", "a.b.c", None),
        ],
    )
    def test_what_is_understood(self, content: str, token: str, lifetime: float | None) -> None:
        assert read_token(content.encode(), UTC) == (token, lifetime)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"two words",
            b"a\r\nX-Injected: yes",
            b"\xff\xfe",
            b"{",
            b'{"access_token": 7}',
            b'{"access_token": "a b"}',
            b'{"token": "abc"}',
            b'{"access_token": "abc", "expires_in": 0}',
            jwt(exp=UTC - 1).encode(),
            b"{" * 60_000,
        ],
    )
    def test_what_is_refused_and_not_repeated(self, content: bytes) -> None:
        with pytest.raises(TokenUnavailable) as caught:
            read_token(content, UTC)
        assert len(content) < 5 or content.decode("latin-1") not in str(caught.value)


class TestFile:
    async def test_it_is_read_each_time(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        source = TokenSource(file=str(path))
        with pytest.raises(TokenUnavailable, match="No such file"):
            await fetch_token(source, UTC)
        for text in ("one", "two"):
            path.write_text(text)
            assert await fetch_token(source, UTC) == (text, None)

    async def test_one_that_is_too_long(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_bytes(b"a" * 70_000)
        with pytest.raises(TokenUnavailable, match="longer"):
            await fetch_token(TokenSource(file=str(path)), UTC)

    async def test_a_source_that_is_not_configured(self) -> None:
        with pytest.raises(TokenUnavailable):
            await fetch_token(None, UTC)


class TestCommand:
    async def run(self, program: str) -> tuple[str, float | None]:
        return await fetch_token(TokenSource(command=(sys.executable, "-c", program)), UTC)

    async def test_what_it_prints(self) -> None:
        assert await self.run("print('abc')") == ("abc", None)

    async def test_one_that_fails(self) -> None:
        with pytest.raises(TokenUnavailable, match="status 3") as caught:
            await self.run("print('verysecret'); raise SystemExit(3)")
        assert "verysecret" not in str(caught.value)

    async def test_one_that_is_not_there(self) -> None:
        with pytest.raises(TokenUnavailable, match="cannot be started"):
            await fetch_token(TokenSource(command=("/nowhere/at/all",)), UTC)

    async def test_one_that_prints_without_end(self) -> None:
        with pytest.raises(TokenUnavailable, match="more than"):
            await self.run("while True: print('a' * 1000)")

    async def test_one_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(token_sources, "COMMAND_LIMIT", 0.2)
        with pytest.raises(TokenUnavailable, match="longer than"):
            await self.run("import time; time.sleep(60)")


@pytest.mark.parametrize("keys", ["", 'file = "/x"\ncommand = ["/y"]', 'files = "/x"'])
def test_a_source_has_either_a_file_or_a_command(keys: str) -> None:
    with pytest.raises(SipProfileError) as caught:
        decode(f"[token_sources.cloud]\n{keys}\n", "sipprofile.toml")
    assert caught.value.code == "bad_configuration"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['Bearer realm="x", scope="a b"'], True),
        (['Digest realm="Bearer x", nonce="Bearer "', "bearer"], True),
        (['Digest realm="a", nonce="b", Bearer realm="c"'], True),
        (['Digest realm="a, Bearer b", nonce="b"'], False),
        (["Bearers x"], False),
        ([], False),
        (['"'], False),
    ],
)
def test_challenges(lines: list[str], expected: bool) -> None:
    assert asks_for_bearer(lines) is expected
