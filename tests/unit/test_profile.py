"""The profile as data: decoding, secrets, merging (RFC 7396)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile, ServerParameters, changed_fields, decode, merged, public, with_kept_secrets

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


class TestDecode:
    def test_defaults(self) -> None:
        assert decode({"aor": "sip:a@b"}) == Profile(aor="sip:a@b")

    def test_what_answers_add_is_ignored(self) -> None:
        document = {"aor": "sip:a@b", "revision": 3, "registration": {}, "warnings": [], "registrar": {"uri": "sip:c"}}
        document["registrar"] = {"uri": "sip:c", "password_set": True}
        assert decode(document) == Profile(aor="sip:a@b", registrar=ServerParameters(uri="sip:c"))

    @pytest.mark.parametrize(
        ("document", "field"),
        [({"aorr": 1}, "aorr"), ({"registrar": {"host": "x"}}, "registrar.host"), ({"inbound": {}}, "inbound")],
    )
    def test_unknown_fields_are_named(self, document: dict[str, object], field: str) -> None:
        with pytest.raises(SipProfileError) as raised:
            decode(document)
        assert (raised.value.code, raised.value.field) == ("unknown_field", field)

    @pytest.mark.parametrize(
        ("document", "field", "value"),
        [
            ({"expires": "long"}, "expires", "long"),
            ({"register": "sometimes"}, "register", "sometimes"),
            ({"proxies": [{"uri": "sip:a"}, {"uri": 7}]}, "proxies[1].uri", 7),
        ],
    )
    def test_wrong_types_are_named_and_repeated(self, document: dict[str, object], field: str, value: object) -> None:
        with pytest.raises(SipProfileError) as raised:
            decode(document)
        assert (raised.value.code, raised.value.field, raised.value.value) == ("invalid_value", field, value)

    def test_a_password_of_the_wrong_type_is_not_repeated(self) -> None:
        with pytest.raises(SipProfileError) as raised:
            decode({"registrar": {"uri": "sip:a", "password": 123456}})
        assert "123456" not in str(raised.value.problem())

    def test_extensions_of_the_four_kinds(self) -> None:
        extensions = {"a": 1, "b": True, "c": "text", "d": ["x", "y"]}
        servers = {"uri": "sip:a", "extensions": extensions}
        profile = decode({"extensions": extensions, "registrar": servers, "proxies": [servers]})
        assert profile.extensions == extensions
        assert profile.registrar is not None
        assert profile.registrar.extensions == profile.proxies[0].extensions == extensions
        with pytest.raises(SipProfileError):
            decode({"extensions": {"a": {"not": "one of them"}}})

    @given(JSON)
    def test_nonsense_is_an_error_and_never_a_crash(self, document: object) -> None:
        with contextlib.suppress(SipProfileError):
            decode(document)


class TestPublic:
    def test_no_secret_leaves(self) -> None:
        server = ServerParameters(uri="sip:a", password="secret")
        document = public(Profile(registrar=server, proxies=[server, ServerParameters(uri="sip:b")]))
        assert "secret" not in str(document)
        assert document["registrar"]["password_set"] is True
        assert [proxy["password_set"] for proxy in document["proxies"]] == [True, False]

    def test_what_comes_out_goes_in_again(self) -> None:
        profile = Profile(id=7, name="trunk", aor="sip:a@b", registrar=ServerParameters(uri="sip:c"), dscp=40)
        assert decode(public(profile)) == profile

    def test_no_secret_in_repr(self) -> None:
        assert "secret" not in repr(Profile(registrar=ServerParameters(uri="sip:a", password="secret")))


class TestSecretsAreKept:
    """An absent secret keeps it, null clears it."""

    CURRENT = Profile(
        registrar=ServerParameters(uri="sip:r", password="one"),
        proxies=[ServerParameters(uri="sip:a", password="two"), ServerParameters(uri="sip:b", password="three")],
    )

    def test_absent(self) -> None:
        document = {"registrar": {"uri": "sip:r"}, "proxies": [{"uri": "sip:b"}, {"uri": "sip:a"}]}
        profile = decode(with_kept_secrets(document, self.CURRENT))
        assert profile.registrar is not None
        assert profile.registrar.password == "one"
        assert [proxy.password for proxy in profile.proxies] == ["three", "two"]

    def test_null(self) -> None:
        document = {"registrar": {"uri": "sip:r", "password": None}, "proxies": [{"uri": "sip:a", "password": None}]}
        profile = decode(with_kept_secrets(document, self.CURRENT))
        assert profile.registrar is not None
        assert profile.registrar.password is None
        assert profile.proxies[0].password is None

    def test_another_server_gets_nothing(self) -> None:
        profile = decode(with_kept_secrets({"proxies": [{"uri": "sip:evil"}]}, self.CURRENT))
        assert profile.proxies[0].password is None


class TestMerged:
    """The example of RFC 7396 §3."""

    def test_example(self) -> None:
        current = {"title": "Goodbye!", "author": {"given": "John", "family": "Doe"}, "tags": ["a", "b"], "c": "x"}
        patch = {"title": "Hello!", "phone": "+1", "author": {"family": None}, "tags": ["a"]}
        assert merged(current, patch) == {
            "title": "Hello!",
            "author": {"given": "John"},
            "tags": ["a"],
            "c": "x",
            "phone": "+1",
        }

    @given(
        st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.dictionaries(st.text(max_size=3), JSON, max_size=4)
    )
    def test_merging_twice_changes_nothing_more(self, current: dict[str, object], patch: dict[str, object]) -> None:
        once = merged(current, patch)
        assert merged(once, patch) == once


def test_changed_fields_see_the_inside_of_servers() -> None:
    old = Profile(registrar=ServerParameters(uri="sip:a", extensions={"x": 1}), name="a")
    new = Profile(registrar=ServerParameters(uri="sip:a", extensions={"x": 2}), name="a")
    assert changed_fields(old, new) == {"registrar"}
    assert changed_fields(old, old) == frozenset()
