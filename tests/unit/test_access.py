"""Who is asking and what they may do: the kernel's word on a Unix socket, tokens, Host and Origin on TCP."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sipprofile.errors import SipProfileError
from sipprofile.server.access import ALL, Access, PeerRights, peer_of
from sipprofile.server.routes import problem_answer
from sipprofile.server.tokens import Tokens, add_token

NOBODY = 65534
STRANGER = 54321


def access(state: Path, **changes: tuple[str, ...]) -> Access:
    settings: dict[str, tuple[str, ...]] = {"allowed_hosts": ("localhost",), "allowed_origins": ()}
    return Access(PeerRights({}, {}), Tokens(state), **{**settings, **changes})


class TestPeer:
    """unix(7): SO_PEERCRED and SO_PEERGROUPS."""

    def test_own_process(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            peer = peer_of(one.fileno())
            assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
            assert peer.groups == {os.getgid(), *os.getgroups()}
            one.send(b"the socket stays open")


class TestPeerRights:
    """Own uid and root everything, the named what they are given, others nothing."""

    def test_own_uid(self) -> None:
        assert PeerRights({}, {}).capabilities(os.geteuid(), ()) == ALL

    def test_own_uid_cannot_be_shut_out(self) -> None:
        assert PeerRights({str(os.geteuid()): []}, {}).capabilities(os.geteuid(), ()) == ALL

    def test_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
        assert PeerRights({}, {}).capabilities(0, ()) == ALL
        assert PeerRights({"root": ["read"]}, {}).capabilities(0, ()) == {"read"}

    def test_others_nothing(self) -> None:
        rights = PeerRights({"1": ["read"]}, {"2": ["use"]})
        assert rights.capabilities(STRANGER, (STRANGER,)) == frozenset()

    def test_user_and_groups_together(self) -> None:
        rights = PeerRights({str(STRANGER): ["read"]}, {"7": ["use"], "8": ["control"], "9": ["write"]})
        assert rights.capabilities(STRANGER, (7, 8)) == {"read", "use", "control"}

    def test_names(self) -> None:
        rights = PeerRights({"nobody": ["read"], "no-such-user": ["read"]}, {"no-such-group": ["use"]})
        assert rights.capabilities(NOBODY, ()) == {"read"}
        assert rights.unknown == ["user no-such-user", "group no-such-group"]


class TestBearer:
    """RFC 6750 §2.1."""

    def test_token(self, tmp_path: Path) -> None:
        text = add_token(tmp_path, "panel", ["read", "use"])
        token = access(tmp_path).bearer(f"Bearer {text}")
        assert (token.name, token.capabilities) == ("panel", ["read", "use"])
        assert access(tmp_path).bearer(f"bearer  {text} ") == token

    @pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer wrong", "Bearer \udcff", "Basic dXNlcjp4", ""])
    def test_anything_else(self, tmp_path: Path, header: str) -> None:
        add_token(tmp_path, "panel", ["read"])
        with pytest.raises(SipProfileError) as caught:
            access(tmp_path).bearer(header)
        assert caught.value.code == "unauthenticated"

    @pytest.mark.parametrize("header", ["Bearer sipp_secret", "sipp_secret"])
    def test_refusal_does_not_repeat_the_token(self, tmp_path: Path, header: str) -> None:
        with pytest.raises(SipProfileError) as caught:
            access(tmp_path).bearer(header)
        assert "sipp_secret" not in repr(caught.value.problem())


class TestHost:
    """A name that was rebound to our address must not reach the interface."""

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8443", "127.0.0.1:80", "[::1]:80", "192.0.2.1"])
    def test_accepted(self, tmp_path: Path, host: str) -> None:
        access(tmp_path).check_site(host, None, changes=True)

    @pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8443", "localhost.evil.example"])
    def test_refused(self, tmp_path: Path, host: str) -> None:
        with pytest.raises(SipProfileError, match=r"listen\.allowed_hosts"):
            access(tmp_path).check_site(host, None, changes=False)

    def test_configured(self, tmp_path: Path) -> None:
        access(tmp_path, allowed_hosts=("sip.example.com",)).check_site("SIP.example.com:1", None, changes=True)


class TestOrigin:
    """RFC 6454: pages of other origins cannot change anything."""

    def test_own_origin(self, tmp_path: Path) -> None:
        access(tmp_path).check_site("localhost:8443", "https://localhost:8443", changes=True)

    @pytest.mark.parametrize("origin", ["https://evil.example", "https://localhost:1", "null", ""])
    def test_other_origin(self, tmp_path: Path, origin: str) -> None:
        with pytest.raises(SipProfileError, match=r"listen\.allowed_origins"):
            access(tmp_path).check_site("localhost:8443", origin, changes=True)

    def test_reading_is_left_to_the_browser(self, tmp_path: Path) -> None:
        access(tmp_path).check_site("localhost:8443", "https://evil.example", changes=False)

    def test_configured(self, tmp_path: Path) -> None:
        allowed = access(tmp_path, allowed_origins=("https://Panel.example/",))
        allowed.check_site("localhost", "https://panel.example", changes=True)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Path, int, str]]:
    """An application that says who asks, on a Unix socket and on TCP; and a token for it."""
    token = add_token(tmp_path, "panel", ["read"])
    guard = access(tmp_path)

    async def who(request: web.Request) -> web.Response:
        try:
            actor = guard.actor(request)
        except SipProfileError as error:
            return problem_answer(error)
        return web.json_response({"label": actor.label, "uid": actor.uid, "may": sorted(actor.capabilities)})

    app = web.Application()
    app.router.add_route("*", "/", who)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "sock")).start()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield tmp_path / "sock", runner.addresses[-1][1], token
    await runner.cleanup()


class TestRequest:
    """The whole way from a connection to an actor."""

    async def test_unix_peer_needs_no_token(self, served: tuple[Path, int, str]) -> None:
        path, _, _ = served
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
            client.post("http://any.name/", headers={"Origin": "https://evil.example"}) as answer,
        ):
            document = await answer.json()
        assert (document["uid"], document["may"]) == (os.getuid(), sorted(ALL))

    async def test_unix_peer_with_a_token_has_the_rights_of_the_token(self, served: tuple[Path, int, str]) -> None:
        path, _, token = served
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)), headers=headers) as client,
            client.get("http://any.name/") as answer,
        ):
            assert await answer.json() == {"label": "token:panel", "uid": None, "may": ["read"]}

    async def test_tcp_needs_a_token(self, served: tuple[Path, int, str]) -> None:
        _, port, token = served
        url = f"http://127.0.0.1:{port}/"
        async with aiohttp.ClientSession() as client:
            async with client.get(url) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert (await answer.json(content_type=None))["code"] == "unauthenticated"
            async with client.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
                assert (await answer.json())["label"] == "token:panel"

    async def test_websocket_of_another_origin(self, served: tuple[Path, int, str]) -> None:
        _, port, token = served
        headers = {"Authorization": f"Bearer {token}", "Origin": "https://evil.example", "Upgrade": "WebSocket"}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.get(f"http://127.0.0.1:{port}/") as answer,
        ):
            assert answer.status == 403
