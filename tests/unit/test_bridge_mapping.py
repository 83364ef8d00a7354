"""What each side of a bridge gets of the other's messages (RFC 7092, RFC 3261 §16)."""

from __future__ import annotations

from typing import Any

import pytest

from sipprofile.profile import Bridge
from sipprofile.service.bridge import mapping, statuses
from sipprofile.service.bridge.dialogs import DialogName
from sipprofile.service.bridge.mapping import Side
from sipprofile.sip.message import Request, build_request, parse
from sipprofile.sip.uri import Uri

AOR = "sip:alice@example.test"
NETWORK_LEG = DialogName("net-call", "our-net-tag", "callee-tag")
PROGRAM_LEG = DialogName("prog-call", "our-prog-tag", "prog-tag")


def side(**settings: Any) -> Side:
    bridge = Bridge(**{"uri": "sip:box@127.0.0.1:5062", **settings})
    return Side(bridge, Uri.parse(AOR), 5080, bridge.uri, "t0ken")


def request(uri: str = "sip:t0ken@203.0.113.9", method: str = "INVITE", **headers: str) -> Request:
    lines = {
        "Via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From": '"Bob" <sip:bob@example.test>;tag=1',
        "To": "<sip:+4930123@example.test>",
        "Call-ID": "c1",
        "CSeq": f"1 {method}",
        "Max-Forwards": "70",
    }
    lines.update({name.replace("_", "-"): value for name, value in headers.items()})
    message = parse(build_request(method, uri, list(lines.items())))
    assert isinstance(message, Request)
    return message


def peer(name: DialogName) -> DialogName | None:
    return {NETWORK_LEG: PROGRAM_LEG, PROGRAM_LEG: NETWORK_LEG}.get(name)


def to_program(**headers: str) -> dict[str, str]:
    return dict(mapping.to_program(side(), request(**headers), peer))


def to_provider(**headers: str) -> dict[str, str]:
    return dict(mapping.to_provider(side(), request(**headers), peer))


