"""Header fields: RFC 3261 §7.3, §20 and §25.1."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipprofile.sip.headers import (
    MAXIMUM_DELTA_SECONDS,
    CSeq,
    NameAddr,
    Via,
    is_token,
    parse_cseq,
    parse_delta_seconds,
    parse_name_addr,
    parse_params,
    parse_retry_after,
    parse_via,
    quote,
    split_list,
    unquote,
)
from sipprofile.sip.syntax import SipSyntaxError


class TestTokensAndQuotedStrings:
    """§25.1 basic rules."""

    def test_tokens(self) -> None:
        assert is_token("!interesting-Method0123456789_*+`.%indeed'~")
        for text in ("", "a b", "a@b", "a:b", 'a"b', "a/b", "é", "a\n"):
            assert not is_token(text), text

    def test_quote_escapes_quotes_and_backslashes(self) -> None:
        assert quote('a "b" \\c') == '"a \\"b\\" \\\\c"'

    def test_quote_refuses_line_breaks(self) -> None:
        for text in ("a\r\nVia: x", "a\nb", "a\rb"):
            with pytest.raises(SipSyntaxError):
                quote(text)

    def test_unquote_leaves_other_text_alone(self) -> None:
        assert unquote("abc") == "abc"
        assert unquote('"') == '"'
        assert unquote('""') == ""
        assert unquote('"\\a\\\\"') == "a\\"

    @settings(deadline=None)
    @given(st.text(st.characters(exclude_characters="\r\n")))
    def test_round_trip(self, text: str) -> None:
        assert unquote(quote(text)) == text


class TestLists:
    """§7.3.1: comma-separated values."""

    @pytest.mark.parametrize(
        ("value", "parts"),
        [
            ("", []),
            ("  ", []),
            ("a", ["a"]),
            (" a , b,c ", ["a", "b", "c"]),
            (",a,,b,", ["a", "b"]),
            ('"a, b" <sip:x>, <sip:y,z>;p="1,2"', ['"a, b" <sip:x>', '<sip:y,z>;p="1,2"']),
            ('"a\\", b" <sip:x>, c', ['"a\\", b" <sip:x>', "c"]),
            ('"<" <sip:x>, "c>" <sip:y>', ['"<" <sip:x>', '"c>" <sip:y>']),
            ('a, "open, b', ["a", '"open, b']),
            ("a, <sip:open, b", ["a", "<sip:open, b"]),
        ],
    )
    def test_split(self, value: str, parts: list[str]) -> None:
        assert split_list(value) == parts


class TestNameAddr:
    """§20.10, §20.20, §20.39: Contact, From, To."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("<sip:a@b>", NameAddr("", "sip:a@b", {})),
            ("Alice <sip:a@b;lr>;tag=x", NameAddr("Alice", "sip:a@b;lr", {"tag": "x"})),
            ("caller<sip:a@b>", NameAddr("caller", "sip:a@b", {})),
            (
                "token1~` token2'+_ token3*%!.- <sip:a@b>",
                NameAddr("token1~` token2'+_ token3*%!.-", "sip:a@b", {}),
            ),
            ('"A. \\"B\\" <C>" <sip:a@b> ; Expires = 5', NameAddr('A. "B" <C>', "sip:a@b", {"expires": "5"})),
            ("sip:a@b;tag=x;user=phone", NameAddr("", "sip:a@b", {"tag": "x", "user": "phone"})),
            ("<sip:a@b?Route=%3Csip:c%3E>", NameAddr("", "sip:a@b?Route=%3Csip:c%3E", {})),
            ('sip:a@b;x="<y>"', NameAddr("", "sip:a@b", {"x": "<y>"})),
            (
                '<sip:a@b>;+sip.instance="<urn:uuid:1>"',
                NameAddr("", "sip:a@b", {"+sip.instance": "<urn:uuid:1>"}),
            ),
            ("*", NameAddr("", "*", {})),
            ("<tel:+1201>", NameAddr("", "tel:+1201", {})),
            ("< sip:a@b >", NameAddr("", "sip:a@b", {})),
            ("Bell, Alexander <sip:a@b>", NameAddr("Bell, Alexander", "sip:a@b", {})),
            ("<sip:a@b>;;;", NameAddr("", "sip:a@b", {})),
        ],
    )
    def test_accepted(self, value: str, expected: NameAddr) -> None:
        assert parse_name_addr(value) == expected

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "alan@example.com",
            "<alan@example.com>",
            "<>",
            "<sip:a@b",
            '"Mr. J. User <sip:a@b>',
            '"Joe" sip:a@b',
            'Joe "x" <sip:a@b>',
            "<sip:a@b> tag=1",
            "<sip:a b@c>",
            "sip:a@b?Route=%3Csip:c%3E",
            "sip:a,b@c",
            "sip:a@b x",
            '<sip:a@b>;x="open',
            "<sip:a@b>;a b=c",
            "<sip:a@b>;=c",
        ],
    )
    def test_refused(self, value: str) -> None:
        with pytest.raises(SipSyntaxError):
            parse_name_addr(value)

    @settings(deadline=None)
    @given(
        st.text(st.characters(exclude_characters="\r\n"), max_size=20).map(str.strip),
        st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9.+-]{0,8}", fullmatch=True),
            st.none() | st.text(st.characters(exclude_characters="\r\n"), max_size=20),
        ),
    )
    def test_round_trip(self, display: str, params: dict[str, str | None]) -> None:
        name_addr = NameAddr(display, "sip:a@b", params)
        assert parse_name_addr(str(name_addr)) == name_addr


