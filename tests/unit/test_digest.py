"""Digest authentication: RFC 7616, RFC 2617, RFC 2069 and, for SIP, RFC 8760."""

from __future__ import annotations

import hashlib

import pytest
from digest_answers import accepts, answer, challenge
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipprofile.sip import digest
from sipprofile.sip.digest import (
    Challenge,
    DigestCredentials,
    Terms,
    UnsupportedAlgorithm,
    authorization,
    ha1,
    parse_challenges,
    strongest,
    usual_authorization,
    verify,
)
from sipprofile.sip.syntax import SipSyntaxError, quote

PIECES = ["Digest ", "Basic ", "realm", "nonce", "=", '"', "\\", ",", " ", "a", "\t", "qop", "/", ";"]
ALGORITHMS = ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"]
AROUND = st.lists(st.sampled_from([*PIECES, 'realm="r"', 'nonce="', "cnonce=", '", ']), max_size=8).map("".join)
NONCES = st.lists(st.sampled_from(["a", "b", "ab", '"', "\\", ",", " ", 'nonce="', "é", "\x7f"]), max_size=3).map(
    "".join
)


class TestChallengesThatDifferInTheirNonce:
    """What is kept of an earlier challenge never changes what a later one means."""

    @example(before="nonce=a", after="", nonces=["a", "b"], proxy=False)
    @given(before=AROUND, after=AROUND, nonces=st.lists(NONCES, min_size=2, max_size=4), proxy=st.booleans())
    @settings(max_examples=500)
    def test_are_read_as_if_each_were_the_first(self, before: str, after: str, nonces: list[str], proxy: bool) -> None:
        texts = [f'Digest {before}, nonce="{nonce}"{after}' for nonce in nonces]
        alone = []
        for text in texts:
            digest._EARLIER.clear()
            alone.append(parse_challenges([text], proxy))
        digest._EARLIER.clear()
        assert [parse_challenges([text], proxy) for text in texts] == alone

    def test_no_more_of_them_are_kept_than_a_few(self) -> None:
        for number in range(1000):
            parse_challenges([f'Digest realm="{number}", nonce="n"'], False)
        assert 0 < len(digest._EARLIER) <= digest.EARLIER_KEPT


class TestChallenges:
    """RFC 7616 §3.3, RFC 3261 §20.44 and §22.4."""

    def test_all_parameters(self) -> None:
        value = (
            'Digest realm="biloxi.com", domain="sip:biloxi.com", qop="auth,auth-int", nonce="abc", opaque="", '
            "stale=TRUE, algorithm=MD5"
        )
        assert parse_challenges([value], proxy=True) == [
            Challenge(
                "abc",
                Terms(
                    realm="biloxi.com",
                    algorithm="MD5",
                    algorithm_given=True,
                    qop=("auth", "auth-int"),
                    opaque="",
                    stale=True,
                    domain="sip:biloxi.com",
                    proxy=True,
                ),
            )
        ]

    def test_defaults(self) -> None:
        assert challenge('Digest realm="r", nonce="n"') == Challenge(
            "n", Terms(realm="r", algorithm="MD5", algorithm_given=False, qop=(), opaque=None, stale=False)
        )

    def test_names_scheme_and_algorithm_ignore_case(self) -> None:
        found = challenge('DIGEST Realm="R",NONCE="n",Algorithm="sha-256-SESS",QOP=AUTH')
        assert (found.realm, found.algorithm, found.qop) == ("R", "SHA-256-sess", ("auth",))

    def test_several_in_one_line_and_in_several_lines(self) -> None:
        found = parse_challenges(
            [
                'Digest realm="a", nonce="1", algorithm=SHA-256, Digest realm="a, Digest b", nonce="2"',
                'Basic realm="x", Digest nonce="3",realm="c",algorithm=MD5 , NTLM, Negotiate YWJj==, Bearer',
                'Digest realm="d", nonce="4"',
            ],
            proxy=False,
        )
        assert [(c.realm, c.nonce) for c in found] == [
            ("a", "1"),
            ("a, Digest b", "2"),
            ("c", "3"),
            ("d", "4"),
        ]

    def test_what_is_unknown_is_left_out(self) -> None:
        values = [
            'Digest realm="a", nonce="1", algorithm=AKAv1-MD5',
            'Digest realm="b", nonce="2", qop="token-bound"',
            'Basic realm="c"',
            "NoOneKnowsThisScheme opaque-data=here",
            'Digest realm="e", nonce="5", qop="auth,token-bound"',
        ]
        assert [(c.realm, c.qop) for c in parse_challenges(values, proxy=False)] == [("e", ("auth",))]

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "Digest",
            'Digest realm="a"',
            'Digest realm="a", nonce="1", opaque=x\\',
            f'Digest realm="a", nonce="{"n" * 2049}"',
            f'Digest realm="a", nonce="1", opaque="{"o" * 2049}"',
            'Digest realm="a", nonce="open',
            'Digest realm="a", nonce=',
            'Digest realm="a" / nonce="1"',
            'Digest realm="a", nonce="1\n2"'.replace("\\n", "\n"),
            'realm="a", nonce="1"',
        ],
    )
    def test_malformed_is_left_out(self, value: str) -> None:
        assert parse_challenges([value], proxy=False) == []

    def test_a_malformed_one_leaves_its_neighbours(self) -> None:
        value = 'Digest realm="a", nonce="1", Digest realm=, nonce="2", Digest realm="c", nonce="3"'
        assert [c.nonce for c in parse_challenges([value], proxy=False)] == ["1", "3"]

    def test_escaped_quotes(self) -> None:
        found = challenge(r'Digest realm="the \"inner\" \\ realm", nonce="a\"b", opaque="x\\", qop="auth"')
        assert found.realm == r'the "inner" \ realm'
        assert found.nonce == 'a"b'

    def test_a_missing_realm_is_an_empty_one(self) -> None:
        assert [challenge(f'Digest {realm}nonce="1"').realm for realm in ("", 'realm="", ')] == ["", ""]

    @pytest.mark.parametrize("opaque", ["", r"x\\", r"\x\"\é", "caf\udce9", "a=b, nonce=c"])
    def test_opaque_goes_back_byte_for_byte(self, opaque: str) -> None:
        """RFC 7616 §3.4, escapes that nobody needs included."""
        value = answer(
            f'Digest realm="r", nonce="n", opaque="{opaque}", qop="auth"',
            username="u",
            password="p",
            method="REGISTER",
            uri="sip:h",
            cnonce="c",
        )
        assert f', opaque="{opaque}"' in value

    def test_commas_may_be_missing_or_doubled(self) -> None:
        assert challenge('Digest ,, realm="a" nonce="1",,').nonce == "1"

    def test_white_space_around_equals(self) -> None:
        assert challenge('Digest realm = "a" , nonce= "1"').nonce == "1"