class TestHeaders:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK2"),
            ("Route", "<sip:192.0.2.7;lr>"),
            ("Record-Route", "<sip:192.0.2.7;lr>"),
            ("Contact", "<sip:bob@192.0.2.7>"),
            ("Path", "<sip:192.0.2.7;lr>"),
            ("Service-Route", "<sip:192.0.2.7;lr>"),
            ("Authorization", 'Digest username="alice"'),
            ("Proxy-Authorization", 'Digest username="alice"'),
            ("Proxy-Require", "privacy"),
            ("RAck", "1 2 INVITE"),
            ("Content-Type", "application/sdp"),
        ],
    )
    def test_what_belongs_to_one_side_stays_there(self, name: str, value: str) -> None:
        headers = {name.replace("-", "_"): value}
        assert not {key for key in to_program(**headers) if key.lower() == name.lower()}
        assert not {key for key in to_provider(**headers) if key.lower() == name.lower()}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Allow", "INVITE, ACK, BYE"),
            ("Session-Expires", "1800;refresher=uac"),
            ("Min-SE", "90"),
            ("Subject", "caf\u00e9"),
            ("X-Room", "12"),
            ("Privacy", "session"),
            ("Reason", 'Q.850;cause=16;text="Terminated"'),
            ("Event", "presence"),
            ("Expires", "600"),
            ("Content-Disposition", "session"),
            ("Diversion", "<sip:carol@example.test>;reason=unconditional"),
        ],
    )
    def test_the_rest_passes_as_it_is(self, name: str, value: str) -> None:
        headers = {name.replace("-", "_"): value}
        assert to_program(**headers)[name] == value
        assert to_provider(**headers)[name] == value

    @pytest.mark.parametrize("name", ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"])
    def test_who_the_program_says_it_is_is_not_passed_unseen(self, name: str) -> None:
        headers = {name.replace("-", "_"): "<sip:boss@example.test>"}
        assert name not in to_provider(**headers)
        assert to_program(**headers)[name] == "<sip:boss@example.test>"

    def test_option_tags_of_the_first_hop_are_left_out(self) -> None:
        assert to_provider(Supported="100rel, outbound, timer,gruu")["Supported"] == "100rel, timer"
        assert "Require" not in to_provider(Require="sec-agree")
        assert to_program(k="replaces, path")["k"] == "replaces"

    @pytest.mark.parametrize(
        ("value", "left"), [("70", 69), ("1", 0), ("0", -1), ("255", 70), ("x", 70), ("9" * 9999, 70)]
    )
    def test_max_forwards_is_one_less(self, value: str, left: int) -> None:
        assert mapping.max_forwards(request(Max_Forwards=value)) == left


class TestDialogsOfTheOtherSide:
    """RFC 3891 §3, RFC 4538 §7, RFC 3515 with RFC 3891 §7."""

    def test_replaces_of_a_caller_names_our_leg_and_becomes_the_programs(self) -> None:
        replaces = to_program(Replaces="net-call;to-tag=our-net-tag;from-tag=callee-tag;early-only")["Replaces"]
        assert replaces == "prog-call;to-tag=prog-tag;from-tag=our-prog-tag;early-only"

    def test_and_back(self) -> None:
        replaces = to_provider(Replaces="prog-call;from-tag=prog-tag;to-tag=our-prog-tag")["Replaces"]
        assert replaces == "net-call;to-tag=callee-tag;from-tag=our-net-tag"

    def test_target_dialog_is_the_senders_view(self) -> None:
        value = to_provider(Target_Dialog="prog-call;local-tag=prog-tag;remote-tag=our-prog-tag")["Target-Dialog"]
        assert value == "net-call;remote-tag=callee-tag;local-tag=our-net-tag"

    def test_somebody_elses_dialog_stays_as_it_is(self) -> None:
        value = "elsewhere;to-tag=1;from-tag=2"
        assert to_program(Replaces=value)["Replaces"] == value

    def test_refer_to_with_replaces(self) -> None:
        value = '"Carol" <sip:carol@127.0.0.1:5080?Replaces=prog-call%3Bto-tag%3Dour-prog-tag%3Bfrom-tag%3Dprog-tag>'
        assert to_provider(Refer_To=value)["Refer-To"] == (
            '"Carol" <sip:carol@example.test?Replaces=net-call%3Bto-tag%3Dcallee-tag%3Bfrom-tag%3Dour-net-tag>'
        )

    def test_a_referral_to_our_contact_is_one_to_the_program(self) -> None:
        assert to_program(Refer_To="<sip:t0ken@203.0.113.9:5060>")["Refer-To"] == "<sip:box@127.0.0.1:5062>"
        assert to_program(Refer_To="<sip:carol@example.test>")["Refer-To"] == "<sip:carol@example.test>"

    def test_referred_by_shows_no_local_address(self) -> None:
        assert to_provider(Referred_By="<sip:100@127.0.0.1:5062>")["Referred-By"] == "<sip:100@example.test>"


class TestAddresses:
    @pytest.mark.parametrize(
        ("written", "known_as"),
        [
            ("sip:+4930123@127.0.0.1:5080", "sip:+4930123@example.test"),
            ("sip:+4930123@127.0.0.1:5080;transport=udp;user=phone", "sip:+4930123@example.test;user=phone"),
            ("sip:bob@localhost", "sip:bob@example.test"),
            ("sip:bob@elsewhere.test:5070", "sip:bob@elsewhere.test:5070"),
            ("tel:+4930123", "tel:+4930123"),
            ("sip:127.0.0.1:5080", "sip:example.test"),
        ],
    )
    def test_of_this_machine_become_the_aors_domain(self, written: str, known_as: str) -> None:
        assert mapping.outward(side(), written) == known_as

    def test_so_does_the_allowed_network(self) -> None:
        assert mapping.outward(side(allowed=["172.17.0.0/16"]), "sip:9@172.17.0.2") == "sip:9@example.test"
        assert mapping.outward(side(), "sip:9@172.17.0.2") == "sip:9@172.17.0.2"

    @pytest.mark.parametrize(
        ("request_user", "uri"),
        [
            ("aor", "sip:alice@127.0.0.1:5062"),
            ("to", "sip:+4930123@127.0.0.1:5062"),
            ("token", "sip:t0ken@127.0.0.1:5062"),
            ("keep", "sip:box@127.0.0.1:5062"),
            ("p-called-party-id", "sip:77@127.0.0.1:5062"),
        ],
    )
    def test_request_user_says_what_the_program_sees(self, request_user: str, uri: str) -> None:
        asked = request(P_Called_Party_ID="<sip:77@example.test>")
        assert mapping.request_uri(side(request_user=request_user), asked, registered=False) == uri

    @pytest.mark.parametrize("request_user", ["to", "p-called-party-id"])
    def test_without_such_a_user_it_is_the_aors(self, request_user: str) -> None:
        asked = request(To="<sip:example.test>")
        uri = mapping.request_uri(side(request_user=request_user), asked, registered=False)
        assert uri == "sip:alice@127.0.0.1:5062"

    def test_a_dialled_telephone_number(self) -> None:
        asked = request(To="<tel:+4930123;phone-context=x>")
        assert mapping.request_uri(side(request_user="to"), asked, registered=False) == "sip:+4930123@127.0.0.1:5062"

    def test_who_has_registered_gets_its_contact(self) -> None:
        assert mapping.request_uri(side(), request(), registered=True) == "sip:box@127.0.0.1:5062"


class TestIdentities:
    def test_in_order_and_in_the_domain_of_the_aor(self) -> None:
        asked = request(
            From="<sip:100@127.0.0.1:5062>;tag=1",
            P_Asserted_Identity="<sip:+4930999@example.test>",
            P_Preferred_Identity="<sip:+4930888@127.0.0.1>",
        )
        assert mapping.identities(side(), asked) == [
            "sip:+4930888@example.test",
            "sip:+4930999@example.test",
            "sip:100@example.test",
        ]

    def test_the_aor_needs_no_asking(self) -> None:
        assert mapping.identities(side(), request(From="<sip:alice@127.0.0.1>;tag=1")) == []

    @pytest.mark.parametrize(
        "headers", [{"Privacy": "id"}, {"Privacy": "user;id"}, {"From": "<sip:anonymous@anonymous.invalid>;tag=1"}]
    )
    def test_anonymous(self, headers: dict[str, str]) -> None:
        asked = request(**headers)
        assert mapping.is_anonymous(asked)
        assert "Privacy" not in dict(mapping.to_provider(side(), asked, peer))

    def test_who_hides_nothing_is_not(self) -> None:
        assert not mapping.is_anonymous(request(Privacy="none"))


@pytest.mark.parametrize(("status", "program", "provider"), [(401, 403, 480), (407, 403, 480), (486, 486, 486)])
def test_nobody_is_asked_for_a_password_of_the_other_side(status: int, program: int, provider: int) -> None:
    assert statuses.for_program(status, "INVITE") == program
    assert statuses.for_provider(status, "INVITE") == provider


def test_only_an_invite_is_answered_408() -> None:
    """RFC 4320 §4.2."""
    assert [statuses.for_program(408, method) for method in ("INVITE", "MESSAGE")] == [408, 504]
    assert [statuses.after_failure("timeout", method) for method in ("INVITE", "MESSAGE")] == [408, 504]
