"""SipConnection: its state, requests outside of dialogs, claims, and what a lost service does to them."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from client_session import connection, profile, registry, service, until
from fake_service import FakeService, response

from sipprofile import (
    Claim,
    Profile,
    ProfileRegistry,
    RequestFailed,
    RequestRefused,
    SipConnection,
    SipProfileError,
)
from sipprofile.client.content import MAXIMUM_BODY

__all__ = ["connection", "profile", "registry", "service"]

BOB = "sip:bob@example.test"


def code_of(caught: pytest.ExceptionInfo[SipProfileError]) -> str:
    return caught.value.code


class TestState:
    """CSIPConnection: State, GetLocalAddrL, ConnectionStateChanged."""

    async def test_the_present_state_at_once(self, connection: SipConnection) -> None:
        assert (connection.state, connection.local_address) == ("active", "192.0.2.1:5060")

    async def test_one_for_each_profile_and_session(
        self, registry: ProfileRegistry, profile: Profile, connection: SipConnection
    ) -> None:
        assert await registry.connection(profile) is connection
        other = await registry.profile(name="desk")
        await registry.enable(other)
        assert await registry.connection(other) is not connection

    async def test_needs_the_profile_enabled(self, registry: ProfileRegistry) -> None:
        with pytest.raises(SipProfileError) as caught:
            await registry.connection(await registry.profile(name="desk"))
        assert code_of(caught) == "not_enabled"

    async def test_changes_are_told(self, service: FakeService, connection: SipConnection) -> None:
        seen = []

        async def follow() -> None:
            async for state in connection.states():
                seen.append(state)

        following = asyncio.create_task(follow())
        await until(lambda: seen == ["active"])
        for state in ("suspended", "inactive", "active"):
            await service.sip("connection", profile=1, state=state, local_address=None)
            await until(lambda state=state: seen[-1] == state)  # type: ignore[misc]
        assert connection.local_address is None
        await connection.close()
        await asyncio.wait_for(following, 5)
        assert seen == ["active", "suspended", "inactive", "active"]

    async def test_a_state_for_another_profile(self, service: FakeService, connection: SipConnection) -> None:
        await service.sip("connection", profile=2, state="inactive", local_address=None)
        await connection.request("OPTIONS", BOB)
        assert connection.state == "active"

    async def test_disabling_ends_it(
        self, registry: ProfileRegistry, profile: Profile, connection: SipConnection
    ) -> None:
        requests = connection.requests()
        await registry.disable(profile)
        assert (connection.state, connection.closed) == ("unavailable", True)
        with pytest.raises(StopAsyncIteration):
            await anext(requests)
        with pytest.raises(SipProfileError) as caught:
            await connection.request("OPTIONS", BOB)
        assert code_of(caught) == "closed"
        await registry.enable(profile)
        assert await registry.connection(profile) is not connection

    async def test_force_disabling_ends_it(
        self, registry: ProfileRegistry, profile: Profile, connection: SipConnection
    ) -> None:
        await registry.force_disable(profile)
        await until(lambda: connection.closed)
        assert connection.state == "unavailable"

    async def test_closing_gives_everything_back(self, service: FakeService, connection: SipConnection) -> None:
        claim = await connection.claim(methods=["MESSAGE"])
        await service.incoming(7)
        await until(lambda: connection.user.incoming)
        await connection.close()
        await connection.close()
        assert [command["claim"] for command in service.said("unclaim")] == [claim.number]
        assert [(each["request"], each["status"]) for each in service.said("respond")] == [(7, 480)]
        assert service.said("disable") == []
        assert connection.user.connections == {}


class TestRequest:
    """CSIPConnection::SendRequestL, CSIPClientTransaction."""

    async def test_the_final_response(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [
            response(number, 100, "Trying"),
            response(number, 404, "Not Found", headers=[["Warning", "399 x"], ["m", "<sip:a@b>"]]),
        ]
        answer = await connection.request("MESSAGE", BOB, text="hi")
        assert (answer.status, answer.reason, answer.ok, answer.final) == (404, "Not Found", False, True)
        assert (answer.header("warning"), answer.header("Contact")) == ("399 x", "<sip:a@b>")
        assert connection.user.outgoing == {}

    async def test_what_is_sent(self, service: FakeService, connection: SipConnection) -> None:
        await connection.request(
            "MESSAGE", BOB, text="hä", headers={"Subject": "x"}, to="sip:to@example.test",
            identity="sip:other@example.test", display_name="Other", anonymous=True, call_id="mine",
            contact_params=";audio",
        )  # fmt: skip
        sent = service.said("send")[0]
        assert {name: value for name, value in sent.items() if name not in ("id", "op")} == {
            "profile": 1, "method": "MESSAGE", "uri": BOB, "to": "sip:to@example.test", "headers": [["Subject", "x"]],
            "from": "sip:other@example.test", "display_name": "Other", "anonymous": True, "call_id": "mine",
            "contact_params": ";audio", "body": {"text": "hä"}, "content_type": "text/plain;charset=UTF-8",
        }  # fmt: skip

    async def test_bytes_that_are_no_text(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [
            response(number, 200, body=command["body"], content_type=command["content_type"])
        ]
        answer = await connection.request("MESSAGE", BOB, body=b"\xff\x00", content_type="application/octet-stream")
        assert service.said("send")[0]["body"] == {"base64": "/wA="}
        assert (answer.body, answer.content_type) == (b"\xff\x00", "application/octet-stream")

    async def test_to_the_own_address_by_default(self, service: FakeService, connection: SipConnection) -> None:
        await connection.request("OPTIONS")
        assert service.said("send")[0]["uri"] == "sip:trunk@example.test"

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"body": b"x"}, "invalid_value", "content_type"),
            ({"body": b"x", "text": "x"}, "invalid_value", "body"),
            ({"text": "x" * (MAXIMUM_BODY + 1)}, "too_large", "body"),
        ],
    )
    async def test_bodies_that_cannot_be_sent(
        self, service: FakeService, connection: SipConnection, given: dict[str, Any], code: str, field: str
    ) -> None:
        with pytest.raises(SipProfileError) as caught:
            await connection.request("MESSAGE", BOB, **given)
        assert (code_of(caught), caught.value.field) == (code, field)
        assert service.said("send") == []

    async def test_the_largest_body(self, service: FakeService, connection: SipConnection) -> None:
        await connection.request("MESSAGE", BOB, text="x" * MAXIMUM_BODY)
        assert len(service.said("send")[0]["body"]["text"]) == 65_536

    @pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER"])
    async def test_what_makes_a_dialog_has_its_own_method(self, connection: SipConnection, method: str) -> None:
        with pytest.raises(SipProfileError, match=f"connection.{method.lower()}") as caught:
            await connection.request(method, BOB)
        assert code_of(caught) == "invalid_value"

    async def test_the_services_refusal(self, service: FakeService, connection: SipConnection) -> None:
        service.refuse["send"] = SipProfileError("header_refused", field="headers", value="Via")
        with pytest.raises(SipProfileError) as caught:
            await connection.request("MESSAGE", BOB, headers=[("Via", "x")])
        assert (code_of(caught), caught.value.value) == ("header_refused", "Via")
        assert connection.user.unanswered == 0

    async def test_provisional_responses_as_they_come(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [
            response(number, 182),
            response(number, 183, body={"text": "early"}),
            response(number, 200),
        ]
        request = await connection.start("PUBLISH", BOB, body="x", content_type="application/pidf+xml", refresh=60)
        assert [(each.status, each.text) async for each in request] == [(182, ""), (183, "early")]
        assert (await request).status == 200
        assert request.response is not None
        assert request.state == "completed"

    async def test_states_of_a_transaction(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: []
        request = await connection.start("OPTIONS", BOB)
        assert (request.state, request.response) == ("trying", None)
        await service.sip(**response(request.number, 180))
        await until(lambda: request.state == "proceeding")
        await service.sip(**response(request.number, 200))
        await request
        assert request.state == "terminated"

    async def test_no_final_response(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [
            {
                "event": "failed",
                "profile": 1,
                "request": number,
                "code": "timeout",
                "text": "The server did not answer.",
            }
        ]
        with pytest.raises(RequestFailed, match="did not answer") as caught:
            await connection.request("OPTIONS", BOB)
        assert (caught.value.code, caught.value.reason.code) == ("request_failed", "timeout")

    async def test_its_own_limit(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: []
        with pytest.raises(SipProfileError) as caught:
            await connection.request("OPTIONS", BOB, timeout=0.01)
        assert code_of(caught) == "timed_out"
        assert service.said("cancel") == []

    async def test_events_that_overtake_the_answer(self, service: FakeService, connection: SipConnection) -> None:
        service.early = [{"event": "failed", "request": 101, "code": "transport_closed", "text": ""}]
        service.on_send = lambda command, number: []
        with pytest.raises(RequestFailed) as caught:
            await connection.request("OPTIONS", BOB, timeout=5)
        assert caught.value.reason.text == "The connection was closed."

    async def test_cancel_is_for_invites(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: []
        request = await connection.start("OPTIONS", BOB)
        assert not request.cancel_allowed
        with pytest.raises(SipProfileError, match="cannot be cancelled") as caught:
            await request.cancel()
        assert code_of(caught) == "invalid_state"

    async def test_many_at_once(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 200, command["body"]["text"])]
        answers = await asyncio.gather(*(connection.message(BOB, str(number)) for number in range(200)))
        assert [answer.reason for answer in answers] == [str(number) for number in range(200)]
        assert (connection.user.outgoing, connection.user.unanswered) == ({}, 0)


class TestPublish:
    """CSIPRefresh: a request that the service repeats (RFC 3903)."""

    async def test_is_refreshed_and_removed(self, service: FakeService, connection: SipConnection) -> None:
        async with await connection.publish("presence", "<x/>", "application/pidf+xml", expires=600):
            sent = service.said("send")[0]
            assert (sent["method"], sent["refresh"], sent["headers"]) == ("PUBLISH", 600, [["Event", "presence"]])
        assert len(service.said("stop-refresh")) == 1

    async def test_modify(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 200, headers=[["SIP-ETag", f"e{number}"]])]
        publication = await connection.publish("presence", "<x/>", "application/pidf+xml")
        first = publication.outgoing
        assert first is not None
        await publication.modify("<y/>", "application/pidf+xml")
        assert service.said("send")[1]["headers"] == [["Event", "presence"], ["SIP-If-Match", f"e{first.number}"]]
        assert (service.said("stop-refresh"), first.state) == ([], "terminated")
        second = publication.outgoing
        service.on_send = lambda command, number: [response(number, 403)]
        with pytest.raises(RequestRefused):
            await publication.modify("<z/>", "application/pidf+xml")
        assert publication.outgoing is second
        await publication.remove()
        assert [each["request"] for each in service.said("stop-refresh")] == [second.number if second else 0]
        assert connection.user.outgoing == {}

    async def test_modify_what_the_server_has_lost(self, service: FakeService, connection: SipConnection) -> None:
        def answer(command: dict[str, Any], number: int) -> list[dict[str, Any]]:
            known = any(name == "SIP-If-Match" for name, _ in command["headers"])
            return [response(number, 412) if known else response(number, 200, headers=[["SIP-ETag", "e"]])]

        service.on_send = answer
        publication = await connection.publish("presence", "<x/>", "application/pidf+xml")
        await publication.modify("<y/>", "application/pidf+xml")
        assert [len(each["headers"]) for each in service.said("send")] == [1, 2, 1]
        assert list(connection.user.outgoing.values()) == [publication.outgoing]

    async def test_modify_without_a_tag(self, service: FakeService, connection: SipConnection) -> None:
        publication = await connection.publish("presence", "<x/>", "application/pidf+xml")
        first = publication.outgoing
        assert first is not None
        await publication.modify("<y/>", "application/pidf+xml")
        assert [each["body"]["text"] for each in service.said("send")] == ["<x/>", "<y/>"]
        assert [each["request"] for each in service.said("stop-refresh")] == [first.number]
        await publication.remove()
        await publication.remove()
        assert len(service.said("stop-refresh")) == 2

    async def test_refused(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 489, "Bad Event")]
        with pytest.raises(RequestRefused, match="489 Bad Event") as caught:
            await connection.publish("presence", "<x/>", "application/pidf+xml")
        assert caught.value.response.status == 489
        assert connection.user.outgoing == {}

    async def test_a_refresh_that_fails_is_told(
        self, service: FakeService, registry: ProfileRegistry, profile: Profile
    ) -> None:
        errors: list[Any] = []

        class Observer:
            def error_occurred(self, error: Any, request: Any, dialog: Any) -> None:
                errors.append((error.reason.code, request.method, dialog))

        connection = await registry.connection(profile, Observer())  # type: ignore[arg-type]
        publication = await connection.publish("presence", "<x/>", "application/pidf+xml")
        assert publication.outgoing is not None
        await service.sip("failed", profile=1, request=publication.outgoing.number, code="subscription_lost")
        await until(lambda: errors)
        assert errors == [("subscription_lost", "PUBLISH", None)]
        await publication.remove()
        assert service.said("stop-refresh") == []

    async def test_a_refresh_that_is_tried_again(
        self, service: FakeService, registry: ProfileRegistry, profile: Profile
    ) -> None:
        errors: list[Any] = []

        class Observer:
            def error_occurred(self, error: Any, request: Any, dialog: Any) -> None:
                errors.append(error.reason.code)

        connection = await registry.connection(profile, Observer())  # type: ignore[arg-type]
        publication = await connection.publish("presence", "<x/>", "application/pidf+xml")
        assert publication.outgoing is not None
        await service.sip("failed", profile=1, request=publication.outgoing.number, code="not_refreshed")
        await until(lambda: errors == ["not_refreshed"])
        await publication.remove()
        assert len(service.said("stop-refresh")) == 1


class TestFetchBindings:
    """CSIPConnection::FetchRegistrationsL (RFC 3261 §10.2.3)."""

    async def test_every_contact(self, service: FakeService, connection: SipConnection) -> None:
        contacts = '<sip:a@192.0.2.1>;expires=60;q=0.5, <sip:b@192.0.2.2>;+sip.instance="<urn:uuid:1>"'
        service.on_send = lambda command, number: [
            response(number, 200, headers=[["Contact", contacts], ["m", "<sip:c@192.0.2.3>;expires=7"]])
        ]
        bindings = await connection.fetch_bindings()
        assert [(each.uri, each.expires) for each in bindings] == [
            ("sip:a@192.0.2.1", 60), ("sip:b@192.0.2.2", None), ("sip:c@192.0.2.3", 7),
        ]  # fmt: skip
        assert bindings[0].parameters["q"] == "0.5"
        assert service.said("fetch-bindings")[0]["profile"] == 1

    async def test_refused(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 403, "Forbidden")]
        with pytest.raises(RequestRefused):
            await connection.fetch_bindings()


class TestClaim:
    async def test_what_is_claimed(self, service: FakeService, connection: SipConnection) -> None:
        async with await connection.claim(events=["message-summary"], exclusive=False, priority=5) as claim:
            assert service.said("claim")[0]["claim"] == {
                "events": ["message-summary"], "exclusive": False, "priority": 5,
            }  # fmt: skip
            assert claim.number == 101
        await claim.release()
        assert [command["claim"] for command in service.said("unclaim")] == [101]

    async def test_a_refusal_says_who_has_it(self, service: FakeService, connection: SipConnection) -> None:
        await connection.claim(methods=["MESSAGE"])
        with pytest.raises(SipProfileError) as caught:
            await connection.claim(Claim(methods=["MESSAGE"]))
        assert (code_of(caught), caught.value.members["by"]) == ("claim_in_use", "com.example.other")
        assert len(connection.claims) == 1


class TestServiceGone:
    """CSIPConnection: on Inactive pending transactions end; here they say so, and claims come back."""

    async def test_pending_requests_fail(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: []
        waiting = asyncio.create_task(connection.request("OPTIONS", BOB))
        await until(lambda: connection.user.outgoing)
        service.cut()
        with pytest.raises(SipProfileError) as caught:
            await waiting
        assert code_of(caught) == "service_gone"
        assert connection.user.outgoing == {}

    async def test_the_state_and_the_claims_come_back(self, service: FakeService, connection: SipConnection) -> None:
        claim = await connection.claim(methods=["MESSAGE"])
        first = claim.number
        states = connection.states()
        assert await anext(states) == "active"
        service.cut()
        assert await anext(states) == "inactive"
        assert await asyncio.wait_for(anext(states), 5) == "active"
        await until(lambda: claim.number != first)
        await service.incoming(9, text="back")
        assert (await asyncio.wait_for(anext(connection.requests()), 5)).number == 9

    async def test_a_claim_that_is_refused_then(
        self, service: FakeService, registry: ProfileRegistry, profile: Profile
    ) -> None:
        lost: list[Any] = []

        class Observer:
            def claim_lost(self, claim: Any, error: SipProfileError) -> None:
                lost.append((claim, error.code))

        connection = await registry.connection(profile, Observer())  # type: ignore[arg-type]
        claim = await connection.claim(methods=["MESSAGE"])
        service.refuse["claim"] = SipProfileError("claim_in_use")
        service.cut()
        with pytest.raises(SipProfileError) as caught:
            await asyncio.wait_for(anext(connection.requests()), 5)
        assert code_of(caught) == "claim_in_use"
        await until(lambda: lost == [(claim, "claim_in_use")])
        assert claim.error is caught.value

    async def test_a_profile_that_cannot_be_enabled_again(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        service.refuse["enable"] = SipProfileError("permission_denied")
        service.cut()
        await until(lambda: connection.closed)
        assert connection.state == "unavailable"


class TestObserver:
    """MSIPConnectionObserver: per profile and session."""

    async def test_given_to_enable(self, service: FakeService, registry: ProfileRegistry) -> None:
        told: list[Any] = []

        class Observer:
            def connection_state_changed(self, state: str) -> None:
                told.append(state)

            async def incoming_response(self, request: Any, response: Any, dialog: Any) -> None:
                told.append((request.method, response.status, dialog))

            def error_occurred(self, error: SipProfileError, request: Any, dialog: Any) -> None:
                told.append((error.code, request.method))

        profile = await registry.profile(name="trunk")
        await registry.enable(profile, connection_observer=Observer())  # type: ignore[arg-type]
        connection = await registry.connection(profile)
        await connection.request("OPTIONS", BOB)
        service.on_send = lambda command, number: [{"event": "failed", "request": number, "code": "timeout"}]
        with pytest.raises(RequestFailed):
            await connection.request("OPTIONS", BOB)
        await service.sip("connection", profile=1, state="suspended", local_address=None)
        await until(lambda: len(told) == 4)
        assert told == ["active", ("OPTIONS", 200, None), ("request_failed", "OPTIONS"), "suspended"]

    async def test_each_profile_has_its_own(self, service: FakeService, registry: ProfileRegistry) -> None:
        told: dict[str, list[str]] = {"trunk": [], "desk": []}

        class Observer:
            def __init__(self, name: str) -> None:
                self.name = name

            def connection_state_changed(self, state: str) -> None:
                told[self.name].append(state)

        for name in told:
            profile = await registry.profile(name=name)
            await registry.enable(profile, connection_observer=Observer(name))  # type: ignore[arg-type]
            await registry.connection(profile)
        await service.sip("connection", profile=2, state="suspended", local_address=None)
        await until(lambda: len(told["desk"]) == 2)
        assert told == {"trunk": ["active"], "desk": ["active", "suspended"]}

    async def test_the_connection_keeps_the_profile(self, service: FakeService, registry: ProfileRegistry) -> None:
        await registry.enable(profile := await registry.profile(name="trunk"))
        connection = await registry.connection(profile)
        del profile
        gc.collect()
        assert (await connection.request("OPTIONS")).ok
        assert service.said("release") == []
        await connection.profile.close()
        assert connection.closed

    async def test_an_exception_goes_to_the_loop_and_the_next_call_comes(
        self, service: FakeService, registry: ProfileRegistry, profile: Profile
    ) -> None:
        contexts: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
        told: list[str] = []

        class Observer:
            def connection_state_changed(self, state: str) -> None:
                told.append(state)
                raise RuntimeError("mine")

        await registry.connection(profile, Observer())  # type: ignore[arg-type]
        await service.sip("connection", profile=1, state="inactive", local_address=None)
        await until(lambda: told == ["active", "inactive"])
        await until(lambda: len(contexts) == 2)
        assert "raised on connection_state_changed" in contexts[0]["message"]
