"""Dialogs that an application begins: calls, forks, subscriptions, referrals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from client_session import connection, profile, registry, service, until
from fake_service import FakeService, response

from sipprofile import InviteDialog, RequestFailed, RequestRefused, SipConnection, SipProfileError
from sipprofile.client import outgoing

__all__ = ["connection", "profile", "registry", "service"]

BOB = "sip:bob@example.test"
NOTIFY = {"answered": True, "claim": None, "content_type": "application/simple-message-summary"}


async def answered(service: FakeService, connection: SipConnection) -> InviteDialog:
    """A call that was answered at once."""
    service.on_send = lambda command, number: [response(number, 200, dialog=50, body={"text": "v=1"})]
    dialog = await (await connection.invite(BOB, body="v=0")).answered(5)
    service.on_send = lambda command, number: [response(number, 200, "OK", dialog=command.get("dialog"))]
    return dialog


class TestInvite:
    """CSIPInviteDialogAssoc: SendInviteL, CSIPDialog::State."""

    async def test_ringing_early_media_and_the_answer(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: []
        dialog = await connection.invite(BOB, body="v=0", headers={"Subject": "x"})
        sent = service.said("send")[0]
        assert (sent["method"], sent["uri"], sent["content_type"]) == ("INVITE", BOB, "application/sdp")
        assert (dialog.state, dialog.number) == ("init", 0)
        assert dialog.outgoing is not None
        number = dialog.outgoing.number
        await service.sip(**response(number, 100))
        await service.sip(**response(number, 183, dialog=50, body={"text": "v=1"}))
        assert (await asyncio.wait_for(anext(dialog.provisionals), 5)).status == 100
        assert (await asyncio.wait_for(anext(dialog.provisionals), 5)).text == "v=1"
        assert (dialog.state, dialog.number) == ("early", 50)
        await service.sip(**response(number, 200, dialog=50, body={"text": "v=2"}))
        assert await dialog.answered(5) is dialog
        assert dialog.answer is not None
        assert (dialog.state, dialog.answer.text) == ("confirmed", "v=2")
        assert connection.dialogs == [dialog]
        assert service.said("ack") == []

    async def test_refused(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [
            response(number, 180, dialog=50),
            response(number, 486, "Busy Here", dialog=50),
        ]
        dialog = await connection.invite(BOB, body="v=0")
        with pytest.raises(RequestRefused, match="486 Busy Here") as caught:
            await dialog.answered(5)
        assert caught.value.response.status == 486
        assert (dialog.state, dialog.reason.status_code) == ("terminated", 486)
        assert (connection.user.outgoing, connection.user.by_call_id, connection.dialogs) == ({}, {}, [])

    async def test_it_fails(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [{"event": "failed", "request": number, "code": "timeout"}]
        dialog = await connection.invite(BOB, body="v=0")
        with pytest.raises(RequestFailed):
            await dialog.answered(5)
        assert (await dialog.ended()).code == "timeout"

    async def test_cancel(self, service: FakeService, connection: SipConnection) -> None:
        """CSIPClientTransaction::CancelL."""
        service.on_send = lambda command, number: [response(number, 180, dialog=50)]
        dialog = await connection.invite(BOB, body="v=0")
        await dialog.cancel()
        assert dialog.outgoing is not None
        number = dialog.outgoing.number
        assert service.said("cancel")[0]["request"] == number
        await service.sip(**response(number, 487, "Request Terminated", dialog=50))
        with pytest.raises(RequestRefused):
            await dialog.answered(5)
        with pytest.raises(SipProfileError) as caught:
            await dialog.cancel()
        assert caught.value.code == "invalid_state"

    async def test_hanging_up_before_the_answer_cancels(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: []
        async with await connection.invite(BOB, body="v=0"):
            pass
        assert len(service.said("cancel")) == 1

    async def test_hanging_up_when_the_answer_crosses_ends_the_call(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        service.on_send = lambda command, number: [response(number, 180)]
        dialog = await connection.invite(BOB, body="v=0")
        assert dialog.outgoing is not None
        number = dialog.outgoing.number
        service.refuse["cancel"] = SipProfileError("invalid_state", "It has its final response.")

        async def crossing() -> None:
            service.before_answer = lambda: None
            await service.sip(**response(number, 200, dialog=50))

        service.before_answer = crossing  # type: ignore[assignment]
        await dialog.bye()
        assert [said["dialog"] for said in service.said("end")] == [50]

    async def test_the_callers_task_is_cancelled_while_it_is_sent(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        held = asyncio.Event()
        service.before_answer = held.wait  # type: ignore[assignment]
        service.on_send = lambda command, number: []
        calling = asyncio.create_task(connection.invite(BOB, body="v=0"))
        await until(lambda: service.said("send"))
        calling.cancel()
        held.set()
        await until(lambda: service.said("cancel"))

    async def test_a_delayed_offer_needs_an_ack(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        await dialog.ack(body="v=3", content_type="application/sdp", headers={"X": "y"})
        sent = service.said("ack")[0]
        assert (sent["dialog"], sent["body"], sent["headers"]) == (50, {"text": "v=3"}, [["X", "y"]])


class TestForks:
    """MSIPConnectionObserver::IncomingResponse with a new association; InviteCompleted."""

    async def test_who_answers_first_is_who_counts(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [
            response(number, 180, dialog=50), response(number, 180, dialog=51), response(number, 200, dialog=51),
        ]  # fmt: skip
        first = await connection.invite(BOB, body="v=0")
        winner = await first.answered(5)
        assert (winner.number, winner.state) == (51, "confirmed")
        assert (first.number, first.state) == (50, "early")
        assert first.dialogs == winner.dialogs == [first, winner]
        assert await asyncio.wait_for(anext(first.forks()), 5) is winner

    async def test_a_second_answer_that_nobody_wants_is_ended(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        """RFC 3261 §13.2.2.4."""
        service.on_send = lambda command, number: [response(number, 200, dialog=50), response(number, 200, dialog=51)]
        dialog = await (await connection.invite(BOB, body="v=0")).answered(5)
        await until(lambda: service.said("end"))
        assert [each["dialog"] for each in service.said("end")] == [51]
        assert connection.dialogs == [dialog]

    async def test_a_second_answer_that_is_wanted(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: []
        dialog = await connection.invite(BOB, body="v=0")
        forks = dialog.forks()
        assert dialog.outgoing is not None
        for number in (50, 51):
            await service.sip(**response(dialog.outgoing.number, 200, dialog=number, body={"text": str(number)}))
        fork = await asyncio.wait_for(anext(forks), 5)
        assert fork.answer is not None
        assert (fork.number, fork.state, fork.answer.text) == (51, "confirmed", "51")
        assert await dialog.answered() is dialog
        assert service.said("end") == []

    async def test_forks_end_after_64_t1(
        self, service: FakeService, connection: SipConnection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outgoing, "FORKS_END", 0.01)
        completed: list[Any] = []

        class Observer:
            def invite_completed(self, request: Any) -> None:
                completed.append(request)

            def incoming_response(self, request: Any, response: Any, dialog: Any) -> None:
                completed.append((response.status, dialog.number))

        connection.observe(Observer())  # type: ignore[arg-type]
        service.on_send = lambda command, number: [response(number, 180, dialog=51), response(number, 200, dialog=50)]
        dialog = await connection.invite(BOB, body="v=0")
        winner = await dialog.answered(5)
        assert [fork async for fork in dialog.forks()] == [winner]
        assert (dialog.state, winner.state) == ("terminated", "confirmed")
        await until(lambda: completed == [(180, 51), (200, 50), winner.outgoing])
        assert connection.user.outgoing == {}


class TestInsideACall:
    """SendUpdateL, SendPrackL, SendByeL, SendNonTargetRefreshRequestL."""

    async def test_requests(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        assert (await dialog.reinvite(body="v=2", content_type="application/sdp")).ok
        assert (await dialog.update(body="v=3", content_type="application/sdp")).ok
        assert (await dialog.info("Signal=1", "application/dtmf-relay", package="dtmf")).ok
        assert (await dialog.prack(headers={"RAck": "1 1 INVITE"})).ok
        assert (await dialog.request("MESSAGE", text="hi")).ok
        sent = service.said("send")[1:]
        assert [each["method"] for each in sent] == ["INVITE", "UPDATE", "INFO", "PRACK", "MESSAGE"]
        assert {each["dialog"] for each in sent} == {50}
        assert {"profile", "uri"}.isdisjoint(sent[0])
        assert sent[2]["headers"] == [["Info-Package", "dtmf"]]
        assert (dialog.state, connection.user.outgoing.keys()) == ("confirmed", {dialog.outgoing.number})  # type: ignore[union-attr]

    async def test_bye(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        await dialog.bye()
        await dialog.bye()
        assert [each["dialog"] for each in service.said("end")] == [50]
        assert (dialog.state, (await dialog.ended()).code) == ("terminated", "dialog_ended")
        with pytest.raises(SipProfileError) as caught:
            await dialog.request("INFO")
        assert caught.value.code == "invalid_state"

    async def test_bye_with_a_reason(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        await dialog.bye(headers={"Reason": "Q.850;cause=16"})
        assert (service.said("send")[-1]["method"], service.said("end")) == ("BYE", [])
        assert dialog.state == "terminated"

    async def test_the_service_ends_it(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        await service.sip("dialog", dialog=50, state="terminated", code="transport_closed", text="Closed.")
        assert (await asyncio.wait_for(dialog.ended(), 5)).text == "Closed."

    async def test_a_change_that_does_not_end_it(self, service: FakeService, connection: SipConnection) -> None:
        errors: list[Any] = []

        class Observer:
            def error_occurred(self, error: Any, request: Any, dialog: Any) -> None:
                errors.append((error.reason.code, request, dialog))

        dialog = await answered(service, connection)
        connection.observe(Observer())  # type: ignore[arg-type]
        await service.sip("dialog", dialog=50, state="confirmed", code="timeout", text="")
        await until(lambda: errors == [("timeout", None, dialog)])
        assert dialog.state == "confirmed"

    async def test_the_service_is_gone(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        service.cut()
        assert (await asyncio.wait_for(dialog.ended(), 5)).code == "service_gone"

    async def test_a_transfer(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        referral = await dialog.refer("sip:carol@example.test", referred_by="sip:trunk@example.test")
        assert service.said("send")[-1]["headers"] == [
            ["Refer-To", "<sip:carol@example.test>"], ["Referred-By", "<sip:trunk@example.test>"],
        ]  # fmt: skip
        for number, status, state in ((7, "100 Trying", "active;expires=60"), (8, "200 OK", "terminated")):
            headers = [["Event", "refer;id=2"], ["Subscription-State", state]]
            members = {**NOTIFY, "headers": headers, "body": {"text": f"SIP/2.0 {status}\r\n"}}
            await service.incoming(number, "NOTIFY", dialog=50, **members)
        assert [each.sipfrag_status async for each in referral] == [100, 200]
        assert (referral.state, dialog.state) == ("terminated", "confirmed")

    async def test_two_referrals_are_told_apart_by_their_ids(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        dialog = await answered(service, connection)
        referrals = [await dialog.refer(f"sip:{name}@example.test") for name in "cd"]
        for number, id_ in ((7, 2), (8, 3), (9, 2)):
            headers = [["Event", f"refer;id={id_}"], ["Subscription-State", "active;expires=60"]]
            members = {**NOTIFY, "headers": headers, "body": {"text": f"SIP/2.0 {100 + number} x"}}
            await service.incoming(number, "NOTIFY", dialog=50, **members)
        await until(lambda: referrals[0].latest is not None and referrals[0].latest.sipfrag_status == 109)
        assert referrals[1].latest is not None
        assert referrals[1].latest.sipfrag_status == 108

    async def test_a_referral_that_ends_without_a_word(self, service: FakeService, connection: SipConnection) -> None:
        dialog = await answered(service, connection)
        referral = await dialog.refer("sip:carol@example.test")
        headers = [["Event", "refer;id=2"], ["Subscription-State", "active;expires=60"]]
        await service.incoming(7, "NOTIFY", dialog=50, **{**NOTIFY, "headers": headers})
        await until(lambda: referral.latest)
        await service.sip("dialog", dialog=50, state="confirmed", code="none", usages=["refer;id=2"])
        assert referral.state == "active"
        await service.sip("dialog", dialog=50, state="confirmed", code="dialog_ended", usages=[])
        assert (await asyncio.wait_for(referral.ended(), 5)).code == "dialog_ended"
        assert dialog.state == "confirmed"

    async def test_a_referral_is_told_its_end_after_the_bye(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        """RFC 5057 §4.2: the dialog lasts as long as one of its usages."""
        dialog = await answered(service, connection)
        referral = await dialog.refer("sip:carol@example.test")
        await service.incoming(7, "BYE", dialog=50, answered=True)
        await service.sip("dialog", dialog=50, state="confirmed", code="dialog_ended", usages=["refer;id=2"])
        assert (await asyncio.wait_for(dialog.ended(), 5)).code == "dialog_ended"
        headers = [["Event", "refer;id=2"], ["Subscription-State", "terminated;reason=noresource"]]
        await service.incoming(
            8, "NOTIFY", dialog=50, **{**NOTIFY, "headers": headers, "body": {"text": "SIP/2.0 200 OK"}}
        )
        assert [each.sipfrag_status async for each in referral] == [200]
        await service.sip("dialog", dialog=50, state="terminated", code="dialog_ended")
        await until(lambda: not connection.dialogs)


class TestSubscribe:
    """CSIPSubscribeDialogAssoc: SendSubscribeL, UpdateL, SendUnsubscribeL, Event (RFC 6665)."""

    @staticmethod
    def notify(state: str, text: str, **members: Any) -> dict[str, Any]:
        headers = [["Event", "message-summary"], ["Subscription-State", state]]
        return {**NOTIFY, "headers": headers, "body": {"text": text}, **members}

    async def test_notifications(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 202, dialog=70, headers=[["Expires", "1800"]])]
        subscription = await connection.subscribe("message-summary", accept="application/simple-message-summary")
        sent = service.said("send")[0]
        assert (sent["method"], sent["uri"], sent["refresh"]) == ("SUBSCRIBE", "sip:trunk@example.test", 3600)
        assert sent["headers"] == [
            ["Event", "message-summary"], ["Accept", "application/simple-message-summary"], ["Expires", "3600"],
        ]  # fmt: skip
        assert (subscription.expires, subscription.state) == (1800, "init")
        await service.incoming(7, "NOTIFY", dialog=70, **self.notify("active;expires=900", "Messages-Waiting: yes"))
        notification = await asyncio.wait_for(anext(aiter(subscription)), 5)
        assert (notification.text, notification.state, notification.expires) == ("Messages-Waiting: yes", "active", 900)
        assert (subscription.state, subscription.expires, subscription.latest) == ("active", 900, notification)
        assert service.said("respond") == []

    async def test_one_that_overtakes_the_2xx(self, service: FakeService, connection: SipConnection) -> None:
        """RFC 6665 §4.1.2.4."""
        service.on_send = lambda command, number: []
        subscribing = asyncio.create_task(connection.subscribe("message-summary"))
        await until(lambda: connection.user.by_call_id)
        call_id = service.said("send")[0]["call_id"]
        await service.incoming(7, "NOTIFY", dialog=70, **self.notify("active", "first", call_id=call_id))
        await service.sip(**response(101, 200, dialog=70))
        subscription = await asyncio.wait_for(subscribing, 5)
        assert (await asyncio.wait_for(anext(aiter(subscription)), 5)).text == "first"
        assert [dialog.number for dialog in subscription.dialogs] == [70]

    async def test_forked(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        subscription = await connection.subscribe("message-summary")
        call_id = service.said("send")[0]["call_id"]
        for number, dialog in ((7, 70), (8, 71)):
            notify = self.notify("active", str(dialog), call_id=call_id)
            await service.incoming(number, "NOTIFY", dialog=dialog, **notify)
        notifications = [await asyncio.wait_for(anext(aiter(subscription)), 5) for _ in range(2)]
        assert [(each.text, each.dialog.number) for each in notifications] == [("70", 70), ("71", 71)]
        await service.sip("dialog", dialog=70, state="terminated", code="dialog_ended")
        await until(lambda: len(subscription.dialogs) == 1)
        assert subscription.state == "active"

    async def test_refused(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 489, "Bad Event")]
        with pytest.raises(RequestRefused, match="489"):
            await connection.subscribe("nothing")
        assert (connection.user.outgoing, connection.user.by_call_id) == ({}, {})

    async def test_refresh_by_hand(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        subscription = await connection.subscribe("message-summary", refresh=False)
        assert "refresh" not in service.said("send")[0]
        assert (await subscription.refresh(60)).ok
        sent = service.said("send")[1]
        assert (sent["dialog"], sent["headers"]) == (70, [["Event", "message-summary"], ["Expires", "60"]])

    async def test_a_refresh_by_hand_leaves_the_rest_as_it_was(
        self, service: FakeService, connection: SipConnection
    ) -> None:
        """The service goes on renewing it, with the same headers, for as long as was asked for first."""
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        subscription = await connection.subscribe("presence", expires=600, accept="application/pidf+xml")
        await service.incoming(
            7, "NOTIFY", dialog=70, headers=[["Event", "presence"], ["Subscription-State", "active;expires=9"]]
        )
        await anext(aiter(subscription))
        for expires, asked in ((None, 600), (60, 60), (None, 60)):
            await subscription.refresh(expires)
            sent = service.said("send")[-1]
            assert sent["refresh"] == asked
            assert sent["headers"] == [
                ["Event", "presence"],
                ["Accept", "application/pidf+xml"],
                ["Expires", str(asked)],
            ]

    async def test_unsubscribe(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        async with await connection.subscribe("message-summary") as subscription:
            pass
        assert [each["dialog"] for each in service.said("end")] == [70]
        await service.incoming(7, "NOTIFY", dialog=70, **self.notify("terminated;reason=timeout", "last"))
        await service.sip("dialog", dialog=70, state="terminated", code="dialog_ended")
        assert [(each.text, each.reason) async for each in subscription] == [("last", "timeout")]
        assert (await subscription.ended()).code == "dialog_ended"
        assert (connection.user.outgoing, connection.user.by_call_id, connection.user.dialogs) == ({}, {}, {})
        with pytest.raises(SipProfileError) as caught:
            await subscription.refresh()
        assert caught.value.code == "invalid_state"

    async def test_a_refresh_that_fails(self, service: FakeService, connection: SipConnection) -> None:
        """ErrorOccured(error, refresh)."""
        errors: list[Any] = []

        class Observer:
            def error_occurred(self, error: Any, request: Any, dialog: Any) -> None:
                errors.append((error.reason.code, dialog.number))

        connection.observe(Observer())  # type: ignore[arg-type]
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        subscription = await connection.subscribe("message-summary")
        await service.sip("dialog", dialog=70, state="confirmed", code="subscription_lost")
        await until(lambda: errors == [("subscription_lost", 70)])
        assert subscription.state != "terminated"
        await service.sip("dialog", dialog=70, state="terminated", code="subscription_lost")
        assert (await asyncio.wait_for(subscription.ended(), 5)).code == "subscription_lost"

    async def test_it_goes_on_in_another_dialog(self, service: FakeService, connection: SipConnection) -> None:
        """RFC 6665 §4.1.2.2: the notifier does not know it any more."""
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        subscription = await connection.subscribe("message-summary")
        await service.sip("dialog", dialog=70, state="early", code="resubscribing")
        await service.sip("dialog", dialog=71, state="confirmed", code="resubscribed", replaces=70)
        await service.sip("dialog", dialog=70, state="terminated", code="resubscribed")
        await service.incoming(7, "NOTIFY", dialog=71, **self.notify("active", "again"))
        notification = await asyncio.wait_for(anext(aiter(subscription)), 5)
        assert (notification.text, notification.dialog.number, subscription.state) == ("again", 71, "active")
        assert [dialog.number for dialog in connection.dialogs] == [71]
        await subscription.unsubscribe()
        assert service.said("end")[0]["dialog"] == 71

    async def test_unread_notifications_are_bounded(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        subscription = await connection.subscribe("message-summary")
        for number in range(300):
            await service.incoming(1000 + number, "NOTIFY", dialog=70, **self.notify("active", str(number)))
        await until(lambda: subscription.latest is not None and subscription.latest.text == "299")
        assert (await anext(aiter(subscription))).text == "44"

    async def test_the_service_is_gone(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 200, dialog=70)]
        subscription = await connection.subscribe("message-summary")
        service.cut()
        assert [notification async for notification in subscription] == []
        assert subscription.reason.code == "service_gone"


class TestRefer:
    """CSIPReferDialogAssoc: SendReferL, ReferTo (RFC 3515)."""

    async def test_its_progress(self, service: FakeService, connection: SipConnection) -> None:
        service.on_send = lambda command, number: [response(number, 202, dialog=80)]
        referral = await connection.refer(BOB, "sip:carol@example.test")
        sent = service.said("send")[0]
        assert (sent["method"], sent["uri"], sent["headers"]) == (
            "REFER", BOB, [["Refer-To", "<sip:carol@example.test>"]],
        )  # fmt: skip
        headers = [["Event", "refer"], ["Subscription-State", "terminated;reason=noresource"]]
        await service.incoming(
            7, "NOTIFY", dialog=80, **{**NOTIFY, "headers": headers, "body": {"text": "SIP/2.0 603 Decline"}}
        )
        await service.sip("dialog", dialog=80, state="terminated", code="dialog_ended")
        assert [each.sipfrag_status async for each in referral] == [603]

    async def test_without_a_subscription(self, service: FakeService, connection: SipConnection) -> None:
        """RFC 4488 §4."""
        service.on_send = lambda command, number: [response(number, 202, headers=[["Refer-Sub", "false"]])]
        referral = await connection.refer(BOB, "sip:carol@example.test")
        assert [each async for each in referral] == []
