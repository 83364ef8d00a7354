"""What owners may say in a request, and as whom (RFC 3261 §8.1.1, §20; RFC 3323, RFC 3325, RFC 3840, RFC 5627)."""

from __future__ import annotations

from typing import Any

import pytest
from machine_driver import UDP, server
from useragent_world import BOB, UserAgentWorld

from sipprofile.errors import SipProfileError
from sipprofile.useragent import client, drafts
from sipprofile.useragent import server as responding
from sipprofile.useragent.draft import MAXIMUM_BODY, Answer
from sipprofile.useragent.identity import canonical, fits


@pytest.fixture
def world() -> UserAgentWorld:
    return UserAgentWorld(allowed_identities=["sip:+4930*@192.0.2.1", "tel:+4930*"])


def refused(world: UserAgentWorld, method: str = "MESSAGE", **draft: Any) -> SipProfileError:
    """The error of a request that cannot be sent; nothing is left of it."""
    with pytest.raises(SipProfileError) as raised:
        world.send(method, **draft)
    world.settle()
    assert world.requests == []
    assert world.user_agent.outgoing == {}
    return raised.value


class TestHeaders:
    def test_they_go_out_as_they_are_in_their_order(self, world: UserAgentWorld) -> None:
        given = (("X-Two", "2"), ("subject", "a, b;c"), ("X-Two", "1"), ("Accept-Contact", "*;audio"))
        world.send(headers=given)
        assert [item for item in world.last.items() if item in given] == list(given)

    @pytest.mark.parametrize(
        "name",
        [
            *("Via", "CSeq", "Max-Forwards", "Route", "Record-Route", "Authorization", "Proxy-Authorization", "From"),
            *("To", "Call-ID", "Contact", "Content-Length", "Content-Type", "v", "F", "t", "i", "m", "l", "c", "VIA"),
        ],
    )
    def test_what_the_service_writes_is_refused(self, world: UserAgentWorld, name: str) -> None:
        error = refused(world, headers=((name, "x"),))
        assert (error.code, error.value) == ("header_refused", name)

    @pytest.mark.parametrize("value", ["a\r\nVia: b", "a\n b", "a\rb", "a\0b", "a\x7f"])
    def test_line_breaks_are_refused(self, world: UserAgentWorld, value: str) -> None:
        assert refused(world, headers=(("X-A", value),)).code == "header_refused"

    @pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "ä"])
    def test_names_are_tokens(self, world: UserAgentWorld, name: str) -> None:
        assert refused(world, headers=((name, "x"),)).code == "invalid_value"

    def test_there_is_an_end_to_them(self, world: UserAgentWorld) -> None:
        assert refused(world, headers=(("A", "x"),) * (drafts.MAXIMUM_HEADERS + 1)).code == "too_large"
        assert refused(world, headers=(("A", "x" * drafts.MAXIMUM_HEAD),)).code == "too_large"

    def test_an_application_may_name_itself(self, world: UserAgentWorld) -> None:
        world.send(headers=(("User-Agent", "mine"),))
        assert world.last.headers("user-agent") == ["mine"]

    def test_its_own_supported_and_allow_count(self, world: UserAgentWorld) -> None:
        world.invite(headers=(("Supported", "timer"), ("Session-Expires", "1800"), ("Allow", "INVITE")))
        assert (world.last.headers("supported"), world.last.headers("allow")) == (["timer"], ["INVITE"])
        assert world.last.header("session-expires") == "1800"

    def test_by_hand_nothing_is_promised(self, world: UserAgentWorld) -> None:
        world.invite(manual=True)
        assert (world.last.headers("supported"), world.last.headers("allow")) == ([], [])


