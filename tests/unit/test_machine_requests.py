"""Requests other than REGISTER along the registered flow (RFC 3261 §8.1, §12.2; RFC 3608 §6.1; RFC 3263 §4.3)."""

from __future__ import annotations

import pytest
from machine_driver import TCP, UDP, Driver, answer, challenge, digest, ok, reply, server, silence

from sipprofile.registration.profile_line import ProfileLine, best_flow
from sipprofile.registration.requests import MAXIMUM_OUTSTANDING, ClientRequest, send
from sipprofile.sip.dialog import Dialog, routed
from sipprofile.sip.message import Request, Response


class Sender:
    """Sends for a driver's profile and keeps what came of it."""

    def __init__(self, driver: Driver, number: int = 1) -> None:
        self.driver = driver
        self.number = number
        self.results: list[Response | str] = []
        self.dialog = Dialog("call-1", "sip:alice1@192.0.2.1", "mine", "sip:bob@example.test", "sip:bob@example.test")

    def send(self, method: str = "MESSAGE", body: bytes = b"hi") -> bool:
        registrations = self.driver.registrations

        def heard(request: ClientRequest, result: Response | str, now: float) -> None:
            self.results.append(request.code or result)

        request = ClientRequest(self.dialog, method, ProfileLine(self.number), heard, body=body, has_contact=True)
        code = send(registrations, request, self.driver.now)
        self.driver.settle()
        return not code

    @property
    def outcome(self) -> int | str:
        (result,) = self.results
        return result if isinstance(result, str) else result.status


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def sender(driver: Driver) -> Sender:
    driver.registered()
    return Sender(driver)