class TestStrongest:
    """RFC 8760 §2.3."""

    def test_order(self) -> None:
        values = [f'Digest realm="r", nonce="{name}", algorithm={name}' for name in ALGORITHMS]
        challenges = parse_challenges(values, proxy=False)
        assert [c.algorithm for c in challenges] == ALGORITHMS
        while challenges:
            best = strongest(challenges)
            assert best is not None
            assert best.algorithm == challenges[-2].algorithm  # plain and -sess are equal: the first one wins
            challenges = challenges[:-2]
        assert strongest([]) is None


class TestAuthorization:
    def test_strings_are_escaped(self) -> None:
        given = Challenge("n\\1", Terms(realm='a "b"', qop=("auth",)))
        value = authorization(
            given, username='al"ice', ha1="0" * 32, method="REGISTER", uri="sip:h", nonce_count=10, cnonce="c"
        )
        assert r'username="al\"ice"' in value
        assert r'realm="a \"b\""' in value
        assert r'nonce="n\\1"' in value
        assert "nc=0000000a" in value

    def test_no_line_break_gets_out(self) -> None:
        with pytest.raises(SipSyntaxError):
            authorization(
                Challenge("n", Terms("r")),
                username="a\r\nX: y",
                ha1="0" * 32,
                method="REGISTER",
                uri="sip:h",
                nonce_count=1,
                cnonce="c",
            )

    def test_unknown_algorithm_is_named(self) -> None:
        with pytest.raises(UnsupportedAlgorithm, match="AKAv1-MD5"):
            ha1("AKAv1-MD5", "u", "r", "p")

    def test_a_realm_that_is_not_utf_8_keeps_its_octets(self) -> None:
        realm = b"Z\xfcrich".decode("utf-8", "surrogateescape")
        given = challenge(f'Digest realm="{realm}", nonce="n"')
        value = authorization(
            given,
            username="u",
            ha1=ha1("MD5", "u", realm, "p"),
            method="REGISTER",
            uri="sip:h",
            nonce_count=1,
            cnonce="c",
        )
        assert b'realm="Z\xfcrich"' in value.encode("utf-8", "surrogateescape")
        assert ha1("MD5", "u", realm, "p") == hashlib.md5(b"u:Z\xfcrich:p").hexdigest()
        assert accepts(value, "p")

    def test_the_password_is_in_no_repr(self) -> None:
        assert "secret" not in repr(challenge('Digest realm="r", nonce="n"'))


