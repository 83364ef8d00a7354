"""SIP URIs: RFC 3261 §19.1 and §25.1."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.uri import Uri


class TestParts:
    """§19.1.1 SIP and SIPS URI components."""

    def test_every_component(self) -> None:
        uri = Uri.parse("sips:alice:s3cret@Example.COM:5071;Transport=TLS;lr?subject=hi&priority=urgent")
        assert uri.scheme == "sips"
        assert uri.user == "alice"
        assert uri.password == "s3cret"
        assert uri.host == "example.com"
        assert uri.port == 5071
        assert uri.params == (("transport", "TLS"), ("lr", None))
        assert uri.headers == "subject=hi&priority=urgent"

    def test_host_alone(self) -> None:
        assert Uri.parse("SIP:example.com") == Uri("sip", None, None, "example.com")

    def test_ipv6_host_keeps_its_brackets(self) -> None:
        uri = Uri.parse("sip:bob@[2001:DB8::9:1]:5070")
        assert (uri.host, uri.port) == ("[2001:db8::9:1]", 5070)
        assert str(uri) == "sip:bob@[2001:db8::9:1]:5070"

    def test_user_may_hold_what_looks_like_other_parts(self) -> None:
        uri = Uri.parse("sip:user;par=u%40example.net?/,&=+$@example.com;x=1")
        assert uri.user == "user;par=u%40example.net?/,&=+$"
        assert uri.params == (("x", "1"),)

    def test_empty_password_is_kept(self) -> None:
        assert str(Uri.parse("sip:alice:@example.com")) == "sip:alice:@example.com"

    def test_underscore_and_trailing_dot_in_host(self) -> None:
        assert Uri.parse("sip:my_pbx_1").host == "my_pbx_1"
        assert Uri.parse("sip:example.com.").host == "example.com."

    def test_repr_hides_the_password(self) -> None:
        assert "s3cret" not in repr(Uri.parse("sip:alice:s3cret@example.com"))


class TestErrors:
    """What is not a URI is refused with a sentence that shows the bad part."""

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("", "sip:"),
            ("alice@example.com", "sip:"),
            ("tel:+12015550123", "tel"),
            ("sip:", "host"),
            ("sip:@example.com", "user"),
            ("sip:al ice@example.com", "al ice"),
            ("sip:50%@example.com", "50%"),
            ("sip:alice@exa mple.com", "exa mple.com"),
            ("sip:alice@example.com ", "white space"),
            ("sip:alice@-example.com", "-example.com"),
            ("sip:alice@example..com", "example..com"),
            ("sip:alice@192.0.2.300", "192.0.2.300"),
            ("sip:alice@192.0.2", "192.0.2"),
            ("sip:alice@[2001:db8::1", "[2001"),
            ("sip:alice@[2001:db8::zz]", "2001:db8::zz"),
            ("sip:alice@[fe80::1%eth0]", "fe80::1%eth0"),
            ("sip:alice@[::1]5060", "5060"),
            ("sip:alice@example.com:", "port"),
            ("sip:alice@example.com:0", "port"),
            ("sip:alice@example.com:65536", "65536"),
            ("sip:alice@example.com:5o60", "5o60"),
            ("sip:alice@example.com:٥٠٦٠", "port"),
            ("sip:alice@example.com;", "parameter"),
            ("sip:alice@example.com;;lr", "parameter"),
            ("sip:alice@example.com;a=", "a="),
            ("sip:alice@example.com;a=b=c", "a=b=c"),
            ("sip:alice@example.com;lr;LR", "twice"),
            ("sip:alice@example.com?", "header"),
            ("sip:alice@example.com?subject", "subject"),
            ("sip:alice@example.com?a=b c", "b c"),
            ("sip:alice@example.com\r\nVia: x", "host"),
            ("sip:a@b@example.com", "@"),
        ],
    )
    def test_bad_part_is_named(self, text: str, part: str) -> None:
        with pytest.raises(SipSyntaxError) as caught:
            Uri.parse(text)
        assert part in str(caught.value)

    @pytest.mark.parametrize("text", ["sip:alice:top secret@h", "sip:alice:top@secret@h", "sip:alice:to<p@h"])
    def test_password_is_never_shown(self, text: str) -> None:
        with pytest.raises(SipSyntaxError) as caught:
            Uri.parse(text)
        assert "secret" not in str(caught.value)
        assert "to<p" not in str(caught.value)

    def test_long_values_are_cut(self) -> None:
        with pytest.raises(SipSyntaxError) as caught:
            Uri.parse("sip:" + "a" * 10_000)
        assert len(str(caught.value)) < 200


class TestParameters:
    URI = Uri.parse("sip:alice@example.com;transport=TCP;lr")

    def test_reading(self) -> None:
        assert self.URI.param("transport") == "TCP"
        assert self.URI.param("lr") == ""
        assert self.URI.param("maddr") is None
        assert self.URI.has_param("lr")
        assert not self.URI.has_param("ob")
        assert self.URI.transport == "tcp"
        assert Uri.parse("sip:example.com").transport is None

    def test_with_params_replaces_in_place_and_adds_at_the_end(self) -> None:
        changed = self.URI.with_params(transport="udp", ob=None)
        assert str(changed) == "sip:alice@example.com;transport=udp;lr;ob"

    def test_with_params_escapes(self) -> None:
        changed = Uri.parse("sip:h").with_params(x='a;b"é')
        assert str(changed) == "sip:h;x=a%3Bb%22%C3%A9"
        assert Uri.parse(str(changed)) == changed

    def test_without_params_and_headers(self) -> None:
        uri = Uri.parse("sip:alice@example.com:5062;lr?a=b")
        assert str(uri.without_params_and_headers()) == "sip:alice@example.com:5062"


class TestComparison:
    """§19.1.4 URI comparison, with the examples of the RFC."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("sip:bob@[2001:db8::1]", "sip:bob@[2001:0DB8:0:0::1]"),
            ("sip:bob@h;n%61me=v%61lue", "sip:bob@h;name=VALUE"),
        ],
    )
    def test_equivalent(self, one: str, other: str) -> None:
        assert Uri.parse(one).equivalent(Uri.parse(other))
        assert Uri.parse(other).equivalent(Uri.parse(one))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("SIP:ALICE@AtlanTa.CoM;Transport=udp", "sip:alice@AtlanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:bob@h", "sips:bob@h"),
            ("sip:bob@h", "sip:h"),
            ("sip:bob:x@h", "sip:bob@h"),
            ("sip:bob@h;maddr=192.0.2.1", "sip:bob@h"),
            ("sip:a%2Fb@h;x=1", "sip:a/b@h;x=2"),
        ],
    )
    def test_not_equivalent(self, one: str, other: str) -> None:
        assert not Uri.parse(one).equivalent(Uri.parse(other))
        assert not Uri.parse(other).equivalent(Uri.parse(one))