class TestParams:
    def test_names_fold_case_values_do_not(self) -> None:
        assert parse_params(';Tag=AbC;LR; q = "0.5;x" ') == {"tag": "AbC", "lr": None, "q": "0.5;x"}

    def test_first_of_two_equal_names_wins(self) -> None:
        assert parse_params("a=1;A=2") == {"a": "1"}

    def test_empty_value_is_not_absence(self) -> None:
        assert parse_params("a=;b") == {"a": "", "b": None}


class TestVia:
    """§20.42, RFC 3581, RFC 5118."""

    def test_all_parts(self) -> None:
        via = parse_via("SIP/2.0/udp Example.com:5062;branch=z9hG4bKa;rport;received=192.0.2.1")
        assert via == Via("UDP", "example.com", 5062, {"branch": "z9hG4bKa", "rport": None, "received": "192.0.2.1"})

    def test_white_space_everywhere(self) -> None:
        via = parse_via("SIP  / 2.0  / TCP     spindle.example.com : 99   ;  branch  =   z9hG4bK9ikj8")
        assert via == Via("TCP", "spindle.example.com", 99, {"branch": "z9hG4bK9ikj8"})

    def test_ipv6(self) -> None:
        via = parse_via("SIP/2.0/TLS [2001:DB8::1]:5061;received=2001:db8::2")
        assert (via.host, via.port, via.params["received"]) == ("[2001:db8::1]", 5061, "2001:db8::2")

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/2.0/ host",
            "SIP/7.0/UDP host",
            "HTTP/2.0/UDP host",
            "SIP/2.0/UDP host:port",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP 192.0.2.15;;",
            "SIP/2.0/UDP host;",
            'SIP/2.0/UDP host;x="',
        ],
    )
    def test_refused(self, value: str) -> None:
        with pytest.raises(SipSyntaxError):
            parse_via(value)


class TestNumbers:
    """§20.16 CSeq, §20.19 Expires, §20.33 Retry-After."""

    def test_cseq(self) -> None:
        assert parse_cseq("0009  INVITE") == CSeq(9, "INVITE")
        assert parse_cseq("2147483647 REGISTER") == CSeq(2**31 - 1, "REGISTER")

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "1",
            "INVITE",
            "-1 INVITE",
            "1 INVITE x",
            "2147483648 INVITE",
            "36893488147419103232 REGISTER",
            "٣ A",
            "1 a@b",
        ],
    )
    def test_cseq_refused(self, value: str) -> None:
        with pytest.raises(SipSyntaxError):
            parse_cseq(value)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("18000;duration=3600", 18000), ("120 (I'm in a meeting; back soon)", 120), ("5", 5), (" 7 ;x", 7)],
    )
    def test_retry_after(self, value: str, seconds: int) -> None:
        assert parse_retry_after(value) == seconds

    def test_numbers_past_the_limit_are_the_limit(self) -> None:
        assert parse_delta_seconds("9" * 30_000) == MAXIMUM_DELTA_SECONDS
        assert parse_retry_after("949302838503028349304023988") == MAXIMUM_DELTA_SECONDS
        assert parse_delta_seconds("0" * 30_000 + "5") == 5

    @pytest.mark.parametrize("value", ["", "-1", "1.5", "soon", "(5)", "٣"])
    def test_not_seconds(self, value: str) -> None:
        with pytest.raises(SipSyntaxError):
            parse_retry_after(value)


class TestNothingElseIsRaised:
    @settings(deadline=None)
    @given(st.text(max_size=100) | st.text('"<>;,=\\ sip:a@/2.0UDP*', max_size=60))
    def test_any_text(self, text: str) -> None:
        assert isinstance(split_list(text), list)
        for parse in (
            parse_name_addr,
            parse_params,
            parse_via,
            parse_cseq,
            parse_retry_after,
            parse_delta_seconds,
        ):
            try:
                parse(text)
            except SipSyntaxError:
                pass