class TestMethods:
    @pytest.mark.parametrize(
        "method", ["ACK", "CANCEL", "REGISTER", "BYE", "PRACK", "UPDATE", "INFO", "A B", "", "M" * 33]
    )
    def test_some_are_not_sent_like_this(self, world: UserAgentWorld, method: str) -> None:
        assert refused(world, method).code == "invalid_value"

    @pytest.mark.parametrize("method", ["register", "Register", "cancel", "ack", "Invite", "message", "bye"])
    def test_nor_one_that_a_careless_server_takes_for_another(self, world: UserAgentWorld, method: str) -> None:
        assert refused(world, method).code == "invalid_value"

    @pytest.mark.parametrize("seconds", [-1, -(10**30), 2**32, 10**30])
    @pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH"])
    def test_refreshed_after_a_time_that_is_none(self, world: UserAgentWorld, method: str, seconds: int) -> None:
        assert refused(world, method, headers=(("Event", "presence"),), refresh=seconds).code == "invalid_value"

    def test_one_that_nobody_knows_is_sent(self, world: UserAgentWorld) -> None:
        world.send("PING")
        assert (world.last.method, world.last.header("contact")) == ("PING", None)

    @pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "REFER"])
    def test_what_they_cannot_do_without(self, world: UserAgentWorld, method: str) -> None:
        assert refused(world, method).code == "missing_field"

    def test_a_compact_form_is_one_too(self, world: UserAgentWorld) -> None:
        world.send("SUBSCRIBE", headers=(("o", "presence"),))
        assert world.last.header("event") == "presence"

    def test_what_is_refreshed_asks_for_that_long(self, world: UserAgentWorld) -> None:
        world.send("PUBLISH", headers=(("Event", "presence"),), refresh=600)
        assert world.last.headers("expires") == ["600"]
        assert refused_after(world, "MESSAGE", refresh=600).code == "invalid_value"


def refused_after(world: UserAgentWorld, method: str, **draft: Any) -> SipProfileError:
    with pytest.raises(SipProfileError) as raised:
        world.send(method, **draft)
    return raised.value


class TestBody:
    def test_64_kib_are_the_most(self, world: UserAgentWorld) -> None:
        error = refused(world, body=b"x" * (MAXIMUM_BODY + 1), content_type="text/plain")
        assert error.code == "too_large"
        assert str(MAXIMUM_BODY) in str(error)

    def test_it_says_what_it_is(self, world: UserAgentWorld) -> None:
        assert refused(world, body=b"x").code == "missing_field"
        for wrong in ("text", "text/", "/plain", "text/pl ain", "text/plain\r\nX: y", "a/b;c\0"):
            assert refused(world, body=b"x", content_type=wrong).code == "invalid_value"
        world.send(body=b"x", content_type="text/plain;charset=UTF-8")
        assert world.last.header("content-type") == "text/plain;charset=UTF-8"


class TestWhere:
    @pytest.mark.parametrize(
        "uri",
        [
            *("", "bob", "mailto:bob@x", "sip:", "sip:bob@x y", "sip:bob@x?Subject=a", "sip:bob@x\r\n", "<sip:bob@x>"),
            *("sip:bob@x>;tag=a", "tel:", "tel:abc x", "sip:" + "b" * 2000 + "@x", "sip:bob:geheim@x"),
        ],
    )
    def test_it_must_be_a_uri(self, world: UserAgentWorld, uri: str) -> None:
        error = refused(world, uri=uri)
        assert error.code in ("invalid_value", "missing_field")
        assert "geheim" not in str(error)
        if uri:
            assert refused(world, to=uri).field == "to"

    def test_to_may_be_another(self, world: UserAgentWorld) -> None:
        world.send(uri="sip:gateway@x", to="tel:+49301234")
        assert (world.last.uri, world.last.header("to")) == ("sip:gateway@x", "<tel:+49301234>")

    def test_the_call_id_may_be_chosen(self, world: UserAgentWorld) -> None:
        world.send(call_id="mine@here")
        assert world.last.header("call-id") == "mine@here"
        for wrong in ("", "a b", "a@b@c", "a\r\nb", "x" * 300, "a,b"):
            assert refused_after(world, "MESSAGE", call_id=wrong).code == "invalid_value"

    @pytest.mark.parametrize("number", [0, 256, -1])
    def test_max_forwards(self, world: UserAgentWorld, number: int) -> None:
        assert refused(world, max_forwards=number).code == "invalid_value"
        world.send(max_forwards=7)
        assert world.last.header("max-forwards") == "7"


