"""TLS with a real Kamailio and certificates made by openssl (RFC 3261 §26.3, RFC 5922)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService

from .certificates import OpenSslAuthority, parts
from .conftest import require
from .kamailio import Kamailio
from .secured import (
    ALICE,
    SHORT_LEASE,
    Add,
    Start,
    add_over,
    deregisters,
    refreshes_on_one_connection,
    registers_again_when_the_server_restarts,
    the_binding,
    transports,
)
from .stored_profile import StoredProfile, alice

MakeServer = Callable[[OpenSslAuthority, OpenSslAuthority], Path]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> OpenSslAuthority:
    require(OpenSslAuthority.program(), "openssl", "openssl")
    require(Kamailio.module("tls"), "Kamailio's TLS", "kamailio-tls-modules")
    return OpenSslAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> OpenSslAuthority:
    """An authority that nobody trusts."""
    return OpenSslAuthority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture
def good(authority: OpenSslAuthority) -> Path:
    return authority.issue("good", "DNS:localhost")


@pytest.fixture
def start_tls(start_kamailio: Start, good: Path) -> Start:
    """Starts a Kamailio that listens for TLS."""
    return lambda **settings: start_kamailio(**{"certificate": good, **settings})


class TestRegistering:
    @pytest.mark.parametrize("method", ["TLSv1.2", "TLSv1.2+"])
    def test_registers_refreshes_and_gives_back(
        self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority, method: str
    ) -> None:
        kamailio = start_tls(max_expires=SHORT_LEASE, tls_method=method)
        profile = add_over(add_alice, kamailio, "tls", {"ca": authority.pem})
        refreshes_on_one_connection(kamailio, profile)
        assert transports(kamailio) == {"tls"}
        contact = the_binding(kamailio).contact
        assert contact.startswith("sip:")
        assert contact.endswith(";transport=tls")
        state = profile.state()
        assert state["target"] == f"tls:127.0.0.1:{kamailio.tls_port}"
        deregisters(kamailio, profile)

    def test_a_lost_connection_is_made_again(
        self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority
    ) -> None:
        kamailio = start_tls()
        profile = add_over(add_alice, kamailio, "tls", {"ca": authority.pem})
        registers_again_when_the_server_restarts(kamailio, profile)

    def test_sips_all_the_way(self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority) -> None:
        kamailio = start_tls()
        uri = f"sips:localhost:{kamailio.tls_port}"
        profile = add_over(
            add_alice, kamailio, "tls", {"ca": authority.pem}, aor="sips:alice@example.test", registrar={"uri": uri}
        )
        profile.wait(status="registered")
        contact = profile.state()["registered_contact"]
        assert contact.startswith("sips:")
        assert "transport" not in contact
        assert transports(kamailio) == {"tls"}

    def test_it_survives_a_restart_of_the_service(
        self, start_tls: Start, own_daemon: RunningService, authority: OpenSslAuthority
    ) -> None:
        kamailio = start_tls()
        registrar = {"uri": kamailio.uri_over("tls"), "tls": {"ca": authority.pem}}
        profile = StoredProfile(own_daemon, alice(kamailio, registrar=registrar))
        profile.wait(status="registered")
        own_daemon.stop()
        own_daemon.start()
        profile.wait(status="registered")
        assert len(kamailio.bindings(ALICE)) == 1


class TestIdentity:
    """RFC 5922: the certificate is for the configured domain."""

    @pytest.mark.parametrize(
        "names", [["URI:sip:localhost"], ["DNS:other.test", "DNS:localhost"], ["DNS:other.test", "URI:sip:LOCALHOST"]]
    )
    def test_a_name_among_many(
        self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority, names: list[str]
    ) -> None:
        kamailio = start_tls(certificate=authority.issue("many", *names))
        add_over(add_alice, kamailio, "tls", {"ca": authority.pem}).wait(status="registered")

    @pytest.mark.parametrize("name", ["sip.example.test", "*.example.test"])
    def test_server_name_overrides_the_host(
        self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority, name: str
    ) -> None:
        kamailio = start_tls(certificate=authority.issue("elsewhere", f"DNS:{name}"))
        tls = {"ca": authority.pem, "server_name": "sip.example.test"}
        add_over(add_alice, kamailio, "tls", tls).wait(status="registered")

    def test_a_numeric_host(self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority) -> None:
        kamailio = start_tls(certificate=authority.issue("numeric", "IP:127.0.0.1"))
        registrar = {"uri": kamailio.uri_over("tls", "127.0.0.1")}
        add_over(add_alice, kamailio, "tls", {"ca": authority.pem}, registrar=registrar).wait(status="registered")


class TestErrors:
    """What is wrong has a code of its own, and nothing was sent to a server that is not who it should be."""

    @pytest.mark.parametrize(
        ("make", "code"),
        [
            (lambda own, _: own.issue("wrong", "DNS:other.test"), "tls_wrong_name"),
            (
                lambda own, _: own.issue("expired", "DNS:localhost", start="20200101000000Z", end="20200102000000Z"),
                "tls_expired",
            ),
            (lambda own, _: own.self_signed("lonely", "DNS:localhost"), "tls_self_signed"),
            (lambda _, other: other.issue("strange", "DNS:localhost"), "tls_unknown_issuer"),
        ],
        ids=["wrong name", "expired", "self-signed", "unknown issuer"],
    )
    @pytest.mark.pain(21)
    def test_of_the_server(
        self,
        start_tls: Start,
        add_alice: Add,
        authority: OpenSslAuthority,
        stranger: OpenSslAuthority,
        make: MakeServer,
        code: str,
    ) -> None:
        kamailio = start_tls(certificate=make(authority, stranger))
        profile = add_over(add_alice, kamailio, "tls", {"ca": authority.pem})
        profile.wait(status="unregistered", reason=code)
        assert kamailio.register_log() == []

    def test_a_self_signed_one_may_be_trusted(
        self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority
    ) -> None:
        server = authority.self_signed("trusted", "DNS:localhost")
        kamailio = start_tls(certificate=server)
        profile = add_over(add_alice, kamailio, "tls", {})
        profile.wait(status="unregistered", reason="tls_self_signed")
        profile.patch(registrar={"tls": {"ca": parts(server)["certificate"]}})
        profile.wait(status="registered")

    @pytest.mark.parametrize("method", ["TLSv1.2", "TLSv1.2+"])
    def test_a_client_certificate_is_wanted(
        self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority, stranger: OpenSslAuthority, method: str
    ) -> None:
        kamailio = start_tls(client_authority=authority.file, tls_method=method)
        profile = add_over(add_alice, kamailio, "tls", {"ca": authority.pem})
        profile.wait(status="unregistered", reason="tls_certificate_wanted")
        profile.patch(registrar={"tls": parts(stranger.issue("strange-client"))})
        profile.wait(status="unregistered", reason="tls_certificate_wanted")
        assert kamailio.register_log() == []

    def test_no_tls_at_all(self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority) -> None:
        kamailio = start_tls()
        uri = f"sip:localhost:{kamailio.port};transport=tls"
        profile = add_over(add_alice, kamailio, "tls", {"ca": authority.pem}, registrar={"uri": uri})
        profile.wait_until(
            lambda state: state["reason"]["code"] in ("tls_failed", "transport_timeout"), "TLS fails", 15
        )


class TestMutual:
    def test_registers_with_its_certificate_which_is_kept_and_never_shown(
        self, start_tls: Start, add_alice: Add, authority: OpenSslAuthority
    ) -> None:
        kamailio = start_tls(client_authority=authority.file)
        own = parts(authority.issue("alice-client"))
        profile = add_over(add_alice, kamailio, "tls", {"ca": authority.pem, **own})
        profile.wait(status="registered")
        shown: dict[str, Any] = profile.document()["registrar"]["tls"]
        assert shown == {"ca": authority.pem, "certificate": own["certificate"], "private_key_set": True}

        profile.patch(registrar={"tls": {"server_name": "localhost"}})
        kamailio.restart()
        the_binding(kamailio, 20)
        profile.wait(status="registered")

    def test_a_key_of_another_certificate_is_refused_at_save(
        self, start_tls: Start, daemon: RunningService, authority: OpenSslAuthority
    ) -> None:
        kamailio = start_tls()
        one, other = parts(authority.issue("one")), parts(authority.issue("other"))
        tls = {"certificate": one["certificate"], "private_key": other["private_key"]}
        document = alice(kamailio, registrar={"uri": kamailio.uri_over("tls"), "tls": tls})
        answer = daemon.request("POST", "/v1/profiles", document)
        assert (answer.status, answer.document["field"]) == (422, "registrar.tls.private_key")
        assert other["private_key"][40:70] not in str(answer.document)
