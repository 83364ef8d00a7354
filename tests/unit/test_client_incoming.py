"""Requests that come to an application: claimed ones, their answers, and what withdraws them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from client_session import connection, profile, registry, service, until
from fake_service import FakeService

from sipprofile import (
    IncomingRequest,
    InviteDialog,
    RequestFailed,
    SipConnection,
    SipProfileError,
)
from sipprofile.client.sip_connection import MAXIMUM_UNREAD

__all__ = ["connection", "profile", "registry", "service"]

SDP = {"body": {"text": "v=0"}, "content_type": "application/sdp"}


async def incoming(
    service: FakeService, connection: SipConnection, number: int, method: str = "MESSAGE", **members: Any
) -> IncomingRequest:
    """A request, as the application gets it."""
    await service.incoming(number, method, **members)
    async with asyncio.timeout(5):
        return await anext(connection.requests())


class TestReceiving:
    """MSIPConnectionObserver::IncomingRequest, CSIPRequestElements."""

    async def test_what_it_says(self, service: FakeService, connection: SipConnection) -> None:
        request = await incoming(
            service, connection, 7, headers=[["Subject", "x"]], body={"base64": "/wA="}, content_type="a/b", claim=3
        )
        assert (request.method, request.uri, request.number, request.claim) == ("MESSAGE", "sip:token@192.0.2.1", 7, 3)
        assert (request.from_, request.to) == ("<sip:bob@example.test>;tag=b", "<sip:trunk@example.test>")
        assert (request.call_id, request.header("subject"), request.at) == ("c1", "x", 1.0)
        assert (request.body, request.content_type, request.answered) == (b"\xff\x00", "a/b", False)
        assert (request.state, request.response_allowed, request.dialog) == ("trying", True, None)

    @pytest.mark.parametrize(
        ("value", "uri"),
        [
            ('"Bob <the builder>" <sip:bob@example.test;user=phone>;tag=b', "sip:bob@example.test;user=phone"),
            ("sip:bob@example.test;tag=b", "sip:bob@example.test"),
            ("tel:+4930123;tag=b", "tel:+4930123"),
            ("<sip:bob", ""),
            ("", ""),
        ],
    )
    async def test_whom_to_write_back(
        self, service: FakeService, connection: SipConnection, value: str, uri: str
    ) -> None:
        assert (await incoming(service, connection, 7, **{"from": value})).from_uri == uri

    async def test_each_is_read_once(self, service: FakeService, connection: SipConnection) -> None:
        seen: list[int] = []

        async def read() -> None:
            async for request in connection.requests():
                seen.append(request.number)
                await request.respond(200)

        readers = [asyncio.create_task(read()) for _ in range(3)]
        for number in range(20):
            await service.incoming(number + 1)
        await until(lambda: len(service.said("respond")) == 20)
        assert sorted(seen) == list(range(1, 21))
        await connection.close()
        await asyncio.wait_for(asyncio.gather(*readers), 5)

    async def test_unread_ones_are_bounded(self, service: FakeService, connection: SipConnection) -> None:
        for number in range(MAXIMUM_UNREAD + 2):
            await service.incoming(number + 1)
        await until(lambda: len(service.said("respond")) == 2)
        assert [(each["request"], each["status"]) for each in service.said("respond")] == [(257, 480), (258, 480)]
        assert len(connection.user.incoming) == MAXIMUM_UNREAD

    async def test_nobody_is_there_any_more(self, service: FakeService, connection: SipConnection) -> None:
        await connection.close()
        await service.incoming(7)
        await until(lambda: service.said("respond"))
        assert service.said("respond")[0]["status"] == 480

    async def test_by_an_observer(self, service: FakeService, connection: SipConnection) -> None:
        seen: list[Any] = []

        class Observer:
            async def incoming_request(self, request: IncomingRequest, dialog: Any) -> None:
                await request.respond(202)
                seen.append((request.method, dialog))

        connection.observe(Observer())  # type: ignore[arg-type]
        await service.incoming(7, "OPTIONS")
        await until(lambda: seen)
        assert seen == [("OPTIONS", None)]
        assert service.said("respond")[0]["status"] == 202
        assert len(connection.requests()) == 0


class TestResponding:
    """CSIPServerTransaction::SendResponseL, CSIPResponseElements."""

    async def test_a_final_response(self, service: FakeService, connection: SipConnection) -> None:
        request = await incoming(service, connection, 7)
        assert await request.respond(200, "Fine", text="thanks", headers={"Subject": "re"}, contact_params=";a") is None
        sent = service.said("respond")[0]
        assert {name: value for name, value in sent.items() if name not in ("id", "op")} == {
            "request": 7, "status": 200, "reason": "Fine", "headers": [["Subject", "re"]], "body": {"text": "thanks"},
            "content_type": "text/plain;charset=UTF-8", "contact_params": ";a",
        }  # fmt: skip
        assert (request.state, connection.user.incoming) == ("completed", {})

    async def test_only_once(self, service: FakeService, connection: SipConnection) -> None:
        request = await incoming(service, connection, 7)
        await request.respond(200)
        assert not request.response_allowed
        with pytest.raises(SipProfileError) as caught:
            await request.respond(200)
        assert caught.value.code == "invalid_state"
        assert len(service.said("respond")) == 1

    async def test_the_services_refusal_leaves_it_open(self, service: FakeService, connection: SipConnection) -> None:
        request = await incoming(service, connection, 7)
        service.refuse["respond"] = SipProfileError("header_refused", field="headers", value="Via")
        with pytest.raises(SipProfileError):
            await request.respond(200, headers=[("Via", "x")])
        del service.refuse["respond"]
        await request.respond(200)

    async def test_a_call(self, service: FakeService, connection: SipConnection) -> None:
        service.dialogs = {7: 50}
        request = await incoming(service, connection, 7, "INVITE", **SDP)
        early = await request.ringing()
        assert (early, request.state) == (request.dialog, "proceeding")
        assert early is not None
        assert (early.number, early.state) == (50, "early")
        dialog = await request.accept(body="v=1")
        assert dialog is early
        assert (dialog.state, dialog.incoming) == ("confirmed", request)
        assert [(each["status"], each.get("content_type")) for each in service.said("respond")] == [
            (180, None), (200, "application/sdp"),
        ]  # fmt: skip
        await service.sip("acknowledged", request=7, dialog=50, headers=[["X", "y"]], **SDP)
        acknowledgement = await asyncio.wait_for(dialog.acknowledged(), 5)
        assert (acknowledgement.text, acknowledgement.header("x")) == ("v=0", "y")

    async def test_no_ack(self, service: FakeService, connection: SipConnection) -> None:
        """KErrSIPNoAckReceived."""
        service.dialogs = {7: 50}
        request = await incoming(service, connection, 7, "INVITE")
        dialog = await request.accept()
        await service.sip("acknowledged", request=7, dialog=50, headers=[], code="no_ack")
        with pytest.raises(RequestFailed) as caught:
            await asyncio.wait_for(dialog.acknowledged(), 5)
        assert caught.value.reason.code == "no_ack"

    async def test_a_call_that_ends_before_the_ack(self, service: FakeService, connection: SipConnection) -> None:
        service.dialogs = {7: 50}
        dialog = await (await incoming(service, connection, 7, "INVITE")).accept()
        await service.sip("dialog", dialog=50, state="terminated", code="dialog_ended")
        with pytest.raises(RequestFailed):
            await asyncio.wait_for(dialog.acknowledged(), 5)

    async def test_refusing_a_ringing_call_ends_its_dialog(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        service.dialogs = {7: 50}
        request = await incoming(service, connection, 7, "INVITE")
        dialog = await request.ringing(body="v=0", content_type="application/sdp", reliable=True)
        assert (service.said("respond")[0]["status"], service.said("respond")[0]["reliable"]) == (183, True)
        await request.respond(486)
        assert dialog is not None
        assert (dialog.state, dialog.reason.status_code) == ("terminated", 486)
        assert connection.dialogs == []

    async def test_a_provisional_that_was_acknowledged(self, service: FakeService, connection: SipConnection) -> None:
        told: list[Any] = []

        class Observer:
            def provisional_acknowledged(self, request: IncomingRequest, rseq: int) -> None:
                told.append((request.number, rseq))

        connection.observe(Observer())  # type: ignore[arg-type]
        service.dialogs = {7: 50}
        request = await incoming(service, connection, 7, "INVITE")
        await request.ringing(reliable=True)
        await service.sip("provisionally-acknowledged", request=7, rseq=1)
        await until(lambda: told == [(7, 1)])

    async def test_only_an_invite_makes_a_call(self, service: FakeService, connection: SipConnection) -> None:
        request = await incoming(service, connection, 7)
        with pytest.raises(SipProfileError, match="makes no call"):
            await request.accept()
        request = await incoming(service, connection, 8)
        with pytest.raises(SipProfileError, match="no subscription"):
            await request.accept_subscription()


class TestWithdrawn:
    """InviteCanceled, MSIPObserver::TimedOut, and a claim that others share."""

    @pytest.mark.parametrize(
        ("code", "callback"),
        [
            ("cancelled", "invite_canceled"),
            ("timed_out", "timed_out"),
            ("answered_elsewhere", "answered_elsewhere"),
        ],
    )
    async def test_is_told(self, service: FakeService, connection: SipConnection, code: str, callback: str) -> None:
        told: list[Any] = []
        observer = type("Observer", (), {callback: lambda self, request: told.append(request)})()
        connection.observe(observer)
        request = await incoming(service, connection, 7, "INVITE")
        waiting = asyncio.create_task(request.until_withdrawn())
        await service.sip("withdrawn", request=7, code=code)
        assert (await asyncio.wait_for(waiting, 5)).code == code
        assert (request.withdrawn, request.reason.text != "") == (True, True)
        with pytest.raises(SipProfileError) as caught:
            await request.respond(200)
        assert caught.value.code == "invalid_state"
        await until(lambda: told == [request])
        assert (await request.until_withdrawn()).code == code

    async def test_an_unread_one_is_not_read(self, service: FakeService, connection: SipConnection) -> None:
        await service.incoming(7, "INVITE")
        await service.sip("withdrawn", request=7, code="cancelled")
        assert (await incoming(service, connection, 8)).number == 8

    async def test_the_service_is_gone(self, service: FakeService, connection: SipConnection) -> None:
        request = await incoming(service, connection, 7, "INVITE")
        service.cut()
        assert (await asyncio.wait_for(request.until_withdrawn(), 5)).code == "service_gone"
        with pytest.raises(SipProfileError):
            await request.respond(200)


class TestInsideADialog:
    """MSIPConnectionObserver::IncomingRequest(transaction, dialog)."""

    async def call(self, service: FakeService, connection: SipConnection) -> InviteDialog:
        service.dialogs = {7: 50, 8: 50}
        return await (await incoming(service, connection, 7, "INVITE")).accept()

    async def test_they_come_by_the_dialog(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await self.call(service, connection)
        await service.incoming(8, "INFO", dialog=50, claim=None)
        request = await asyncio.wait_for(anext(dialog.requests()), 5)
        assert (request.method, request.dialog) == ("INFO", dialog)
        assert await request.respond(200) is dialog
        assert len(connection.requests()) == 0

    async def test_a_reinvite_and_its_ack(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await self.call(service, connection)
        await service.incoming(8, "INVITE", dialog=50)
        request = await asyncio.wait_for(anext(dialog.requests()), 5)
        assert await request.accept(body="v=2") is dialog
        await service.sip("acknowledged", request=8, dialog=50, headers=[], **SDP)
        assert (await asyncio.wait_for(request.acknowledged(), 5)).text == "v=0"

    async def test_a_refused_reinvite_leaves_the_call(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await self.call(service, connection)
        await service.incoming(8, "INVITE", dialog=50)
        await (await asyncio.wait_for(anext(dialog.requests()), 5)).respond(488)
        assert dialog.state == "confirmed"

    async def test_bye_ends_it_and_can_be_read(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await self.call(service, connection)
        await service.incoming(8, "BYE", dialog=50, answered=True, headers=[["Reason", "Q.850;cause=16"]])
        await service.sip("dialog", dialog=50, state="terminated", code="dialog_ended", text="It has ended.")
        assert (await asyncio.wait_for(dialog.ended(), 5)).code == "dialog_ended"
        requests = [request async for request in dialog.requests()]
        assert [(each.method, each.answered, each.header("reason")) for each in requests] == [
            ("BYE", True, "Q.850;cause=16")
        ]
        assert connection.dialogs == []

    async def test_by_an_observer(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await self.call(service, connection)
        seen: list[Any] = []

        class Observer:
            def incoming_request(self, request: IncomingRequest, dialog: Any) -> None:
                seen.append((request.method, dialog))

            def dialog_state_changed(self, dialog: Any) -> None:
                seen.append(dialog.state)

        connection.observe(Observer())  # type: ignore[arg-type]
        await service.incoming(8, "BYE", dialog=50, answered=True)
        await service.sip("dialog", dialog=50, state="terminated", code="dialog_ended")
        await until(lambda: len(seen) == 2)
        assert seen == [("BYE", dialog), "terminated"]

    async def test_unread_ones_are_bounded(self, service: FakeService, connection: SipConnection) -> None:
        await self.call(service, connection)
        for number in range(65):
            await service.incoming(100 + number, "INFO", dialog=50)
        await until(lambda: len(service.said("respond")) == 2)
        assert (service.said("respond")[1]["request"], service.said("respond")[1]["status"]) == (164, 480)


class TestNotifier:
    """CSIPNotifyDialogAssoc: SUBSCRIBE and REFER of the other side."""

    async def accept(self, service: FakeService, connection: SipConnection, expires: str = "600") -> Any:
        service.dialogs = {7: 60, 8: 60}
        headers = [["Event", "presence;id=2"], ["Expires", expires]]
        request = await incoming(service, connection, 7, "SUBSCRIBE", headers=headers)
        return await request.accept_subscription(expires=300)

    async def test_no_more_than_asked_for_is_granted(self, service: FakeService, connection: SipConnection) -> None:
        notifier = await self.accept(service, connection, "60")
        assert service.said("respond")[0]["headers"] == [["Expires", "60"]]
        assert (notifier.event, notifier.expires, notifier.state) == ("presence;id=2", 60, "pending")
        assert notifier.dialog.state == "confirmed"

    async def test_notify(self, service: FakeService, connection: SipConnection) -> None:
        notifier = await self.accept(service, connection)
        assert (await notifier.notify("<x/>", "application/pidf+xml")).ok
        sent = service.said("send")[0]
        assert (sent["method"], sent["dialog"], sent["body"]) == ("NOTIFY", 60, {"text": "<x/>"})
        assert sent["headers"] == [["Event", "presence;id=2"], ["Subscription-State", "active;expires=300"]]
        assert notifier.state == "active"

    async def test_terminate(self, service: FakeService, connection: SipConnection) -> None:
        notifier = await self.accept(service, connection)
        await notifier.notify(state="terminated", reason="probation", retry_after=5)
        assert service.said("send")[0]["headers"][1] == [
            "Subscription-State", "terminated;reason=probation;retry-after=5",
        ]  # fmt: skip
        await notifier.terminate()
        with pytest.raises(SipProfileError) as caught:
            await notifier.notify()
        assert caught.value.code == "invalid_state"
        assert len(service.said("send")) == 1
        assert (await notifier.ended()).code == "dialog_ended"

    async def test_a_renewal_is_answered_with_the_last_state(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        """RFC 6665 §4.2.1.3."""
        notifier = await self.accept(service, connection)
        await notifier.notify("<x/>", "application/pidf+xml")
        headers = [["Event", "presence;id=2"], ["Expires", "900"]]
        await service.incoming(8, "SUBSCRIBE", dialog=60, headers=headers)
        await until(lambda: len(service.said("send")) == 2)
        assert service.said("respond")[1]["headers"] == [["Expires", "900"]]
        again = service.said("send")[1]
        assert (again["body"], again["headers"][1]) == (
            {"text": "<x/>"}, ["Subscription-State", "active;expires=900"],
        )  # fmt: skip
        assert notifier.expires == 900

    async def test_unsubscribing_brings_the_last_notification(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        notifier = await self.accept(service, connection)
        await service.incoming(8, "SUBSCRIBE", dialog=60, headers=[["Event", "presence;id=2"], ["Expires", "0"]])
        await until(lambda: notifier.state == "terminated" and service.said("send"))
        assert service.said("send")[0]["headers"][1] == ["Subscription-State", "terminated;reason=timeout"]

    async def test_a_referral(self, service: FakeService, connection: SipConnection) -> None:
        service.dialogs = {7: 60}
        request = await incoming(service, connection, 7, "REFER", headers=[["Refer-To", "<sip:c@example.test>"]])
        notifier = await request.accept_subscription(status=202)
        assert (notifier.refer_to, notifier.event) == ("<sip:c@example.test>", "refer")
        await notifier.notify("SIP/2.0 200 OK", state="terminated")
        sent = service.said("send")[0]
        assert (sent["content_type"], sent["headers"][0]) == ("message/sipfrag;version=2.0", ["Event", "refer"])
