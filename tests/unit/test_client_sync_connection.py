"""Sending and receiving without asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from fake_service import FakeService, in_thread, response

from sipprofile import Claim, RequestRefused, SipProfileError, sync

BOB = "sip:bob@example.test"


class Said:
    """A fake service that this thread lets say something."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.loop: asyncio.AbstractEventLoop | None = None

    def tell(self, work: Coroutine[Any, Any, None]) -> None:
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(work, self.loop).result(5)


@pytest.fixture
def said() -> Iterator[Said]:
    before = threading.active_count()
    with in_thread() as service:
        service.add("trunk", registration={"status": "registered"})
        said = Said(service)

        def remember(id_: int) -> None:
            said.loop = asyncio.get_running_loop()

        service.on_enable = remember
        yield said
    assert threading.active_count() == before


def test_requests_and_claims(said: Said) -> None:
    service = said.service
    with sync.use("trunk", url=service.url, claims=["MESSAGE"]) as line:
        assert line.message(BOB, "hi").ok
        assert line.request("OPTIONS", BOB, headers={"Subject": "x"}).status == 200
        for number in (7, 8):
            said.tell(service.incoming(number, body={"text": str(number)}))
        texts = []
        for request in line.requests(timeout=0.5):
            texts.append(request.text)
            request.respond(200)
        assert texts == ["7", "8"]
        connection = line.connection()
        assert connection == line.connection()
        assert next(connection.states()) == "active"
        with connection.claim(Claim(events=["presence"])) as claim:
            assert claim.number > 0
        assert len(service.said("unclaim")) == 1
        service.on_send = lambda command, number: [response(number, 200, headers=[["Contact", "<sip:a@b>"]])]
        assert [binding.uri for binding in connection.fetch_bindings()] == ["sip:a@b"]
        connection.close()
        with pytest.raises(SipProfileError):
            connection.message(BOB, "hi")


def test_a_call_each_way(said: Said) -> None:
    service = said.service
    service.on_send = lambda command, number: [
        response(number, 180, dialog=50), response(number, 200, dialog=50, body={"text": "v=1"}),
    ]  # fmt: skip
    service.dialogs = {7: 60}
    with sync.use("trunk", url=service.url) as line:
        with line.invite(BOB, body="v=0") as call:
            assert [each.status for each in call.provisional_responses()] == [180]
            call = call.answered(5)
            assert (call.state, call.answer.text) == ("confirmed", "v=1")
            assert call.info("Signal=1", "application/dtmf-relay").ok
            assert list(call.requests(timeout=0.01)) == []
        assert call.ended().code == "dialog_ended"
        waiting = line.requests(timeout=5)
        said.tell(_later(service))
        request = next(waiting)
        early = request.ringing()
        dialog = request.accept(body="v=2")
        assert (early, dialog.state) == (dialog, "confirmed")
        said.tell(service.sip("acknowledged", request=7, dialog=60, headers=[], body={"text": "v=3"}))
        assert dialog.acknowledged().text == "v=3"
        dialog.bye()
    assert service.said("claim")[0]["claim"] == {"default": True}


async def _later(service: FakeService) -> None:
    """The INVITE comes once somebody has claimed it."""
    asyncio.get_running_loop().call_later(
        0.05, lambda: asyncio.ensure_future(service.incoming(7, "INVITE", body={"text": "v=0"}))
    )


def test_subscribe_publish_and_refer(said: Said) -> None:
    service = said.service
    service.on_send = lambda command, number: [
        response(number, 202, dialog={"SUBSCRIBE": 70, "REFER": 80}.get(command["method"]))
    ]
    with sync.use("trunk", url=service.url) as line:
        connection = line.connection()
        with line.subscribe("message-summary") as subscription:
            headers = [["Event", "message-summary"], ["Subscription-State", "active"]]
            said.tell(service.incoming(7, "NOTIFY", dialog=70, answered=True, headers=headers, body={"text": "m"}))
            assert [each.text for each in subscription.notifications(timeout=0.5)] == ["m"]
        assert [each["dialog"] for each in service.said("end")] == [70]
        with connection.publish("presence", "<x/>", "application/pidf+xml") as publication:
            publication.modify("<y/>", "application/pidf+xml")
        assert len(service.said("stop-refresh")) == 2
        assert connection.refer(BOB, "sip:carol@example.test").event == "refer"
        service.on_send = lambda command, number: [response(number, 489)]
        with pytest.raises(RequestRefused):
            connection.subscribe("nothing")


def test_a_notifier(said: Said) -> None:
    service = said.service
    service.dialogs = {7: 60}
    with sync.use("trunk", url=service.url, claims=[Claim(events=["presence"])]) as line:
        said.tell(service.incoming(7, "SUBSCRIBE", headers=[["Event", "presence"]]))
        notifier = next(line.requests(timeout=5)).accept_subscription(expires=60)
        assert notifier.notify("<x/>", "application/pidf+xml").ok
        notifier.terminate()
        assert notifier.ended().code == "dialog_ended"
    assert [command["method"] for command in service.said("send")] == ["NOTIFY", "NOTIFY"]


def test_an_observer_is_called_in_the_sessions_thread(said: Said) -> None:
    heard: list[tuple[str, str]] = []
    called = threading.Event()

    class Observer:
        def connection_state_changed(self, state: str) -> None:
            heard.append((state, threading.current_thread().name))
            called.set()

    with sync.Sip("script", url=said.service.url) as sip, sync.ProfileRegistry(sip) as registry:
        profile = registry.profile(1)
        registry.enable(profile, connection_observer=Observer())  # type: ignore[arg-type]
        request = registry.connection(profile).start("OPTIONS", BOB)
        assert list(request) == []
        assert request.final().ok
        assert called.wait(5)
    assert heard[0] == ("active", "sipprofile")