class TestVerify:
    """RFC 7616 §3.4.6."""

    VALUE = answer(
        'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256',
        username="alice",
        password="secret",
        method="REGISTER",
        uri="sip:example.com",
        cnonce="c",
    )

    def test_right(self) -> None:
        asked = []

        def stored(username: str, realm: str, algorithm: str) -> str:
            asked.append((username, realm, algorithm))
            return ha1(algorithm, username, realm, "secret")

        assert verify(self.VALUE, method="REGISTER", ha1=stored) == DigestCredentials(
            username="alice", realm="r", nonce="n", nc=1, uri="sip:example.com", algorithm="SHA-256"
        )
        assert asked == [("alice", "r", "SHA-256")]

    def test_wrong_password_method_or_user(self) -> None:
        assert accepts(self.VALUE, "secret")
        assert not accepts(self.VALUE, "Secret")
        assert not accepts(self.VALUE, "secret", method="INVITE")
        assert verify(self.VALUE, method="REGISTER", ha1=lambda *_: None) is None

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("nc=00000001", "nc=00000002"),
            ("nc=00000001", "nc=1"),
            ("nc=00000001, ", ""),
            ("qop=auth", "qop=auth-int"),
            ("qop=auth", "qop=other"),
            ('cnonce="c"', 'cnonce="d"'),
            ("Digest ", "Basic "),
            ("algorithm=SHA-256", "algorithm=MD5"),
            ("algorithm=SHA-256", "algorithm=unknown"),
            ('nonce="n"', 'nonce="m"'),
            ('realm="r"', 'realm="r'),
            ('response="', 'response="é'),
        ],
    )
    def test_changed(self, old: str, new: str) -> None:
        assert old in self.VALUE
        assert not accepts(self.VALUE.replace(old, new, 1), "secret")

    @pytest.mark.parametrize("name", ["username", "realm", "nonce", "uri", "response", "cnonce"])
    def test_missing(self, name: str) -> None:
        assert not accepts(self.VALUE.replace(f"{name}=", f"x-{name}="), "secret")


words = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=20)


class TestProperties:
    @settings(deadline=None)
    @given(
        algorithm=st.sampled_from(ALGORITHMS),
        qop=st.sampled_from([(), ("auth",), ("auth-int",), ("auth", "auth-int")]),
        realm=words,
        nonce=words,
        opaque=st.none() | words.map(lambda text: quote(text)[1:-1]),
        username=words,
        password=words,
        uri=words,
        nonce_count=st.integers(1, 0xFFFFFFFF),
        body=st.binary(max_size=20),
    )
    def test_what_authorization_builds_verify_accepts(
        self,
        algorithm: str,
        qop: tuple[str, ...],
        realm: str,
        nonce: str,
        opaque: str | None,
        username: str,
        password: str,
        uri: str,
        nonce_count: int,
        body: bytes,
    ) -> None:
        given_ = Challenge(nonce, Terms(realm, algorithm, True, qop, opaque))
        value = authorization(
            given_,
            username=username,
            ha1=ha1(algorithm, username, realm, password),
            method="REGISTER",
            uri=uri,
            nonce_count=nonce_count,
            cnonce="0a4f113b",
            body=body,
        )
        found = verify(
            value,
            method="REGISTER",
            ha1=lambda username, realm, algorithm: ha1(algorithm, username, realm, password),
            body=body,
        )
        assert found == DigestCredentials(username, realm, nonce, nonce_count if qop else None, uri, algorithm)
        assert not accepts(value, password + "x", body=body)

    @settings(deadline=None)
    @given(
        st.builds(
            Challenge,
            words,
            st.builds(
                Terms,
                realm=words,
                algorithm=st.sampled_from(ALGORITHMS),
                algorithm_given=st.just(True),
                qop=st.sampled_from([(), ("auth",), ("auth", "auth-int")]),
                opaque=st.none() | words.map(lambda text: quote(text)[1:-1]),
                stale=st.booleans(),
            ),
        )
    )
    def test_challenge_round_trip(self, original: Challenge) -> None:
        value = f"Digest realm={quote(original.realm)},nonce={quote(original.nonce)}"
        value += f",algorithm={original.algorithm}"
        if original.qop:
            value += f",qop={quote(','.join(original.qop))}"
        if original.terms.opaque is not None:
            value += f',opaque="{original.terms.opaque}"'
        value += f",stale={str(original.stale).lower()}"
        assert parse_challenges([f"{value}, {value}"], proxy=False) == [original, original]

    @settings(deadline=None)
    @given(st.text(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
    def test_any_text(self, text: str) -> None:
        for found in parse_challenges([text], proxy=False):
            assert found.algorithm in ALGORITHMS
        assert verify(text, method="REGISTER", ha1=lambda *_: None) is None


@given(
    st.sampled_from([(), ("auth",), ("auth-int",), ("auth", "auth-int")]),
    st.sampled_from(ALGORITHMS),
    st.booleans(),
    st.none() | st.just('a\\"b'),
    st.booleans(),
    st.booleans(),
    st.tuples(*[st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6)] * 4),
    st.integers(1, 300),
)
def test_the_short_way_answers_like_the_long_one(
    qop: tuple[str, ...],
    algorithm: str,
    given_: bool,
    opaque: str | None,
    userhash: bool,
    utf8: bool,
    texts: tuple[str, ...],
    count: int,
) -> None:
    realm, nonce, username, password = texts
    terms = Terms(realm, algorithm, given_, qop, opaque, userhash=userhash, utf8=utf8)
    short = usual_authorization(terms, nonce, username, password, "REGISTER", "sip:h", count, "c1")
    usual = ("auth" in qop or not qop) and not (algorithm.endswith("-sess") or userhash or utf8)
    assert (short is not None) == usual
    if short is not None:
        assert short == authorization(
            Challenge(nonce, terms),
            username=username,
            ha1=ha1(algorithm, username, realm, password),
            method="REGISTER",
            uri="sip:h",
            nonce_count=count,
            cnonce="c1",
        )
