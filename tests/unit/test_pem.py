"""TLS settings of a profile: what is refused at save, kept, and never shown."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from certificates import AUTHORITY, issue

from sipprofile.agents.ietf import IetfAgent
from sipprofile.agents.pem import MAXIMUM_PEM
from sipprofile.errors import SipProfileError
from sipprofile.profile import Identity, Profile, ServerParameters, TlsSettings, decode, public, with_kept_secrets
from sipprofile.server import tls_settings

AGENT = IetfAgent()
OWN = issue("client.test", by=AUTHORITY)
GOOD = TlsSettings("sip.example.test", AUTHORITY.pem, OWN.pem, OWN.key_pem)
URI = "sip:example.test;transport=tls"


def profile(tls: TlsSettings | None, uri: str = URI) -> Profile:
    server = ServerParameters(uri, tls=tls)
    return Profile(name="one", aor="sip:alice@example.test", registrar=server, proxies=[server])


def refused(**settings: Any) -> SipProfileError:
    with pytest.raises(SipProfileError) as raised:
        AGENT.validate(profile(msgspec.structs.replace(GOOD, **settings)))
    return raised.value


class TestRefused:
    def test_good_ones_are_not(self) -> None:
        AGENT.validate(profile(GOOD))
        AGENT.validate(profile(TlsSettings(ca=(AUTHORITY.pem + OWN.pem).replace("\n", "\r\n"))))
        AGENT.validate(profile(TlsSettings(server_name="2001:db8::1")))

    @pytest.mark.parametrize("name", ["ca", "certificate", "private_key"])
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "not PEM"),
            ("/etc/ssl/cert.pem", "not PEM"),
            (AUTHORITY.pem.replace("-----END", "-----FIN"), ""),
            (AUTHORITY.pem[:300] + "\n-----END CERTIFICATE-----\n", ""),
            ("-----BEGIN CERTIFICATE-----\n", ""),
            ("-----BEGIN PRIVATE KEY-----\nMAA=x!\n-----END PRIVATE KEY-----\n", ""),
            ("-----BEGIN PGP MESSAGE-----\nMAA=\n-----END PGP MESSAGE-----\n", "does not belong"),
            (AUTHORITY.pem + "\0", "characters"),
            ("x" * (MAXIMUM_PEM + 1), "longer"),
        ],
    )
    def test_what_is_no_pem(self, name: str, text: str, said: str) -> None:
        error = refused(**{name: text})
        assert (error.code, error.field) == ("invalid_value", f"registrar.tls.{name}")
        assert said in error.detail
        assert len(error.members["problems"]) == 2  # the proxy's, too

    @pytest.mark.parametrize("name", ["ca", "certificate"])
    def test_a_key_among_certificates_is_not_repeated(self, name: str) -> None:
        error = refused(**{name: OWN.pem + OWN.key_pem})
        assert error.field == f"registrar.tls.{name}"
        assert OWN.key_pem[40:60] not in str(error.problem())

    def test_a_key_with_a_passphrase(self) -> None:
        old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END RSA PRIVATE KEY-----\n"
        for text in (OWN.encrypted_key_pem(b"secret"), old):
            assert "passphrase" in refused(private_key=text).detail

    def test_certificate_and_key_go_together(self) -> None:
        assert refused(private_key=None).field == "registrar.tls.private_key"
        assert refused(certificate=None).field == "registrar.tls.certificate"

    @pytest.mark.parametrize("name", ["", "a b", "a:5061", "x" * 300, "a\r\nb"])
    def test_server_names(self, name: str) -> None:
        assert refused(server_name=name).field == "registrar.tls.server_name"

    def test_what_only_openssl_can_tell(self) -> None:
        other = issue("client.test", by=AUTHORITY)
        error = tls_settings.problem(profile(msgspec.structs.replace(GOOD, private_key=other.key_pem)))
        assert error is not None
        assert (error.code, error.field) == ("invalid_value", "registrar.tls.private_key")
        assert tls_settings.problem(profile(GOOD)) is None
        assert tls_settings.problem(profile(None)) is None


class TestSecrets:
    def test_a_key_is_never_shown(self) -> None:
        shown = public(profile(GOOD))
        for server in (shown["registrar"], shown["proxies"][0]):
            assert "private_key" not in server["tls"]
            assert server["tls"]["private_key_set"] is True
            assert server["tls"]["certificate"] == OWN.pem
        assert OWN.key_pem not in repr(profile(GOOD)) + repr(AGENT.plan(profile(GOOD), "t"))
        assert "BEGIN" not in repr(profile(GOOD)) + repr(AGENT.plan(profile(GOOD), "t"))

    def test_what_was_read_can_be_saved_and_keeps_it(self) -> None:
        current = profile(GOOD)
        assert decode(with_kept_secrets(public(current), current)) == current

    def test_null_clears_it_and_another_certificate_asks_for_another_key(self) -> None:
        current = profile(GOOD)
        document = public(current)
        document["registrar"]["tls"].update(certificate=None)
        document["proxies"][0]["tls"].update(private_key=None)
        saved = decode(with_kept_secrets(document, current))
        assert saved.registrar is not None
        assert saved.registrar.tls is not None
        assert saved.registrar.tls.private_key is None
        assert saved.proxies[0].tls is not None
        assert saved.proxies[0].tls.private_key is None


class TestIdentity:
    """Whom a connection leads to, and as whom we come."""

    @pytest.mark.parametrize(
        ("uri", "tls", "expected"),
        [
            ("sips:example.test", None, None),  # the URI says it all
            ("sips:example.test", TlsSettings(ca=AUTHORITY.pem), Identity("example.test", ca=AUTHORITY.pem)),
            (URI, GOOD, Identity("sip.example.test", "/", AUTHORITY.pem, OWN.pem, OWN.key_pem)),
            ("sip:[2001:db8::1];transport=wss", TlsSettings(ca="x"), Identity("2001:db8::1", ca="x")),
            ("sips:example.test;maddr=192.0.2.1", None, Identity("example.test")),
        ],
    )
    def test_of_a_server(self, uri: str, tls: TlsSettings | None, expected: Identity | None) -> None:
        plan = AGENT.plan(profile(tls, uri), "t")
        assert [hop.identity for hop in plan.hops] == [expected]

    def test_the_path_of_a_websocket_is_an_extension_parameter(self) -> None:
        server = ServerParameters("sip:example.test;transport=wss", extensions={"ws-path": "/sip?a=b"})
        one = msgspec.structs.replace(profile(None), registrar=server, proxies=[])
        AGENT.validate(one)
        assert AGENT.plan(one, "t").hops[0].identity == Identity("example.test", "/sip?a=b")
        for bad in ("ws", "/a b", "/\r\n", 5):
            server.extensions = {"ws-path": bad}
            with pytest.raises(SipProfileError):
                AGENT.validate(one)


class TestSips:
    """RFC 3261 §8.1.1.8, §26.2.2: sips all the way or not at all."""

    def plan(self, aor: str, *uris: str) -> Any:
        registrar = ServerParameters(uris[0]) if uris else None
        proxies = [ServerParameters(uri) for uri in uris[1:]]
        one = Profile(name="one", aor=aor, registrar=registrar, proxies=proxies)
        AGENT.validate(one)
        return AGENT.plan(one, "t")

    @pytest.mark.parametrize(
        ("aor", "registrar", "request_uri", "protocol", "port"),
        [
            ("sips:a@b.test", None, "sips:b.test", "tls", 5061),
            ("sips:a@b.test", "sips:r.test:5070", "sips:r.test:5070", "tls", 5070),
            ("sips:a@b.test", "sip:r.test;transport=tls", "sips:r.test", "tls", 5061),
            ("sips:a@b.test", "sips:r.test;transport=tcp", "sips:r.test;transport=tcp", "tls", 5061),
            ("sips:a@b.test", "sip:r.test;transport=wss", "sips:r.test;transport=ws", "wss", 443),
            ("sip:a@b.test", "sips:r.test", "sip:r.test;transport=tls", "tls", 5061),
            ("sip:a@b.test", "sips:r.test;transport=ws", "sip:r.test;transport=wss", "wss", 443),
            ("sip:a@b.test", "sip:r.test;transport=tls", "sip:r.test;transport=tls", "tls", 5061),
            ("sip:a@b.test", "sip:r.test;transport=ws", "sip:r.test;transport=ws", "ws", 80),
            ("sip:a@b.test", "sip:r.test", "sip:r.test", "udp", 5060),
        ],
    )
    def test_the_request_uri_has_the_scheme_of_the_aor(
        self, aor: str, registrar: str | None, request_uri: str, protocol: str, port: int
    ) -> None:
        plan = self.plan(aor, *([registrar] if registrar else []))
        assert (plan.request_uri, plan.hops[0].server.protocol) == (request_uri, protocol)
        assert plan.registrar.endswith(f":{port}")

    def test_so_has_the_route(self) -> None:
        assert self.plan("sip:a@b.test", "sip:b.test", "sips:p.test").hops[0].route == "<sip:p.test;transport=tls;lr>"
        plan = self.plan("sips:a@b.test", "sips:b.test", "sip:p.test;transport=tls;lr")
        assert plan.hops[0].route == "<sips:p.test;lr>"

    @pytest.mark.parametrize("bad", ["sip:r.test", "sip:r.test;transport=tcp", "sip:r.test;transport=ws"])
    def test_a_sips_aor_goes_over_tls_only(self, bad: str) -> None:
        for uris, field in (([bad], "registrar.uri"), (["sips:r.test", bad], "proxies[0].uri")):
            with pytest.raises(SipProfileError) as raised:
                self.plan("sips:a@b.test", *uris)
            assert (raised.value.code, raised.value.field) == ("invalid_value", field)