@pytest.mark.pain(9)
class TestWhatIsSent:
    def test_the_request(self, driver: Driver, sender: Sender) -> None:
        assert sender.send()
        (request,) = driver.requests
        assert (request.method, request.uri, request.body) == ("MESSAGE", "sip:bob@example.test", b"hi")
        assert request.header("from") == "<sip:alice1@192.0.2.1>;tag=mine"
        assert request.header("to") == "<sip:bob@example.test>"
        assert request.header("contact") == f"<{driver.flow().contact}>"
        assert (request.header("max-forwards"), request.header("cseq")) == ("70", "1 MESSAGE")
        assert (request.branch() or "").startswith("z9hG4bKq")
        assert request.headers("route") == []
        driver.run(1)
        assert sender.outcome == 200

    def test_the_route_is_the_proxy_and_the_service_route(self, driver: Driver) -> None:
        driver.always = lambda request, key: ok()(request, key).replace(
            b"Content-Length", b"Service-Route: <sip:home.test;lr>, <sip:more.test;lr>\r\nContent-Length"
        )
        driver.names["edge.test"] = ("192.0.2.1",)
        driver.registered(proxies=[server("sip:edge.test:5060")])
        Sender(driver).send()
        (request,) = driver.requests
        assert request.headers("route") == [
            "<sip:edge.test:5060;lr>",
            "<sip:home.test;lr>",
            "<sip:more.test;lr>",
        ]

    def test_the_proxy_is_left_out_where_the_service_route_begins_with_it(self, driver: Driver) -> None:
        driver.always = lambda request, key: ok()(request, key).replace(
            b"Content-Length", b"Service-Route: <sip:token@EDGE.test;lr>\r\nContent-Length"
        )
        driver.names["edge.test"] = ("192.0.2.1",)
        driver.registered(proxies=[server("sip:edge.test:5060")])
        Sender(driver).send()
        (request,) = driver.requests
        assert request.headers("route") == ["<sip:token@EDGE.test;lr>"]

    def test_in_a_dialog_its_route_set_counts(self, driver: Driver, sender: Sender) -> None:
        sender.dialog.remote_tag = "theirs"
        sender.dialog.target = "sip:bob@203.0.113.5"
        sender.dialog.route_set = ("<sip:a.test;lr>", "<sip:b.test;lr>")
        sender.send()
        (request,) = driver.requests
        assert request.uri == "sip:bob@203.0.113.5"
        assert request.headers("route") == ["<sip:a.test;lr>", "<sip:b.test;lr>"]
        assert request.header("to") == "<sip:bob@example.test>;tag=theirs"

    def test_a_strict_router_becomes_the_request_uri(self) -> None:
        """RFC 3261 §12.2.1.1."""
        assert routed("sip:bob@x", ("<sip:strict.test>", "<sip:b.test;lr>")) == (
            "sip:strict.test",
            ("<sip:b.test;lr>", "<sip:bob@x>"),
        )

    def test_without_a_binding_there_is_no_way(self, driver: Driver) -> None:
        driver.add(wanted=False)
        assert best_flow(driver.registrations, driver.registrations.by_profile[1]) is None

    def test_the_number_under_way_is_bounded(
        self, driver: Driver, sender: Sender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sipprofile.registration.requests.MAXIMUM_OUTSTANDING", 3)
        assert MAXIMUM_OUTSTANDING >= 1000
        driver.others = silence
        assert [sender.send() for _ in range(5)] == [True, True, True, False, False]


class TestOutcome:
    def test_no_answer(self, driver: Driver, sender: Sender) -> None:
        driver.others = silence
        sender.send()
        driver.run(31)
        assert sender.results == []
        driver.run(2)
        assert sender.outcome == "timeout"
        assert len(driver.retransmissions) == 10
        driver.assert_status("registered")

    def test_a_second_answer_is_absorbed_and_nothing_is_left(self, driver: Driver, sender: Sender) -> None:
        driver.others = answer(404)
        sender.send()
        driver.run(1)
        driver.registrations.received(reply(driver.requests[0], 200), ("192.0.2.1", 5060), TCP, driver.now)
        assert sender.outcome == 404
        driver.run(60)
        assert (driver.registrations.requests.outstanding, driver.registrations.requests.by_key) == ({}, {})

    @pytest.mark.parametrize("cseq", ["2 MESSAGE", "1 OPTIONS"])
    def test_an_answer_to_something_else(self, driver: Driver, sender: Sender, cseq: str) -> None:
        driver.others = lambda request, _: reply(request, 200).replace(b"CSeq: 1 MESSAGE", f"CSeq: {cseq}".encode())
        sender.send()
        driver.run(1)
        assert sender.results == []

    def test_the_connection_is_lost(self, driver: Driver) -> None:
        driver.registered(registrar=server("sip:192.0.2.1;transport=tcp"))
        driver.others = silence
        sender = Sender(driver)
        sender.send()
        driver.fail(TCP)
        assert sender.outcome == "transport_closed"
        driver.run(60)
        assert driver.retransmissions == []

    def test_the_registration_is_removed_meanwhile(self, driver: Driver, sender: Sender) -> None:
        driver.others = silence
        sender.send()
        driver.remove()
        driver.run(60)
        assert sender.outcome == "timeout"


def asked(driver: Driver) -> None:
    """A server has asked for the registrar's nonce in another request than REGISTER."""
    for nonce in driver.flow().nonces:
        nonce.asked = True


class TestChallenges:
    def wants(self, driver: Driver, status: int = 401) -> None:
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        sent = "authorization" if status == 401 else "proxy-authorization"

        def respond(request: Request, _: object) -> bytes:
            if 'nonce="fresh"' in (request.header(sent) or ""):
                return reply(request, 200)
            return reply(request, status, f'{name}: Digest realm="example.test", nonce="fresh", qop="auth"')

        driver.others = respond

    @pytest.mark.parametrize("status", [401, 407])
    def test_it_is_answered(self, driver: Driver, status: int) -> None:
        driver.always = digest()
        driver.registered()
        self.wants(driver, status)
        sender = Sender(driver)
        sender.send()
        driver.run(1)
        assert sender.outcome == 200
        first, second = driver.requests
        assert second.cseq()[0] == first.cseq()[0] + 1
        assert first.branch() != second.branch()

    def test_a_nonce_count_is_never_used_twice(self, driver: Driver) -> None:
        """RFC 7616 §3.4: the registration and the requests count together."""
        driver.always = digest()
        driver.registered()
        asked(driver)
        sender = Sender(driver)
        for _ in range(3):
            sender.send()
            driver.retry_now()
            driver.run(1)
        lines = [request.header("authorization") or "" for _, _, request in driver.sends]
        lines += [request.header("authorization") or "" for request in driver.requests]
        counts = [line.partition("nc=")[2][:8] for line in lines if 'nonce="n1"' in line]
        assert len(counts) >= 7
        assert len(set(counts)) == len(counts)

    def test_counts_that_are_not_reserved_on_disk_are_not_used(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        asked(driver)
        (record,) = driver.rows[1].nonces
        sender = Sender(driver)
        for _ in range(40):
            sender.send()
        lines = [request.header("authorization") or "" for request in driver.requests]
        counts = [int(line.partition("nc=")[2][:8], 16) for line in lines if line]
        assert max(counts) == record.count_reserved
        assert "" in lines

    def test_the_same_nonce_again_is_a_refusal(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        asked(driver)
        driver.others = challenge()
        sender = Sender(driver)
        sender.send()
        driver.run(1)
        assert sender.outcome == "rejected_credentials"
        assert len(driver.requests) == 1

    def test_a_nonce_that_another_request_brought_is_no_refusal_of_a_register_on_its_way(self, driver: Driver) -> None:
        driver.registered(registrar=server(realm="example.test"))
        sender = Sender(driver)
        driver.answers.append(silence)
        driver.retry_now()
        self.wants(driver)
        sender.send()
        driver.run(0.1)
        assert sender.outcome == 200
        refusal = challenge("fresh")(driver.sends[-1][2], UDP)
        assert refusal is not None
        driver.registrations.received(refusal, (UDP.host, UDP.port), UDP, driver.now)
        driver.settle()
        driver.run(0.1)
        assert 'nonce="fresh"' in (driver.sends[-1][2].header("authorization") or "")
        assert driver.events() == ["status"]
        state = driver.assert_status("registered")
        assert state.last_error is None

    def test_a_wrong_password_is_tried_once(self, driver: Driver, sender: Sender) -> None:
        driver.others = answer(401, 'WWW-Authenticate: Digest realm="192.0.2.1", nonce="x", qop="auth"')
        sender.send()
        driver.run(1)
        assert sender.outcome == "rejected_credentials"
        assert len(driver.requests) == 2
        driver.assert_status("registered")

    def test_four_rounds_at_most(self, driver: Driver, sender: Sender) -> None:
        driver.others = answer(401, 'WWW-Authenticate: Digest realm="192.0.2.1", nonce="x", stale=true')
        sender.send()
        driver.run(1)
        assert sender.outcome == "too_many_challenges"
        assert len(driver.requests) == 5

    def test_a_strangers_realm_gets_no_digest(self, driver: Driver, sender: Sender) -> None:
        driver.others = answer(407, 'Proxy-Authenticate: Digest realm="elsewhere.test", nonce="x"')
        sender.send()
        driver.run(1)
        assert sender.outcome == "foreign_challenge"
        assert len(driver.requests) == 1