class TestContact:
    def test_parameters_are_added_to_ours(self, world: UserAgentWorld) -> None:
        world.invite(contact_params=';audio;+g.x="a,b"')
        assert world.last.header("contact") == f'<{world.flow().contact}>;audio;+g.x="a,b"'

    @pytest.mark.parametrize("text", [";a, <sip:x>", ";expires=3", ";a=<b>", ';a="b', ";a\r\nb", ";reg-id=1", ";=x"])
    def test_more_than_that_is_refused(self, world: UserAgentWorld, text: str) -> None:
        assert refused(world, "INVITE", contact_params=text).code == "invalid_value"

    def test_a_gruu_is_our_contact_where_there_is_one(self, world: UserAgentWorld) -> None:
        """RFC 5627 §4.4; who wants to stay unknown shows the temporary one."""
        world.flow().gruu = ("sip:alice1@192.0.2.1;gr=urn:uuid:1", "sip:tgruu@192.0.2.1;gr")
        world.invite()
        assert world.last.header("contact") == "<sip:alice1@192.0.2.1;gr=urn:uuid:1>"
        world.invite(anonymous=True)
        assert world.last.header("contact") == "<sip:tgruu@192.0.2.1;gr>"
        world.flow().gruu = ("sip:alice1@192.0.2.1;gr=urn:uuid:1", "")
        world.invite(anonymous=True)
        assert world.last.header("contact") == f"<{world.flow().contact}>"

    def test_with_outbound_requests_come_back_by_the_same_flow(self, world: UserAgentWorld) -> None:
        """RFC 5626 §4.3."""
        world.flow().outbound = True
        world.invite()
        assert world.last.header("contact") == f"<{world.flow().contact};ob>"


