"""The examples of RFC 7616, RFC 2617 and RFC 2069."""

from __future__ import annotations

import hashlib

import pytest
from digest_answers import accepts, answer, md5, parameters


class TestRfc7616Examples:
    """RFC 7616 §3.9."""

    CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    CHALLENGE = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )

    @pytest.mark.parametrize(
        ("algorithm", "response"),
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_3_9_1(self, algorithm: str, response: str) -> None:
        value = answer(
            self.CHALLENGE.format(algorithm),
            username="Mufasa",
            password="Circle of Life",
            method="GET",
            uri="/dir/index.html",
            cnonce=self.CNONCE,
        )
        assert parameters(value) == {
            "username": '"Mufasa"',
            "realm": '"http-auth@example.org"',
            "uri": '"/dir/index.html"',
            "algorithm": algorithm,
            "nonce": '"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"',
            "nc": "00000001",
            "cnonce": f'"{self.CNONCE}"',
            "qop": "auth",
            "response": f'"{response}"',
            "opaque": '"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
        }

    def test_3_9_2_sha_512_256(self) -> None:
        """The response is that of erratum 4897; the RFC prints the one of a truncated SHA-512."""
        value = answer(
            'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
            'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
            'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true',
            username="Jäsøn Doe",
            password="Secret, or not?",
            method="GET",
            uri="/doe.json",
            cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        )
        assert 'response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"' in value
        assert 'username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"' in value
        assert value.endswith(", userhash=true")

    def test_sha_512_256_is_not_a_truncated_sha_512(self) -> None:
        """FIPS 180-4: the hash of 'abc'."""
        assert (
            hashlib.new("sha512_256", b"abc").hexdigest()
            == "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
        )


class TestRfc2617AndRfc2069Examples:
    CHALLENGE = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'

    def test_rfc_2617_3_5(self) -> None:
        value = answer(
            self.CHALLENGE + ', qop="auth,auth-int", opaque="5ccc069c403ebaf9f0171e9517f40e41"',
            username="Mufasa",
            password="Circle Of Life",
            method="GET",
            uri="/dir/index.html",
            cnonce="0a4f113b",
        )
        found = parameters(value)
        assert found["response"] == '"6629fae49393a05397450978507c4ef1"'
        assert found["opaque"] == '"5ccc069c403ebaf9f0171e9517f40e41"'
        assert "algorithm" not in found

    def test_rfc_2069_2_4(self) -> None:
        """The response is that of erratum 749; there is no qop, nc or cnonce."""
        value = answer(
            self.CHALLENGE,
            username="Mufasa",
            password="CircleOfLife",
            method="GET",
            uri="/dir/index.html",
            cnonce="unused",
        )
        assert parameters(value) == {
            "username": '"Mufasa"',
            "realm": '"testrealm@host.com"',
            "nonce": '"dcd98b7102dd2f0e8b11d0f600bfb0c093"',
            "uri": '"/dir/index.html"',
            "response": '"1949323746fe6a43ef61f9606e7febea"',
        }

    def test_md5_sess(self) -> None:
        """RFC 2617 §3.2.2.2: A1 holds the hash of the credentials, the nonce and the cnonce."""
        value = answer(
            self.CHALLENGE + ', qop="auth", algorithm=MD5-sess',
            username="Mufasa",
            password="Circle Of Life",
            method="GET",
            uri="/dir/index.html",
            cnonce="0a4f113b",
        )
        nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
        a1 = f"{md5('Mufasa:testrealm@host.com:Circle Of Life')}:{nonce}:0a4f113b"
        expected = md5(f"{md5(a1)}:{nonce}:00000001:0a4f113b:auth:{md5('GET:/dir/index.html')}")
        assert parameters(value)["response"] == f'"{expected}"'
        assert parameters(value)["algorithm"] == "MD5-sess"

    def test_sess_without_qop_sends_the_cnonce_it_used(self) -> None:
        value = answer(
            self.CHALLENGE + ", algorithm=MD5-sess",
            username="u",
            password="p",
            method="REGISTER",
            uri="sip:h",
            cnonce="c1",
        )
        assert parameters(value)["cnonce"] == '"c1"'
        assert accepts(value, "p")

    def test_auth_int_covers_the_body(self) -> None:
        value = answer(
            self.CHALLENGE + ', qop="auth-int"',
            username="u",
            password="p",
            method="REGISTER",
            uri="sip:h",
            cnonce="c1",
            body=b"hello",
        )
        assert parameters(value)["qop"] == "auth-int"
        assert accepts(value, "p", body=b"hello")
        assert not accepts(value, "p", body=b"hell0")
