"""The profile type ``ietf``: what can be saved, and what is sent for it (RFC 3261 §10.2, §19.1)."""

from __future__ import annotations

from typing import Any

import pytest

from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.profile import NOT_BUILT, Profile, ServerParameters
from sipprofile.sip.locating import Server

AGENT = IetfAgent()


def profile(**changes: Any) -> Profile:
    values: dict[str, Any] = {"name": "trunk", "aor": "sip:alice@example.test"}
    return Profile(**{**values, **changes})


def refused(**changes: Any) -> SipProfileError:
    with pytest.raises(SipProfileError) as raised:
        AGENT.validate(profile(**changes))
    return raised.value


class TestTemplate:
    def test_a_new_profile_has_its_type_and_nothing_else(self) -> None:
        assert AGENT.template() == Profile(type="ietf")


class TestAddressOfRecord:
    """RFC 3261 §10.2: a SIP or SIPS URI."""

    def test_it_is_needed(self) -> None:
        error = refused(aor="")
        assert (error.code, error.field) == ("missing_field", "aor")

    @pytest.mark.parametrize("aor", ["alice", "mailto:a@example.test", "sip:", "sip:a@b:99999", "sip:a@b?x=y", "tel:1"])
    def test_anything_but_a_sip_uri_is_refused_and_repeated(self, aor: str) -> None:
        error = refused(aor=aor)
        assert (error.code, error.field, error.value) == ("invalid_value", "aor", aor)

    def test_a_password_in_it_is_refused_and_not_repeated(self) -> None:
        error = refused(aor="sip:alice:secret@example.test")
        assert error.field == "aor"
        assert "secret" not in str(error.problem())

    def test_registrar_and_proxies_are_sip_uris_too(self) -> None:
        assert refused(registrar=ServerParameters(uri="http://x")).field == "registrar.uri"
        assert refused(proxies=[ServerParameters(uri="sip:a"), ServerParameters()]).field == "proxies[1].uri"


class TestRanges:
    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [("expires", 10, 4_294_967_295), ("dscp", 0, 63), ("linger", 0, 86_400), ("linger_lost", 0, 3_600)],
    )
    def test_from_to(self, name: str, low: int, high: int) -> None:
        for good in (low, high):
            AGENT.validate(profile(**{name: good}))
        for bad in (low - 1, high + 1):
            error = refused(**{name: bad})
            assert (error.code, error.field, error.value) == ("invalid_value", name, bad)

    def test_a_provider_name_has_at_most_100_characters(self) -> None:
        AGENT.validate(profile(provider_name="x" * 100))
        assert refused(provider_name="x" * 101).field == "provider_name"

    @pytest.mark.parametrize("evil", ["a\r\nVia: x", "a\nb", "a\0b"])
    @pytest.mark.parametrize("field", ["provider_name", "headers", "contact_params", "extensions", "password"])
    def test_no_line_break_and_no_nul_anywhere(self, field: str, evil: str) -> None:
        values: dict[str, Any] = {
            "provider_name": evil,
            "headers": [f"X-A: {evil}"],
            "contact_params": [f"a={evil}"],
            "extensions": {"a": [evil]},
        }
        if field == "password":
            error = refused(registrar=ServerParameters(uri="sip:a", password=evil))
            assert evil not in str(error.problem())
        else:
            error = refused(**{field: values[field]})
        assert error.code == "invalid_value"


class TestValidation:
    def test_all_problems_are_told_at_once(self) -> None:
        error = refused(aor="", dscp=64, labels={"a b": "c"})
        assert {problem["field"] for problem in error.members["problems"]} == {"aor", "dscp", "labels"}

    @pytest.mark.parametrize("name", NOT_BUILT)
    def test_what_is_not_built_is_refused_by_name(self, name: str) -> None:
        kind = type(getattr(Profile(), name))
        error = refused(**{name: True if kind is bool else "x"})
        assert (error.code, error.field) == ("not_supported", name)

    def test_what_is_unwise_is_advised_against_and_saved(self) -> None:
        codes = {advice.code for advice in AGENT.advice(profile(expires=30, contact_user="alice"))}
        assert codes >= {"short_expires", "guessable_contact", "no_password"}


