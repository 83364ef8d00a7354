"""What a profile type that registers by SIP checks, plans, advises and says of itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipprofile.agents.base import Agent, Problem
from sipprofile.agents.fields import LENGTHS, MAXIMUM_ITEMS, MAXIMUM_STRING, OWN_HEADERS, RANGES
from sipprofile.agents.ietf import IetfAgent, registrar_uri
from sipprofile.errors import ERRORS, SipProfileError
from sipprofile.profile import NOT_BUILT, Profile, ServerParameters
from sipprofile.registration.changes import consequence, credentials_changed
from sipprofile.sip.uri import Uri

AGENT = IetfAgent()
ALL = ["udp", "tcp", "tls", "ws", "wss"]
GOOD = Profile(name="trunk", aor="sip:alice@example.test")


def changed(**changes: Any) -> Profile:
    return msgspec.structs.replace(GOOD, **changes)


def server(uri: str = "sip:example.test", **more: Any) -> ServerParameters:
    return ServerParameters(uri=uri, **more)


def problems(**changes: Any) -> list[Problem]:
    return AGENT.problems(changed(**changes))


def the_problem(**changes: Any) -> Problem:
    found = problems(**changes)
    assert len(found) == 1, found
    return found[0]


class TestLineBreaksAndNul:
    """CR, LF and NUL are refused wherever a text can stand, keys included."""

    PLACES: tuple[tuple[str | None, Any], ...] = (
        ("name", lambda text: {"name": text}),
        ("aor", lambda text: {"aor": f"sip:a{text}@example.test"}),
        ("provider_name", lambda text: {"provider_name": text}),
        ("labels.key", lambda text: {"labels": {"key": text}}),
        (None, lambda text: {"labels": {text: "value"}}),
        ("registrar.uri", lambda text: {"registrar": server(f"sip:{text}")}),
        ("registrar.username", lambda text: {"registrar": server(username=text)}),
        ("registrar.realm", lambda text: {"registrar": server(realm=text)}),
        ("registrar.password", lambda text: {"registrar": server(password=text)}),
        ("registrar.extensions.x", lambda text: {"registrar": server(extensions={"x": text})}),
        ("proxies[1].uri", lambda text: {"proxies": [server(), server(f"sip:{text}")]}),
        ("proxies[0].password", lambda text: {"proxies": [server(password=text)]}),
        ("contact_params[0]", lambda text: {"contact_params": [f"a={text}"]}),
        ("contact_user", lambda text: {"contact_user": text}),
        ("contact_uri", lambda text: {"contact_uri": f"sip:{text}"}),
        ("headers[0]", lambda text: {"headers": [f"X-A: {text}"]}),
        ("allowed_identities[0]", lambda text: {"allowed_identities": [f"sip:{text}"]}),
        ("private_identity", lambda text: {"private_identity": text}),
        ("token_source", lambda text: {"token_source": text}),
        ("instance_id", lambda text: {"instance_id": text}),
        ("extensions.x", lambda text: {"extensions": {"x": text}}),
        ("extensions.x[1]", lambda text: {"extensions": {"x": ["fine", text]}}),
        (None, lambda text: {"extensions": {text: 1}}),
    )

    @pytest.mark.parametrize("evil", ["a\rb", "a\nb", "a\0b", "a\r\nContact: <sip:evil>", "\n", "a\n"])
    @pytest.mark.parametrize(("field", "changes"), PLACES)
    def test_everywhere(self, field: str | None, changes: Any, evil: str) -> None:
        found = [problem for problem in problems(**changes(evil)) if "line break" in problem.detail]
        assert found
        assert found[0].code == "invalid_value"
        assert field is None or found[0].field == field
        if "password" in (field or ""):
            assert all(problem.value is None for problem in found)

    def test_no_field_is_forgotten(self) -> None:
        """Every field that can hold a text is in the list above, or is one that is refused as a whole."""
        texts = {
            info.name
            for info in msgspec.structs.fields(Profile)
            if "str" in str(info.type) or "Server" in str(info.type)
        }
        listed = {field.partition(".")[0].partition("[")[0] for field, _ in self.PLACES if field}
        assert texts - listed == {"type", "access_point", "destination", "bearer"}

    @given(st.text(alphabet=st.sampled_from('a:;@<>" ,=\r\n\0%é'), max_size=12))
    def test_what_passes_never_breaks_a_line(self, text: str) -> None:
        for field, changes in self.PLACES:
            profile = changed(**changes(text))
            if field in ("name", "provider_name") or AGENT.problems(profile):
                continue
            plan = AGENT.plan(profile, "token")
            assert not {"\r", "\n", "\0"} & set("".join(str(value) for value in msgspec.structs.astuple(plan)))


class TestRangesAndLengths:
    @pytest.mark.parametrize(("name", "limits"), sorted(RANGES.items()))
    def test_numbers(self, name: str, limits: tuple[float, float]) -> None:
        low, high = limits
        assert not problems(**{name: low})
        assert not problems(**{name: high})
        for value in (low - 1, high + 1):
            problem = the_problem(**{name: value})
            assert (problem.code, problem.field, problem.value) == ("invalid_value", name, value)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.001])
    def test_times_that_are_no_numbers(self, value: float) -> None:
        assert the_problem(linger=value).field == "linger"

    @pytest.mark.parametrize(("name", "longest"), sorted(LENGTHS.items()))
    def test_texts(self, name: str, longest: int) -> None:
        prefix = "sip:h;x=" if name in ("aor", "contact_uri") else ""
        assert not problems(**{name: prefix + "a" * (longest - len(prefix))})
        assert the_problem(**{name: prefix + "a" * (longest + 1 - len(prefix))}).field == name

    def test_any_other_text_and_list(self) -> None:
        assert the_problem(extensions={"x": "a" * (MAXIMUM_STRING + 1)}).field == "extensions.x"
        assert the_problem(headers=["X-A: b"] * (MAXIMUM_ITEMS + 1)).field == "headers"
        assert the_problem(contact_params=["a"] * (MAXIMUM_ITEMS + 1)).field == "contact_params"
        assert the_problem(labels={"a": "b" * 201}).field == "labels.a"

    def test_a_name_has_no_limit_of_255_in_an_extension(self) -> None:
        assert not problems(extensions={"x": "a" * 1000, "y": ["b" * 1000] * 300, "z": 2**63 - 1, "w": True})
        assert the_problem(extensions={"z": 2**63}).field == "extensions.z"


class TestUris:
    BAD = (
        "alice",
        "sip:",
        "sip:a@b:0",
        "sip:a@b:65536",
        "sip:a b@c",
        "http://x",
        "tel:1",
        "sip:a@-x",
        "sip:a@b;c;c",
        " sip:a@b",
    )

    @pytest.mark.parametrize("uri", BAD)
    @pytest.mark.parametrize("field", ["aor", "registrar.uri", "proxies[0].uri", "contact_uri"])
    def test_what_is_none(self, field: str, uri: str) -> None:
        problem = the_problem(**self.with_uri(field, uri))
        assert (problem.code, problem.field, problem.value) == ("invalid_value", field, uri)

    @pytest.mark.parametrize("field", ["aor", "registrar.uri", "proxies[0].uri", "contact_uri"])
    def test_headers_and_passwords_do_not_belong_there(self, field: str) -> None:
        assert the_problem(**self.with_uri(field, "sip:a@b?x=y")).field == field
        secret = the_problem(**self.with_uri(field, "sip:a:topsecret@b"))
        assert secret.field == field
        assert "topsecret" not in repr(secret)

    @pytest.mark.parametrize("field", ["aor", "registrar.uri", "proxies[0].uri"])
    def test_what_cannot_be_reached(self, field: str) -> None:
        uri = "sip:b;transport=sctp"
        problem = the_problem(**self.with_uri(field, uri))
        assert (problem.code, problem.field, problem.value) == ("not_supported", field, uri)

    @pytest.mark.parametrize("field", ["aor", "registrar.uri", "proxies[0].uri"])
    def test_sips_is_not_udp(self, field: str) -> None:
        problem = the_problem(**self.with_uri(field, "sips:a@b;transport=udp"))
        assert (problem.code, problem.field) == ("invalid_value", field)

    @pytest.mark.parametrize(
        "uri", ["sip:b", "sip:b:5070", "sip:a@[2001:db8::1]:5060", "sip:b;transport=TCP;lr", "SIP:b"]
    )
    def test_what_is_fine(self, uri: str) -> None:
        assert not problems(registrar=server(uri), proxies=[server(uri)])

    def test_a_contact_may_point_to_what_we_cannot_reach(self) -> None:
        assert not problems(contact_uri="sip:sbc;transport=tls")

    def test_a_missing_one_is_named(self) -> None:
        assert (the_problem(aor="").code, the_problem(aor="").field) == ("missing_field", "aor")
        assert the_problem(registrar=ServerParameters()).field == "registrar.uri"

    @staticmethod
    def with_uri(field: str, uri: str) -> dict[str, Any]:
        places: dict[str, dict[str, Any]] = {
            "aor": {"aor": uri},
            "registrar.uri": {"registrar": server(uri)},
            "proxies[0].uri": {"proxies": [server(uri)]},
            "contact_uri": {"contact_uri": uri},
        }
        return places[field]


class TestNotSupported:
    @pytest.mark.parametrize("name", NOT_BUILT)
    def test_names_that_are_taken(self, name: str) -> None:
        value = True if isinstance(getattr(GOOD, name), bool) else "x"
        problem = the_problem(**{name: value})
        assert (problem.code, problem.field, problem.value) == ("not_supported", name, value)

    def test_the_list_is_complete_and_published(self) -> None:
        assert AGENT.describe()["not_supported"] == [*NOT_BUILT]


class TestOtherFields:
    @pytest.mark.parametrize("name", sorted(OWN_HEADERS))
    def test_headers_that_are_the_services(self, name: str) -> None:
        assert the_problem(headers=[f"{name.upper()} : x"]).field == "headers[0]"

    @pytest.mark.parametrize("line", ["", "X", ": y", "X Y: z", "Ü: z", "X-A\t b"])
    def test_what_is_no_header(self, line: str) -> None:
        assert the_problem(headers=["X-Good: 1", line]).field == "headers[1]"

    @pytest.mark.parametrize(
        "param", ["", "=", "a=", "a b", "a=b;expires=1", "a=<b>", 'a="b', 'a="b"c"', "ü", 'a="b\\"', "EXPIRES=1"]
    )
    def test_what_is_no_contact_parameter(self, param: str) -> None:
        assert the_problem(contact_params=[param]).field == "contact_params[0]"

    @pytest.mark.parametrize("param", ["audio", "q=0.25", "q=1.000", '+sip.src="a;b,c"', "methods=INVITE", 'a="b\\"c"'])
    def test_what_is_one(self, param: str) -> None:
        assert not problems(contact_params=[param])

    @pytest.mark.parametrize("user", ["", "a b", "a@b", "a:b", "%2", "ü", "<a>"])
    def test_a_contact_user_is_a_user_part(self, user: str) -> None:
        assert the_problem(contact_user=user).field == "contact_user"

    def test_a_contact_user_and_a_contact_uri_exclude_each_other(self) -> None:
        assert the_problem(contact_user="a", contact_uri="sip:b").field == "contact_user"

    @pytest.mark.parametrize("label", ["", "1a", "a b", "a-b", "a" * 65])
    def test_labels_have_plain_names(self, label: str) -> None:
        assert the_problem(labels={label: "x"}).field == "labels"

    @pytest.mark.parametrize("key", ["", "a b", "-a", "a" * 101, "ü"])
    def test_extensions_too(self, key: str) -> None:
        assert the_problem(extensions={key: 1}).field == "extensions"
        assert the_problem(registrar=server(extensions={key: 1})).field == "registrar.extensions"

    @pytest.mark.parametrize("identity", ["alice", "http://x", "sip:", "sip:a b", "sip:<a>"])
    def test_identities_are_patterns_of_uris(self, identity: str) -> None:
        assert the_problem(allowed_identities=["sip:*@x", identity]).field == "allowed_identities[1]"

    def test_an_instance_id_is_a_uuid(self) -> None:
        assert not problems(instance_id="00000000-0000-4000-8000-00000000abcd")
        for value in ("x", "00000000-0000-4000-8000-00000000ABCD", "urn:uuid:00000000-0000-4000-8000-00000000abcd"):
            assert the_problem(instance_id=value).field == "instance_id"

    @pytest.mark.parametrize("name", ["username", "realm"])
    def test_user_names_and_realms(self, name: str) -> None:
        assert the_problem(registrar=server(**{name: ""})).field == f"registrar.{name}"
        assert the_problem(proxies=[server(**{name: "a" * 257})]).field == f"proxies[0].{name}"


class TestErrors:
    def test_the_first_is_raised_and_all_are_listed(self) -> None:
        with pytest.raises(SipProfileError) as raised:
            AGENT.validate(changed(expires=1, dscp=99, aor=""))
        error = raised.value
        listed = error.problem()["problems"]
        assert (error.code, error.field) == (listed[0]["code"], listed[0]["field"])
        assert {entry["field"] for entry in listed} == {"expires", "dscp", "aor"}
        assert all(entry["code"] in ERRORS and entry["detail"].endswith(".") for entry in listed)

    def test_a_long_value_is_cut(self) -> None:
        with pytest.raises(SipProfileError) as raised:
            AGENT.validate(changed(provider_name="x" * 4000))
        assert len(raised.value.value) < 300


class TestAdvice:
    """Legal but unwise."""

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"expires": 59}, "expires"),
            ({"contact_user": "alice"}, "contact_user"),
            ({"registrar": server()}, "registrar.password"),
        ],
    )
    def test_each(self, changes: dict[str, Any], field: str) -> None:
        quiet = changed(registrar=server(password="x"))
        assert not AGENT.advice(quiet)
        advice = AGENT.advice(msgspec.structs.replace(quiet, **changes))
        assert [entry.field for entry in advice] == [field]

    def test_a_password_at_a_proxy_is_enough(self) -> None:
        assert not AGENT.advice(changed(proxies=[server(password="x")]))


class TestPlan:
    def test_equal_profiles_have_equal_plans(self) -> None:
        assert AGENT.plan(GOOD, "t") == AGENT.plan(changed(), "t")

    @pytest.mark.parametrize(
        "change", [{"name": "x"}, {"provider_name": "x"}, {"labels": {"a": "b"}}, {"linger": 5}, {"locked": True}]
    )
    def test_what_the_registrar_does_not_see_is_not_in_it(self, change: dict[str, Any]) -> None:
        assert AGENT.plan(changed(**change), "t") == AGENT.plan(GOOD, "t")

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, "none"),
            ({"registrar": server(password="x")}, "credentials"),
            ({"proxies": [server("sip:p", password="y")]}, "credentials"),
            ({"expires": 60}, "refresh"),
            ({"headers": ["X: y"]}, "refresh"),
            ({"contact_params": ["a"]}, "refresh"),
            ({"contact_user": "a"}, "replace"),
            ({"contact_uri": "sip:b"}, "replace"),
            ({"dscp": 46}, "replace"),
            ({"proxies": [server("sip:q")]}, "replace"),
            ({"proxies": []}, "replace"),
            ({"registrar": server("sip:other.test")}, "rebind"),
            ({"registrar": server("sip:example.test:5061")}, "rebind"),
            ({"aor": "sip:bob@example.test"}, "rebind"),
            ({"aor": "sip:bob@example.test", "expires": 60}, "rebind"),
            ({"contact_user": "a", "expires": 60, "name": "n"}, "replace"),
        ],
    )
    def test_what_a_change_means(self, change: dict[str, Any], expected: str) -> None:
        before = changed(registrar=server(), proxies=[server("sip:p")])
        old, new = AGENT.plan(before, "t"), AGENT.plan(msgspec.structs.replace(before, **change), "t")
        assert consequence(old, new) == expected
        if expected == "credentials":
            assert credentials_changed(old, new)

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("sip:user:pw@example.test:5070;lr;transport=tcp?x=y", "sip:example.test:5070;transport=tcp"),
            ("sip:example.test;method=REGISTER;maddr=x", "sip:example.test;maddr=x"),
        ],
    )
    def test_the_request_uri(self, uri: str, expected: str) -> None:
        assert str(registrar_uri(Uri.parse(uri), "sip")) == expected

    def test_the_aor_goes_without_parameters(self) -> None:
        assert AGENT.plan(changed(aor="sip:a@example.test:5070;user=phone"), "t").aor == "sip:a@example.test:5070"

    def test_proxies_without_lr_get_one(self) -> None:
        plan = AGENT.plan(changed(proxies=[server("sip:p;lr"), server("sip:q;transport=tcp")]), "t")
        assert [hop.route for hop in plan.hops] == ["<sip:p;lr>", "<sip:q;transport=tcp;lr>"]
        assert [hop.server.protocol for hop in plan.hops] == ["udp", "tcp"]
        assert not any(hop.strict for hop in plan.hops)


class TestDescription:
    def test_every_field_with_type_default_and_limits(self) -> None:
        described = AGENT.describe()
        assert (described["name"], described["class"], described["transports"]) == ("ietf", "internet", ALL)
        fields = described["fields"]
        assert set(fields) == {info.name for info in msgspec.structs.fields(Profile)}
        assert fields["expires"] == {"type": "int", "default": 3600, "range": [10, 4_294_967_295]}
        assert fields["register"]["values"] == ["always", "on-demand"]
        assert fields["provider_name"]["maximum_length"] == 100
        msgspec.json.encode(described)

    def test_a_plug_in_needs_only_the_interface(self) -> None:
        class Minimal(Agent):
            type = AGENT.type

        assert Minimal().advice(GOOD) == []
        assert Minimal().template().type == "ietf"
        with pytest.raises(NotImplementedError):
            Minimal().problems(GOOD)
        with pytest.raises(NotImplementedError):
            Minimal().plan(GOOD, "t")