class TestIdentity:
    def test_the_address_of_record_unless_another_is_asked_for(self, world: UserAgentWorld) -> None:
        world.send(display_name='Al "the" Ice')
        assert (world.last.header("from") or "").startswith('"Al \\"the\\" Ice" <sip:alice1@192.0.2.1>;tag=')
        assert world.last.header("p-preferred-identity") is None

    @pytest.mark.parametrize(
        "identity",
        ["sip:+49301@192.0.2.1", "sip:+49301@192.0.2.1;user=phone", "tel:+4930-55", "SIP:+4930@192.0.2.1"],
    )
    def test_one_that_the_profile_allows(self, world: UserAgentWorld, identity: str) -> None:
        world.send(identity=identity)
        assert (world.last.header("from") or "").startswith(f"<{identity}>;tag=")
        assert world.last.header("p-preferred-identity") == f"<{identity}>"

    def test_an_associated_one(self, world: UserAgentWorld) -> None:
        world.flow().registered_aors = ("sip:alice1@192.0.2.1", "sip:alias@example.test", "tel:+15551")
        for identity in ("sip:alias@EXAMPLE.test", "tel:+1-555-1"):
            world.send(identity=identity)
            assert world.last.header("p-preferred-identity") == f"<{identity}>"

    @pytest.mark.parametrize(
        "identity",
        [
            *(
                "sip:bob@192.0.2.1",
                "sip:+49301@192.0.2.2",
                "sips:+49301@192.0.2.1",
                "tel:+4940",
                "sip:ALICE1@192.0.2.1",
            ),
            *("sip:+49301@192.0.2.1:5070", "sip:+4930@evil.test;x=@192.0.2.1"),
        ],
    )
    def test_no_other(self, world: UserAgentWorld, identity: str) -> None:
        assert refused(world, identity=identity).code in ("identity_refused", "invalid_value")

    @pytest.mark.parametrize("name", ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"])
    def test_headers_that_say_who_sends_are_looked_at_too(self, world: UserAgentWorld, name: str) -> None:
        assert refused(world, headers=((name, '"Boss" <sip:boss@192.0.2.1>'),)).code == "identity_refused"
        world.send(headers=((name, "<tel:+49301>"),), identity="tel:+49302")
        assert world.last.headers(name.lower())[0] == "<tel:+49301>"

    @pytest.mark.parametrize("name", ["P-Asserted-Identity", "p-preferred-identity", "Remote-Party-ID"])
    @pytest.mark.parametrize("before", ["<{}>", "{}", '"A" <{}>', "<{}>;x=y", "<{}>;x", '<{}>;x="a,b"', "A <{}>"])
    def test_each_value_of_them(self, world: UserAgentWorld, name: str, before: str) -> None:
        aor = world.registrations.by_profile[1].plan.aor
        with pytest.raises(SipProfileError) as caught:
            world.send(headers=((name, f"{before.format(aor)}, <sip:boss@example.test>"),))
        assert caught.value.code in ("identity_refused", "invalid_value")
        world.send(headers=((name, f"<{aor}>;x=y, <{aor}>"),))

    def test_answers_and_acks_too(self, world: UserAgentWorld) -> None:
        headers = (("P-Asserted-Identity", "<sip:boss@example.test>"),)
        leg = world.call(body=b"")
        with pytest.raises(SipProfileError) as caught:
            client.acknowledge(world.user_agent, leg, headers, b"", None, world.now)
        assert caught.value.code == "identity_refused"
        found = world.receive(world.request_in(leg, "INFO", 1))
        assert found is not None
        responding.received(world.user_agent, found, ("192.0.2.1", 5060), UDP, world.now)
        (incoming,) = world.user_agent.incoming.values()
        with pytest.raises(SipProfileError) as caught:
            responding.respond(world.user_agent, incoming, Answer(200, headers=headers), world.now)
        assert caught.value.code == "identity_refused"

    def test_anonymous(self, world: UserAgentWorld) -> None:
        """RFC 3323 §4.1.1.3, RFC 3325 §9.2."""
        world.send(anonymous=True, display_name="Alice")
        assert (world.last.header("from") or "").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')
        assert world.last.header("privacy") == "id"
        assert world.last.header("p-preferred-identity") == "<sip:alice1@192.0.2.1>"
        world.send(anonymous=True, identity="tel:+49305", headers=(("Privacy", "id;user"),))
        assert world.last.headers("privacy") == ["id;user"]
        assert world.last.header("p-preferred-identity") == "<tel:+49305>"

    @pytest.mark.parametrize("name", ["a\r\nb", "x" * 300])
    def test_a_display_name_is_one_short_line(self, world: UserAgentWorld, name: str) -> None:
        assert refused(world, display_name=name).code == "invalid_value"

    def test_in_a_dialog_from_stays_what_it_was(self, world: UserAgentWorld) -> None:
        leg = world.call(identity="tel:+49301", display_name="A")
        world.send("BYE", leg=leg)
        invite, bye = world.requests
        assert bye.header("from") == invite.header("from")


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "identity"),
        [
            ("sip:*", "sip:a@b"),
            ("sip:+49*@x", "sip:+49@x"),
            ("sip:a*b*c@x", "sip:abbc@x"),
            ("sip:a@X", "sip:a@x"),
            ("SIP:a@x", "sip:a@x"),
            ("*", "tel:+1"),
        ],
    )
    def test_it_fits(self, pattern: str, identity: str) -> None:
        assert fits(pattern, canonical(identity))

    @pytest.mark.parametrize(
        ("pattern", "identity"),
        [
            ("sip:+49*@x", "sip:+48@x"),
            ("sip:ab*ba@x", "sip:aba@x"),
            ("sip:a*b*c@x", "sip:acb@x"),
            ("sip:a@x", "sip:A@x"),
            ("sip:*@x", "sips:a@x"),
            ("sip:*@x", "sip:a@xx"),
        ],
    )
    def test_it_does_not(self, pattern: str, identity: str) -> None:
        assert not fits(pattern, canonical(identity))

    def test_many_stars_take_linear_time(self) -> None:
        assert not fits("sip:" + "a*" * 2000 + "@x", "sip:" + "a" * 1000 + "@x")


class TestRoute:
    """RFC 3608 §6.1: the outbound proxy unless Service-Route begins with it, then Service-Route."""

    def test_of_a_request_outside_of_dialogs(self) -> None:
        world = UserAgentWorld(proxies=[server("sip:192.0.2.9")])
        world.flow().service_route = ("<sip:home.test;lr>",)
        world.send(uri=BOB)
        assert world.last.headers("route") == ["<sip:192.0.2.9;lr>", "<sip:home.test;lr>"]
        world.flow().service_route = ("<sip:192.0.2.9;lr>", "<sip:home.test;lr>")
        world.send(uri=BOB)
        assert world.last.headers("route") == ["<sip:192.0.2.9;lr>", "<sip:home.test;lr>"]
