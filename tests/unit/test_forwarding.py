"""The proxy in front of the test registrar (RFC 3261 §16): what goes on, where to, and what comes back."""

from __future__ import annotations

import random

import pytest

from sipprofile.sip import digest
from sipprofile.sip.building import build_request, build_response
from sipprofile.sip.message import Request, Response, parse
from sipprofile.testing.registrar import Registrar
from sipprofile.testing.reply import Reply

ALICE, BOB, DESK = ("192.0.2.1", 5060), ("192.0.2.2", 5062), ("192.0.2.3", 5063)
OWN = ("192.0.2.10", 5060)
TO_BOB = "sip:bob@example.test"


@pytest.fixture
def registrar() -> Registrar:
    """Two users, no passwords asked for; it knows its own address."""
    registrar = Registrar(users={"alice": "secret", "bob": "another"}, random=random.Random(1))
    registrar.faults.algorithms = ()
    registrar.address = OWN
    return registrar


def lines_of(method: str, uri: str, branch: str = "1", **more: str) -> bytes:
    headers = {
        "Via": f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch};rport",
        "Max-Forwards": "70",
        "From": "<sip:alice@example.test>;tag=a",
        "To": f"<{TO_BOB}>",
        "Call-ID": "call",
        "CSeq": f"1 {method}",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return build_request(method, uri, list(headers.items()), b"body" if method in ("INVITE", "MESSAGE") else b"")


def bind(registrar: Registrar, source: tuple[str, int], user: str = "bob") -> str:
    contact = f"sip:token@{source[0]}:{source[1]}"
    data = lines_of("REGISTER", "sip:example.test", f"reg{source[1]}", To=f"<sip:{user}@example.test>")
    data = data.replace(b"Call-ID: call", f"Call-ID: {source[1]}\r\nContact: <{contact}>".encode())
    [reply] = registrar.receive(data, source, 0)
    assert b"200 OK" in reply.data
    return contact


def request(reply: Reply) -> Request:
    message = parse(reply.data)
    assert isinstance(message, Request)
    return message


def response(reply: Reply) -> Response:
    message = parse(reply.data)
    assert isinstance(message, Response)
    return message


def answer(registrar: Registrar, reply: Reply, status: int, tag: str = "b") -> list[Reply]:
    """What the registrar sends when the one it sent ``reply`` to answers it."""
    data = build_response(request(reply), status, to_tag=tag, source=OWN)
    return registrar.receive(data, reply.destination, 1)


class TestOneTarget:
    """RFC 3261 §16.6, §16.7, §16.11."""

    def test_a_request_for_a_user_goes_to_the_binding(self, registrar: Registrar) -> None:
        contact = bind(registrar, BOB)
        [onward] = registrar.receive(lines_of("MESSAGE", TO_BOB), ALICE, 1)
        sent = request(onward)
        assert (onward.destination, sent.uri, sent.body) == (BOB, contact, b"body")
        assert sent.header("max-forwards") == "69"
        assert len(sent.headers("via")) == 2
        assert sent.headers("via")[0].startswith("SIP/2.0/UDP 192.0.2.10:5060;")
        assert sent.header("record-route") is None

    def test_its_answers_go_back_to_the_sender(self, registrar: Registrar) -> None:
        bind(registrar, BOB)
        [onward] = registrar.receive(lines_of("INVITE", TO_BOB), ALICE, 1)
        for status in (180, 200):
            [back] = answer(registrar, onward, status)
            assert (back.destination, response(back).status) == (ALICE, status)
            assert response(back).headers("via") == ["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport"]
        assert [type(message) for message in registrar.passed] == [Request, Response, Response]

    def test_what_begins_a_dialog_is_record_routed(self, registrar: Registrar) -> None:
        bind(registrar, BOB)
        [onward] = registrar.receive(lines_of("INVITE", TO_BOB), ALICE, 1)
        assert request(onward).header("record-route") == "<sip:192.0.2.10:5060;lr>"
        registrar.record_route = False
        [onward] = registrar.receive(lines_of("INVITE", TO_BOB, "2"), ALICE, 1)
        assert request(onward).header("record-route") is None

    def test_a_retransmission_and_a_cancel_have_the_branch_of_the_request(self, registrar: Registrar) -> None:
        """§16.11, §9.2; so has the ACK to a refusal (§17.1.1.3)."""
        bind(registrar, BOB)
        invite = lines_of("INVITE", TO_BOB)
        [first] = registrar.receive(invite, ALICE, 1)
        for again in (invite, lines_of("CANCEL", TO_BOB), lines_of("ACK", TO_BOB, To=f"<{TO_BOB}>;tag=b")):
            [onward] = registrar.receive(again, ALICE, 2)
            assert onward.destination == BOB
            assert request(onward).branch() == request(first).branch()

    def test_a_cancel_for_nothing_is_answered_481(self, registrar: Registrar) -> None:
        bind(registrar, BOB)
        [reply] = registrar.receive(lines_of("CANCEL", TO_BOB), ALICE, 1)
        assert (reply.destination, response(reply).status) == (ALICE, 481)

    def test_a_user_without_bindings_is_away_and_nobody_else_is_known(self, registrar: Registrar) -> None:
        [reply] = registrar.receive(lines_of("MESSAGE", TO_BOB), ALICE, 1)
        assert response(reply).status == 480
        [reply] = registrar.receive(lines_of("MESSAGE", "sip:carol@example.test", "2"), ALICE, 1)
        assert response(reply).status == 404

    def test_max_forwards_comes_to_its_end(self, registrar: Registrar) -> None:
        """§16.3 step 3."""
        bind(registrar, BOB)
        [reply] = registrar.receive(lines_of("OPTIONS", TO_BOB, Max_Forwards="0"), ALICE, 1)
        assert (reply.destination, response(reply).status) == (ALICE, 483)

    def test_a_subscription_for_the_registrar_itself_does_not_go_on(self, registrar: Registrar) -> None:
        """RFC 3680."""
        bind(registrar, BOB)
        [reply] = registrar.receive(lines_of("SUBSCRIBE", TO_BOB, Event="reg"), BOB, 1)
        assert (reply.destination, response(reply).status) == (BOB, 405)


