"""Digest beyond the plain challenge: next nonces, proofs of the server, hashed names, several realms (RFC 7616 §3)."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_driver import LATENCY, Answer, Driver, answer, challenge, digest, ok, reply, server

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.digest import Challenge, ha1, parse_challenges, response_auth, verify
from sipprofile.sip.message import Request

STALE = ', qop="auth", stale=true'


@pytest.fixture
def driver() -> Driver:
    return Driver()


def field(request: Request, name: str, header: str = "authorization") -> str:
    found = re.search(rf'[ ,]{re.escape(name)}="?([^",]*)', request.header(header) or "")
    return found[1] if found else ""


def informing(name: str, say: Any, first: Answer | None = None) -> Answer:
    """A registrar whose 200 carries the header ``name`` with ``say(request)``."""

    def respond(request: Request, key: TransportKey) -> bytes | None:
        if request.header("authorization") is None and request.header("proxy-authorization") is None:
            return (first or challenge())(request, key)
        granted = ok()(request, key)
        assert granted is not None
        return granted.replace(b"Content-Length", f"{name}: {say(request)}\r\nContent-Length".encode(), 1)

    return respond


def proof(request: Request, password: str = "secret", *, header: str = "authorization", qop: str = "auth") -> str:
    """The right rspauth (RFC 7616 §3.5)."""
    (given,) = parse_challenges(
        [f'Digest realm="{field(request, "realm", header)}", nonce="{field(request, "nonce", header)}", qop="{qop}"'],
        False,
    )
    return response_auth(
        given,
        ha1=ha1("MD5", "alice1", given.realm, password),
        uri=request.uri,
        nonce_count=int(field(request, "nc", header), 16),
        cnonce=field(request, "cnonce", header),
    )


class TestNextNonce:
    """RFC 7616 §3.5: the next request uses it, counted from 1, in one round trip."""

    @pytest.mark.pain(20)
    def test_every_refresh_uses_the_one_it_was_given(self, driver: Driver) -> None:
        driver.always = informing("Authentication-Info", lambda request: f'nextnonce="after-{request.cseq()[0]}"')
        driver.registered()
        for _ in range(3):
            driver.run_to_register()
            request = driver.sent_register()
            assert field(request, "nonce") == f"after-{request.cseq()[0] - 1}"
            assert field(request, "nc") == "00000001"
            assert verify(
                request.header("authorization") or "",
                method="REGISTER",
                ha1=lambda user, realm, algorithm: ha1(algorithm, user, realm, "secret"),
            )

    def test_it_outlives_a_restart(self, driver: Driver) -> None:
        driver.always = informing("Authentication-Info", lambda _: 'qop=auth, nextnonce="a\\"b"')
        driver.registered()
        driver.crash()
        driver.run_to_register()
        request = driver.sent()[0]
        assert 'nonce="a\\"b"' in (request.header("authorization") or "")
        assert int(field(request, "nc"), 16) > 1  # counts that may have been used are left out

    def test_the_same_one_is_counted_on(self, driver: Driver) -> None:
        driver.always = informing("Authentication-Info", lambda _: 'nextnonce="n1"')
        driver.registered()
        driver.run_to_register()
        assert field(driver.sent_register(), "nc") == "00000002"

    def test_of_a_proxy(self, driver: Driver) -> None:
        driver.always = informing("Proxy-Authentication-Info", lambda _: 'nextnonce="n2"', challenge("n1", status=407))
        driver.registered()
        driver.run_to_register()
        assert field(driver.sent_register(), "nonce", "proxy-authorization") == "n2"

    def test_where_it_is_refused_that_costs_one_round_trip(self, driver: Driver) -> None:
        driver.always = informing("Authentication-Info", lambda _: 'nextnonce="n2"')
        driver.registered()
        driver.answers.append(challenge("n3"))
        driver.run_to_register()
        driver.assert_status("registered")
        assert [field(request, "nonce") for request in driver.sent()] == ["n2", "n3"]
        assert driver.flow().rejected == 0

    @pytest.mark.parametrize(
        "value",
        ["", "nextnonce", 'nextnonce=""', 'nextnonce="open', "Digest, Digest", 'nextnonce="' + "n" * 3000 + '"', "=,="],
    )
    def test_nonsense_changes_nothing(self, driver: Driver, value: str) -> None:
        driver.always = informing("Authentication-Info", lambda _: value)
        driver.registered()
        driver.run_to_register()
        request = driver.sent_register()
        assert (field(request, "nonce"), field(request, "nc")) == ("n1", "00000002")

    def test_nor_does_one_for_a_session_key(self, driver: Driver) -> None:
        """RFC 7616 §3.4.2 binds that key to the nonce of the challenge."""
        session = challenge(more=', algorithm=MD5-sess, qop="auth"')
        driver.always = informing("Authentication-Info", lambda _: 'nextnonce="n2"', session)
        driver.registered()
        driver.run_to_register()
        assert field(driver.sent_register(), "nonce") == "n1"

    def test_nor_does_one_of_two_realms(self, driver: Driver) -> None:
        driver.answers.extend([challenge("a", "one"), challenge("b", "two")])
        driver.always = informing("Authentication-Info", lambda _: 'nextnonce="n2"')
        driver.registered()
        driver.run_to_register()
        lines = driver.sent_register().headers("authorization")
        assert ["nonce=" in line and "n2" not in line for line in lines] == [True, True]


class TestProofOfTheServer:
    """RFC 7616 §3.5 rspauth: checked where it is given; a wrong one is told and breaks nothing."""

    @pytest.mark.parametrize("qop", ["auth", "auth-int"])
    def test_the_right_one(self, driver: Driver, qop: str) -> None:
        driver.always = informing(
            "Authentication-Info", lambda request: f'qop={qop}, rspauth="{proof(request, qop=qop)}"'
        )
        driver.registered()
        assert driver.state().last_error is None

    @pytest.mark.parametrize("value", ["0" * 32, "x", "caf\u00e9", "0" * 3000])
    def test_a_wrong_one(self, driver: Driver, value: str) -> None:
        driver.always = informing("Authentication-Info", lambda _: f'rspauth="{value[:2000]}"')
        driver.add()
        driver.run(1)
        driver.assert_status("registered", "none", error="server_unproven")
        rows = len(driver.history)
        for _ in range(3):
            driver.run_to_register()
            driver.assert_status("registered", "none", error="server_unproven")
        assert len(driver.history) == rows  # a refresh like the one before is no transition
        driver.always = ok()
        driver.run_to_register()
        assert driver.state().last_error is None

    def test_one_of_somebody_who_does_not_know_the_password(self, driver: Driver) -> None:
        driver.always = informing("Authentication-Info", lambda request: f'rspauth="{proof(request, "guess")}"')
        driver.add()
        driver.run(1)
        driver.assert_status("registered", error="server_unproven")

    def test_where_there_is_no_qop_there_is_no_proof(self, driver: Driver) -> None:
        driver.always = informing("Authentication-Info", lambda _: 'rspauth="0"', challenge(more=""))
        driver.registered()
        assert driver.state().last_error is None


class TestNames:
    """RFC 7616 §3.4, §3.4.4."""

    def test_a_hashed_name(self, driver: Driver) -> None:
        driver.answers.append(challenge(more=', algorithm=SHA-256, qop="auth", userhash=true'))
        driver.registered()
        value = driver.sends[-1][2].header("authorization") or ""
        assert "alice1" not in value
        assert ", userhash=true" in value

        def stored(user: str, realm: str, algorithm: str) -> str | None:
            known = hashlib.sha256(b"alice1:example.test").hexdigest()
            return ha1(algorithm, "alice1", realm, "secret") if user == known else None

        assert verify(value, method="REGISTER", ha1=stored)
        driver.crash()
        driver.run_to_register()
        assert ", userhash=true" in (driver.sent()[0].header("authorization") or "")

    @pytest.mark.parametrize(
        ("more", "sent"),
        [(", charset=UTF-8", "username*=UTF-8''J%C3%A4s%22%20n"), ("", 'username="J\u00e4s\\" n"')],
    )
    def test_a_name_that_is_not_ascii(self, driver: Driver, more: str, sent: str) -> None:
        """Only a server that names its charset knows ``username*``; RFC 3261 §25.1 lets others have it as it is."""
        driver.answers.append(challenge(more=f', qop="auth"{more}'))
        driver.registered(registrar=server(username='J\u00e4s" n'))
        value = driver.sends[-1][2].header("authorization") or ""
        assert value.startswith(f"Digest {sent}, ")
        found = verify(
            value, method="REGISTER", ha1=lambda user, realm, algorithm: ha1(algorithm, user, realm, "secret")
        )
        assert found is not None
        assert found.username == 'J\u00e4s" n'


class TestManyChallenges:
    """RFC 3261 §22.3, RFC 8760 §2.4."""

    @pytest.mark.pain(20)
    def test_one_for_each_realm_the_strongest_known_and_nothing_unknown(self, driver: Driver) -> None:
        offers = [
            'WWW-Authenticate: Basic realm="r"',
            'WWW-Authenticate: Digest realm="r", nonce="0", algorithm=SHA3-512, qop="auth"',
            'WWW-Authenticate: Digest realm="r", nonce="1", algorithm=MD5, qop="auth"',
            'WWW-Authenticate: Digest realm="r", nonce="2", algorithm=sha-512-256, qop="auth-int,auth"',
            'WWW-Authenticate: Digest realm="r", nonce="3", algorithm=SHA-256, qop="auth", '
            'Digest realm="s", nonce="4", algorithm=MD5-sess, qop="auth-int"',
            'Proxy-Authenticate: Digest realm="r", nonce="5"',
        ]
        driver.answers.append(answer(401, *offers))
        driver.registered()
        request = driver.sends[-1][2]
        first, second = request.headers("authorization")
        assert ('nonce="2"' in first, "algorithm=SHA-512-256" in first, "qop=auth," in first) == (True, True, True)
        assert ('nonce="4"' in second, "algorithm=MD5-sess" in second, "qop=auth-int" in second) == (True, True, True)
        assert field(request, "nonce", "proxy-authorization") == "5"

    def test_realms_met_one_after_the_other_are_all_answered(self, driver: Driver) -> None:
        rounds = [
            challenge(name, f"realm-{name}", status=status)
            for name, status in zip("abcd", (407, 401, 407, 401), strict=True)
        ]
        driver.answers.extend(rounds)
        driver.registered()
        request = driver.sends[-1][2]
        assert len(driver.sends) == 5
        assert len(request.headers("authorization")) + len(request.headers("proxy-authorization")) == 4
        driver.run_to_register()
        assert len(driver.sent()) == 1

    def test_a_fifth_round_is_one_too_many(self, driver: Driver) -> None:
        names = iter(range(1000))
        driver.always = lambda request, key: challenge(f"n{(n := next(names))}", f"realm{n}")(request, key)
        driver.add()
        driver.run(5)
        assert len(driver.sends) == 5
        driver.assert_status("unregistered")

    @pytest.mark.parametrize("realm", ['realm="", ', ""])
    def test_an_empty_or_missing_realm_is_a_realm(self, driver: Driver, realm: str) -> None:
        driver.answers.append(answer(401, f'WWW-Authenticate: Digest {realm}nonce="n", qop="auth"'))
        driver.registered()
        value = driver.sends[-1][2].header("authorization") or ""
        assert 'realm=""' in value
        assert verify(
            value, method="REGISTER", ha1=lambda user, realm, algorithm: ha1(algorithm, user, realm, "secret")
        )

    def test_auth_int_alone_covers_the_empty_body(self, driver: Driver) -> None:
        driver.always = digest(more=', qop="auth-int"')
        driver.registered()
        assert field(driver.sends[-1][2], "qop") == "auth-int"


class TestOldNonces:
    """RFC 7616 §3.3; what a challenge says about the nonce that was sent unasked."""

    @pytest.mark.pain(4)
    @pytest.mark.parametrize("more", [', qop="auth"', STALE])
    def test_another_nonce_is_answered_at_once_whatever_stale_says(self, driver: Driver, more: str) -> None:
        driver.always = digest()
        driver.registered()
        for number in range(5):
            driver.answers.append(challenge(f"n{number + 2}", more=more))
            driver.run_to_register()
            driver.assert_status("registered", "none")
            _, second = driver.sent()
            assert field(second, "nonce") == f"n{number + 2}"
            assert driver.sends[-1][0] - driver.sends[-2][0] == pytest.approx(LATENCY)
        assert driver.flow().rejected == 0
        assert "deregistered" not in driver.events()

    @pytest.mark.pain(4)
    def test_the_same_nonce_again_means_that_the_password_is_wrong(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        driver.always = challenge("n1")
        driver.run_to_register()
        driver.assert_status("unregistered", "rejected_credentials")
        assert len(driver.sent()) == 1

    def test_the_same_nonce_called_stale_is_counted_on(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        driver.answers.append(challenge("n1", more=STALE))
        driver.run_to_register()
        assert [field(request, "nc") for request in driver.sent()] == ["00000002", "00000003"]
        driver.assert_status("registered")

    @pytest.mark.pain(5)
    def test_a_wrong_password_is_tried_four_times_and_then_once_an_hour(self, driver: Driver) -> None:
        nonces = iter(range(100_000))
        driver.always = lambda request, key: challenge(f"n{next(nonces)}")(request, key)
        driver.add()
        driver.run(3000)
        assert len(driver.sends) == 4
        driver.assert_status("unregistered", "credentials_needed")
        for _ in range(10):
            driver.disable()
            driver.want()
        driver.crash()
        driver.want()
        driver.run(24 * 3600)
        assert len(driver.sends) <= 4 + 2 * 25


class TestInjection:
    """Nothing that a server puts into a challenge can add to what we send but a value in quotes."""

    @settings(deadline=None, max_examples=200)
    @given(
        text=st.lists(
            st.sampled_from(
                [
                    *'",=\\\t \x00\x0b\x1f\x85',
                    "\r",
                    "\n",
                    "\r\n",
                    "realm",
                    "opaque",
                    "nonce",
                    "X-Evil: 1",
                    "Digest ",
                    "é",
                ]
            ),
            max_size=14,
        ).map("".join),
        name=st.sampled_from(["realm", "nonce", "opaque", "qop", "algorithm", "userhash", "domain"]),
        quoted=st.booleans(),
    )
    def test_one_header_stays_one_header(self, text: str, name: str, quoted: bool) -> None:
        values = {"realm": '"r"', "nonce": '"n"', "qop": '"auth"', name: f'"{text}"' if quoted else text}
        driver = Driver()
        driver.answers.append(
            answer(401, "WWW-Authenticate: Digest " + ", ".join(f"{key}={value}" for key, value in values.items()))
        )
        driver.add()
        driver.run(1)
        for _, _, request in driver.sends:
            assert request.malformed() == []
            assert not request.has_stray_line_breaks()
            assert {line.lower() for line, _ in request.items()} <= {
                *("via", "max-forwards", "from", "to", "call-id", "contact", "supported", "cseq", "expires"),
                *("authorization", "content-length"),
            }
            for value in request.headers("authorization"):
                (back,) = parse_challenges([value], False)
                assert isinstance(back, Challenge)

    @pytest.mark.parametrize("break_", ["\r", "\n", "\r\n", "\0"])
    def test_a_hidden_line_break_is_not_sent_back(self, driver: Driver, break_: str) -> None:
        line = f'WWW-Authenticate: Digest realm="a{break_}X-Evil: 1", nonce="n"'
        driver.always = lambda request, _: reply(request, 401, line)
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "challenge_unsupported")