LETTERS = "abcXYZ019-_.!~*'()"
texts = st.lists(st.sampled_from([*LETTERS, "%41", "%2f", "%00"]), min_size=1, max_size=12).map("".join)
labels = st.from_regex(r"[a-z]([a-z0-9_-]{0,8}[a-z0-9])?", fullmatch=True)
hosts = st.one_of(
    st.lists(labels, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
params = st.dictionaries(texts.map(str.lower), st.none() | texts, max_size=4).map(lambda d: tuple(d.items()))
uris = st.builds(
    Uri,
    scheme=st.sampled_from(["sip", "sips"]),
    user=texts,
    password=st.none() | texts,
    host=hosts,
    port=st.none() | st.integers(1, 65535),
    params=params,
    headers=st.lists(st.tuples(texts, texts).map("=".join), max_size=3).map("&".join),
)


class TestProperties:
    @settings(deadline=None)
    @given(uris)
    def test_round_trip(self, uri: Uri) -> None:
        assert Uri.parse(str(uri)) == uri

    @settings(deadline=None)
    @given(uris)
    def test_equivalent_to_itself_in_another_spelling(self, uri: Uri) -> None:
        other = Uri(
            uri.scheme,
            uri.user,
            uri.password,
            uri.host,
            uri.port,
            tuple((name.upper(), value.swapcase() if value else value) for name, value in reversed(uri.params)),
            "&".join(reversed(uri.headers.split("&"))) if uri.headers else "",
        )
        assert uri.equivalent(Uri.parse(str(other)))

    @settings(deadline=None)
    @given(uris, uris)
    def test_equivalence_is_symmetric(self, one: Uri, other: Uri) -> None:
        assert one.equivalent(other) == other.equivalent(one)

    @settings(deadline=None)
    @given(st.text(max_size=80) | st.text("sip:@[]?;=&%.0aA ", max_size=40).map("sip:".__add__))
    def test_any_text_is_a_uri_or_a_syntax_error(self, text: str) -> None:
        try:
            uri = Uri.parse(text)
        except SipSyntaxError:
            return
        assert Uri.parse(str(uri)) == uri