class TestDialogs:
    """RFC 3261 §12.2, §16.4, §16.5."""

    def test_a_request_for_a_contact_goes_where_its_binding_came_from(self, registrar: Registrar) -> None:
        contact = bind(registrar, BOB)
        data = lines_of(
            "REGISTER", "sip:example.test", "nat", To=f"<{TO_BOB}>", Contact=f"<{contact}>", CSeq="2 REGISTER"
        )
        registrar.receive(data.replace(b"Call-ID: call", b"Call-ID: 5062"), ("198.51.100.7", 40000), 1)
        [onward] = registrar.receive(lines_of("BYE", contact, To=f"<{TO_BOB}>;tag=b"), ALICE, 1)
        assert onward.destination == ("198.51.100.7", 40000)

    def test_its_own_routes_are_removed_and_the_next_is_followed(self, registrar: Registrar) -> None:
        contact = bind(registrar, BOB)
        own = "<sip:192.0.2.10:5060;lr>"
        [onward] = registrar.receive(lines_of("BYE", contact, Route=f"{own}, {own}"), ALICE, 1)
        assert (onward.destination, request(onward).headers("route")) == (BOB, [])
        beyond = "<sip:192.0.2.9:5070;lr>"
        [onward] = registrar.receive(lines_of("BYE", contact, "2", Route=f"{own}, {beyond}"), ALICE, 1)
        assert (onward.destination, request(onward).headers("route")) == (("192.0.2.9", 5070), [beyond])
        assert request(onward).uri == contact

    def test_an_address_is_as_good_as_a_binding(self, registrar: Registrar) -> None:
        [onward] = registrar.receive(lines_of("ACK", "sip:peer@192.0.2.3:5063"), ALICE, 1)
        assert onward.destination == DESK
        assert registrar.receive(lines_of("ACK", "sip:192.0.2.10:5060", "2"), ALICE, 1) == []

    def test_a_contact_that_moved_to_another_user_is_that_users(self, registrar: Registrar) -> None:
        contact = bind(registrar, BOB)
        bind(registrar, BOB, "alice")
        registrar.receive(
            lines_of("REGISTER", "sip:example.test", "gone", To=f"<{TO_BOB}>", Contact="*", Expires="0"), BOB, 1
        )
        [onward] = registrar.receive(lines_of("BYE", contact), ALICE, 1)
        assert onward.destination == BOB