class TestContact:
    @pytest.mark.parametrize("param", ["expires=60", "reg-id=1", "+sip.instance=x", "a b", "q=2", "a=b;c", ""])
    def test_refused_parameters(self, param: str) -> None:
        assert refused(contact_params=[param]).field == "contact_params[0]"

    def test_parameters_are_added_in_order(self) -> None:
        params = ["q=0.5", "audio", '+sip.x="a;b"']
        AGENT.validate(profile(contact_params=params))
        assert AGENT.plan(profile(contact_params=params), "t").contact_params == ';q=0.5;audio;+sip.x="a;b"'

    def test_the_user_is_the_token_unless_one_is_given(self) -> None:
        assert AGENT.plan(profile(), "token").contact_user == "token"
        assert AGENT.plan(profile(contact_user="alice"), "token").contact_user == "alice"
        assert refused(contact_user="a b").field == "contact_user"

    def test_a_contact_elsewhere(self) -> None:
        assert AGENT.plan(profile(contact_uri="sip:sbc.example.test"), "t").contact_uri == "sip:sbc.example.test"
        assert refused(contact_uri="sbc").field == "contact_uri"
        assert refused(contact_uri="sip:sbc", contact_user="a").code == "invalid_value"


class TestHeaders:
    def test_they_are_sent_as_they_are(self) -> None:
        headers = ["X-Site: berlin", "Supported: path"]
        AGENT.validate(profile(headers=headers))
        assert AGENT.plan(profile(headers=headers), "t").headers == tuple(headers)

    @pytest.mark.parametrize("line", ["no colon", ": x", "Call-ID: x", "v: x", "CONTACT: x", "Authorization: x"])
    def test_refused_ones(self, line: str) -> None:
        assert refused(headers=[line]).field == "headers[0]"


class TestWhereTo:
    """RFC 3261 §10.2: the request URI is the registrar without user, headers and lr."""

    def test_without_a_registrar_it_is_the_domain_of_the_aor(self) -> None:
        assert AGENT.plan(profile(), "t").request_uri == "sip:example.test"

    def test_user_and_lr_are_left_out(self) -> None:
        plan = AGENT.plan(profile(registrar=ServerParameters(uri="sip:x@192.0.2.1:5070;lr;transport=tcp")), "t")
        assert plan.request_uri == "sip:192.0.2.1:5070;transport=tcp"
        assert plan.hops[0].server == Server("192.0.2.1", 5070, "tcp", AGENT.transports)

    def test_proxies_are_hops_in_order_with_a_loose_route(self) -> None:
        proxies = [ServerParameters(uri="sip:a.test;transport=tcp"), ServerParameters(uri="sip:b.test")]
        hops = AGENT.plan(profile(proxies=proxies), "t").hops
        assert [hop.route for hop in hops] == ["<sip:a.test;transport=tcp;lr>", "<sip:b.test;lr>"]

    def test_a_strict_router_gets_no_lr(self) -> None:
        hop = AGENT.plan(profile(proxies=[ServerParameters(uri="sip:a.test", loose_routing=False)]), "t").hops[0]
        assert hop.strict
        assert hop.route == "<sip:a.test>"


class TestCredentials:
    @pytest.mark.parametrize(
        ("username", "private_identity", "expected"),
        [("auth", "private@x", "auth"), (None, "private@x", "private@x"), (None, None, "alice")],
    )
    def test_user_name(self, username: str | None, private_identity: str | None, expected: str) -> None:
        server = ServerParameters(uri="sip:a", username=username, password="secret")
        plan = AGENT.plan(profile(registrar=server, private_identity=private_identity), "t")
        assert plan.credentials is not None
        assert plan.credentials.username == expected

    def test_a_realm_limits_them(self) -> None:
        server = ServerParameters(uri="sip:a", realm="one", password="secret")
        plan = AGENT.plan(profile(registrar=server), "t")
        assert plan.credentials is not None
        assert plan.credentials.realm == "one"

    def test_without_a_password_there_are_none(self) -> None:
        assert AGENT.plan(profile(registrar=ServerParameters(uri="sip:a", username="x")), "t").credentials is None

    def test_no_secret_in_repr(self) -> None:
        server = ServerParameters(uri="sip:a", password="secret")
        plan = AGENT.plan(profile(registrar=server, proxies=[server]), "t")
        assert "secret" not in repr(plan)