class TestForking:
    """RFC 3261 §16.6, §16.7."""

    @pytest.fixture
    def branches(self, registrar: Registrar) -> list[Reply]:
        bind(registrar, BOB)
        bind(registrar, DESK)
        branches = registrar.receive(lines_of("INVITE", TO_BOB), ALICE, 1)
        assert [reply.destination for reply in branches] == [BOB, DESK]
        return branches

    def test_provisionals_of_all_come_back(self, registrar: Registrar, branches: list[Reply]) -> None:
        assert [response(answer(registrar, branch, 180)[0]).status for branch in branches] == [180, 180]
        assert answer(registrar, branches[0], 100) == []

    def test_the_first_2xx_cancels_the_others(self, registrar: Registrar, branches: list[Reply]) -> None:
        back, cancel = answer(registrar, branches[1], 200)
        assert (back.destination, response(back).status) == (ALICE, 200)
        assert (cancel.destination, request(cancel).method) == (BOB, "CANCEL")
        assert request(cancel).branch() == request(branches[0]).branch()
        assert answer(registrar, cancel, 200) == []
        [ack] = answer(registrar, branches[0], 487)
        assert (ack.destination, request(ack).method) == (BOB, "ACK")

    def test_a_2xx_that_crosses_comes_back_too(self, registrar: Registrar, branches: list[Reply]) -> None:
        answer(registrar, branches[0], 200)
        [back] = answer(registrar, branches[1], 200)
        assert (back.destination, response(back).status) == (ALICE, 200)

    def test_of_refusals_the_best_comes_back_when_all_are_there(
        self, registrar: Registrar, branches: list[Reply]
    ) -> None:
        [ack] = answer(registrar, branches[0], 503)
        assert request(ack).method == "ACK"
        _, back = answer(registrar, branches[1], 486)
        assert (back.destination, response(back).status) == (ALICE, 486)
        assert registrar.receive(lines_of("ACK", TO_BOB, To=f"<{TO_BOB}>;tag=b"), ALICE, 2) == []

    def test_a_6xx_is_for_all(self, registrar: Registrar, branches: list[Reply]) -> None:
        answer(registrar, branches[0], 603)
        assert response(answer(registrar, branches[1], 404)[-1]).status == 603

    def test_a_callers_cancel_goes_to_all(self, registrar: Registrar, branches: list[Reply]) -> None:
        cancels = registrar.receive(lines_of("CANCEL", TO_BOB), ALICE, 2)
        assert [reply.destination for reply in cancels] == [BOB, DESK]
        assert [request(reply).branch() for reply in cancels] == [request(reply).branch() for reply in branches]

    def test_a_message_is_answered_once(self, registrar: Registrar) -> None:
        bind(registrar, BOB)
        bind(registrar, DESK)
        one, two = registrar.receive(lines_of("MESSAGE", TO_BOB), ALICE, 1)
        assert answer(registrar, one, 404) == []
        assert response(answer(registrar, two, 200)[0]).status == 200
        assert response(answer(registrar, two, 200)[0]).status == 200  # a retransmission's
        assert answer(registrar, one, 200) == []


class TestCallers:
    """RFC 3261 §22.3."""

    @pytest.fixture
    def strict(self, registrar: Registrar) -> Registrar:
        bind(registrar, BOB)
        registrar.faults.algorithms = ("MD5",)
        registrar.faults.challenge_requests = True
        return registrar

    def test_a_user_proves_who_it_is(self, strict: Registrar) -> None:
        [challenge] = strict.receive(lines_of("INVITE", TO_BOB), ALICE, 1)
        refused = response(challenge)
        assert (challenge.destination, refused.status) == (ALICE, 407)
        ack = lines_of("ACK", TO_BOB, To=refused.header("to") or "")
        assert strict.receive(ack, ALICE, 1) == []
        credentials = proof(refused, "alice", "secret")
        invite = lines_of("INVITE", TO_BOB, "2", Proxy_Authorization=credentials)
        [onward] = strict.receive(invite, ALICE, 2)
        assert onward.destination == BOB
        [again] = strict.receive(invite, ALICE, 3)  # the nonce count is not judged twice
        assert again.destination == BOB

    def test_nobody_is_somebody_else(self, strict: Registrar) -> None:
        [challenge] = strict.receive(lines_of("INVITE", TO_BOB), ALICE, 1)
        credentials = proof(response(challenge), "bob", "another")
        [reply] = strict.receive(lines_of("INVITE", TO_BOB, "2", Proxy_Authorization=credentials), ALICE, 2)
        assert response(reply).status == 403

    def test_strangers_and_dialogs_are_not_asked(self, strict: Registrar) -> None:
        stranger = lines_of("MESSAGE", TO_BOB, From="<sip:eve@elsewhere.test>;tag=e")
        assert strict.receive(stranger, ALICE, 1)[0].destination == BOB
        bye = lines_of("BYE", TO_BOB, "3", To=f"<{TO_BOB}>;tag=b")
        assert strict.receive(bye, ALICE, 1)[0].destination == BOB


def proof(challenge: Response, username: str, password: str) -> str:
    """Proxy-Authorization for an INVITE to Bob."""
    [offered] = digest.parse_challenges(challenge.headers("proxy-authenticate"), proxy=True)
    ha1 = digest.ha1("MD5", username, offered.realm, password)
    return digest.authorization(
        offered, username=username, ha1=ha1, method="INVITE", uri=TO_BOB, nonce_count=1, cnonce="c"
    )
