"""Applications that send and receive through the real daemon: the registrar, a peer and every socket are real."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest

import sipprofile
from sipprofile.testing.peer import SDP, Scripted

from .applications import AOR, BOB, LIMIT, World, running
from .conftest import RunningService


@pytest.fixture
async def world(service: RunningService) -> AsyncIterator[World]:
    async with running(service) as world:
        yield world


class TestMessages:
    async def test_a_session_that_claims_message_answers_it(self, world: World) -> None:
        session = await world.session("bot")
        number = (await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"]}))["claim"]
        exchange = world.bob.begin("MESSAGE", AOR, body="grüße".encode(), content_type="text/plain;charset=UTF-8")
        request = await session.event("request")
        assert (request["method"], request["claim"], request["dialog"]) == ("MESSAGE", number, None)
        assert (request["body"], request["answered"]) == ({"text": "grüße"}, False)
        assert request["from"].startswith(f"<{BOB}>")
        await session.ask("respond", request=request["request"], status=202, reason="Noted", headers=[["X-One", "1"]])
        response = await world.bob.final(exchange)
        assert (response.status, response.reason, response.header("x-one")) == (202, "Noted", "1")

    async def test_what_nobody_has_claimed_is_refused(self, world: World) -> None:
        session = await world.session()
        assert 400 <= await world.to_alice() < 500
        assert await world.to_alice("OPTIONS") == 200
        assert session.events.empty()

    async def test_a_session_sends(self, world: World) -> None:
        session = await world.session()
        sent = await session.ask(
            "send", profile=1, method="MESSAGE", uri=BOB, body={"text": "hi"}, content_type="text/plain"
        )
        response = await session.event("response", request=sent["request"])
        assert (response["status"], response["final"]) == (200, True)
        (message,) = world.bob.requests("MESSAGE")
        assert message.body == b"hi"
        assert (message.header("from") or "").startswith(f"<{AOR}>")

    async def test_a_challenge_is_answered_and_no_secret_is_seen(self, world: World) -> None:
        session = await world.session()
        await session.ask("send", profile=1, method="MESSAGE", uri=BOB, body={"text": "hi"}, content_type="text/plain")
        frame = await session.event("response")
        text = json.dumps(frame) + world.daemon.log.read_text()
        assert "secret" not in text
        assert "digest" not in text.lower()

    async def test_a_body_of_60_kb_and_one_beyond_64(self, world: World) -> None:
        session = await world.session()
        members = {"profile": 1, "method": "MESSAGE", "uri": BOB, "content_type": "text/plain"}
        error = await session.refused("send", **members, body={"text": "x" * 65_537})
        assert error["code"] == "too_large"

    async def test_nothing_answers(self, world: World) -> None:
        world.bob.peer.script["MESSAGE"] = ()
        session = await world.session()
        exchange = await session.ask(
            "send", profile=1, method="MESSAGE", uri=BOB, body={"text": "a"}, content_type="text/plain"
        )
        assert isinstance(exchange["request"], int)
        await world.bob.wait_for("MESSAGE")
        await session.close()


class TestCalls:
    async def test_a_call_out_from_ringing_to_bye(self, world: World) -> None:
        session = await world.session()
        offer = {"text": SDP.decode()}
        sent = await session.ask(
            "send", profile=1, method="INVITE", uri=BOB, body=offer, content_type="application/sdp"
        )
        ringing = await session.event("response", status=180)
        answer = await session.event("response", status=200)
        assert (ringing["final"], answer["final"]) == (False, True)
        assert answer["dialog"] == ringing["dialog"]
        assert answer["body"] == offer
        await world.bob.wait_for("ACK")
        (dialog,) = (await session.ask("dialogs", profile=1))["dialogs"]
        assert (dialog["dialog"], dialog["state"]) == (answer["dialog"], "confirmed")
        await session.ask("end", dialog=answer["dialog"])
        await world.bob.wait_for("BYE")
        await world.until(lambda: not world.bob.peer.dialogs, "the end of the call")
        assert (await session.refused("cancel", request=sent["request"]))["code"] in ("not_found", "invalid_state")

    async def test_a_call_in(self, world: World) -> None:
        session = await world.session()
        await session.ask("claim", profile=1, claim={"methods": ["INVITE"]})
        exchange = world.bob.begin("INVITE", AOR, body=SDP, content_type="application/sdp")
        invite = await session.event("request", method="INVITE")
        assert invite["body"] == {"text": SDP.decode()}
        await session.ask("respond", request=invite["request"], status=180)
        dialog = (
            await session.ask(
                "respond",
                request=invite["request"],
                status=200,
                body={"text": SDP.decode()},
                content_type="application/sdp",
            )
        )["dialog"]
        assert (await world.bob.final(exchange)).status == 200
        assert (await session.event("acknowledged"))["dialog"] == dialog
        bye = await world.bob.send("BYE", dialog=next(iter(exchange.dialogs.values()), exchange.dialog))
        assert bye.status == 200
        told = await session.event("request", method="BYE")
        assert (told["answered"], told["dialog"]) == (True, dialog)
        assert (await session.ask("dialogs", profile=1))["dialogs"] == []

    async def test_a_call_out_is_cancelled(self, world: World) -> None:
        world.bob.peer.script["INVITE"] = (Scripted(180),)
        session = await world.session()
        sent = await session.ask(
            "send", profile=1, method="INVITE", uri=BOB, body={"text": SDP.decode()}, content_type="application/sdp"
        )
        await session.event("response", status=180)
        await session.ask("cancel", request=sent["request"])
        assert (await session.event("response", final=True))["status"] == 487

    async def test_a_caller_who_gives_up(self, world: World) -> None:
        session = await world.session()
        await session.ask("claim", profile=1, claim={"methods": ["INVITE"]})
        exchange = world.bob.begin("INVITE", AOR, body=SDP, content_type="application/sdp")
        invite = await session.event("request", method="INVITE")
        await session.ask("respond", request=invite["request"], status=180)
        await world.bob.until(lambda: bool(exchange.responses))
        world.bob.cancel(exchange)
        assert (await session.event("withdrawn"))["code"] == "cancelled"
        assert (await world.bob.final(exchange)).status == 487
        error = await session.refused("respond", request=invite["request"], status=200)
        assert error["code"] in ("invalid_state", "not_found")


class TestEnds:
    async def test_a_crashed_session_s_calls_and_claims_end_at_once(self, world: World) -> None:
        session = await world.session()
        other = await world.session("other")
        await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})
        await session.ask(
            "send", profile=1, method="INVITE", uri=BOB, body={"text": SDP.decode()}, content_type="application/sdp"
        )
        await session.event("response", status=200)
        pending = world.bob.begin("MESSAGE", AOR, body=b"hi", content_type="text/plain")
        await session.event("request", method="MESSAGE")
        error = await other.refused("claim", profile=1, claim={"methods": ["MESSAGE"]})
        assert (error["code"], error["by"].partition(" ")[0]) == ("claim_in_use", "test")
        await session.close()
        await world.bob.wait_for("BYE")
        assert (await world.bob.final(pending)).status == 480
        await other.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})
        exchange = world.bob.begin("MESSAGE", AOR, body=b"hi", content_type="text/plain")
        request = await other.event("request")
        await other.ask("respond", request=request["request"], status=200)
        assert (await world.bob.final(exchange)).status == 200

    async def test_disable_ends_the_session_s_own(self, world: World) -> None:
        session = await world.session()
        await session.ask(
            "send", profile=1, method="INVITE", uri=BOB, body={"text": SDP.decode()}, content_type="application/sdp"
        )
        await session.event("response", status=200)
        await session.ask("disable", profile=1)
        await world.bob.wait_for("BYE")
        error = await session.refused("send", profile=1, method="MESSAGE", uri=BOB)
        assert error["code"] == "not_enabled"

    async def test_a_session_that_reads_nothing_loses_what_it_has(self, world: World) -> None:
        session = await world.session()
        await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})
        session._reading.cancel()  # as a process that was stopped
        other = await world.session("other")
        async with asyncio.timeout(30):
            while "ok" not in await other.frame("claim", profile=1, claim={"methods": ["MESSAGE"]}):
                for _ in range(50):
                    world.bob.begin("MESSAGE", AOR, body=b"x" * 1000, content_type="text/plain")
                await asyncio.sleep(0.05)
        exchange = world.bob.begin("MESSAGE", AOR, body=b"hi", content_type="text/plain")
        request = await other.event("request", body={"text": "hi"})
        await other.ask("respond", request=request["request"], status=200)
        assert (await world.bob.final(exchange)).status == 200

    async def test_a_session_that_resumes_claims_again(self, world: World) -> None:
        lost = await world.session()
        token = lost.token
        number = (await lost.ask("claim", profile=1, claim={"methods": ["MESSAGE"]}))["claim"]
        await lost.close()
        back = await world.session(resume=token)
        assert (await back.refused("unclaim", claim=number))["code"] == "not_found"
        assert (await back.ask("dialogs", profile=1))["dialogs"] == []
        await back.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})
        exchange = world.bob.begin("MESSAGE", AOR, body=b"hi", content_type="text/plain")
        request = await back.event("request")
        await back.ask("respond", request=request["request"], status=200)
        assert (await world.bob.final(exchange)).status == 200

    async def test_the_service_s_end_ends_calls(self, world: World) -> None:
        session = await world.session()
        await session.ask(
            "send", profile=1, method="INVITE", uri=BOB, body={"text": SDP.decode()}, content_type="application/sdp"
        )
        await session.event("response", status=200)
        stopping = asyncio.create_task(asyncio.to_thread(world.daemon.stop))
        await world.bob.wait_for("BYE")
        assert await stopping == 0


class TestStates:
    async def test_from_the_first_registering_to_a_pause_and_back(self, world: World) -> None:
        session = await world.session(registered=False)
        first = (await session.ask("connection", profile=1))["connection"]
        if first["state"] == "init":
            first = await session.event("connection")
        assert first["state"] == "active"
        assert first["local_address"].startswith("127.0.0.1:")
        assert (await world.post("/v1/profiles/1/pause", {}))[0] == 200
        assert (await session.event("connection"))["state"] == "unavailable"
        error = await session.refused("send", profile=1, method="MESSAGE", uri=BOB)
        assert error["code"] == "paused"
        assert (await world.post("/v1/profiles/1/resume", {}))[0] == 200
        assert (await session.event("connection", state="active"))["local_address"] == first["local_address"]

    async def test_force_disable_ends_it_for_everybody(self, world: World) -> None:
        sessions = [await world.session(str(number)) for number in range(2)]
        for session in sessions:
            await session.ask("connection", profile=1)
        assert (await world.post("/v1/profiles/1/force-disable", {}))[0] == 200
        for session in sessions:
            assert (await session.event("connection"))["state"] == "unavailable"
            assert (await session.refused("connection", profile=1))["code"] == "not_enabled"


class TestHttp:
    async def test_a_message_by_curl(self, world: World) -> None:
        command = ["curl", "--silent", "--show-error", "--max-time", "10", "--unix-socket", str(world.daemon.socket)]
        document = json.dumps({"uri": BOB, "text": "hi"})
        command += ["http://localhost/v1/profiles/by-name/line/message", "-d", document]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert (answer["status"], answer["reason"]) == (200, "OK")
        (message,) = world.bob.requests("MESSAGE")
        assert (message.body, message.header("content-type")) == (b"hi", "text/plain;charset=UTF-8")
        # It was registered for that alone, and is not any more.
        await world.until(lambda: not world.registrar.bindings(AOR), "the end of the registration")

    async def test_the_final_response_is_the_answer_whatever_it_is(self, world: World) -> None:
        world.bob.peer.script["MESSAGE"] = (Scripted(486, "Busy Here"),)
        status, answer = await world.post("/v1/profiles/1/message", {"uri": BOB, "text": "hi"})
        assert (status, answer["status"], answer["reason"]) == (200, 486, "Busy Here")

    async def test_sessions_notice_nothing(self, world: World) -> None:
        session = await world.session()
        await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})
        assert (await world.post("/v1/profiles/1/message", {"uri": BOB, "text": "hi"}))[1]["status"] == 200
        exchange = world.bob.begin("MESSAGE", AOR, body=b"hi", content_type="text/plain")
        request = await session.event("request")
        await session.ask("respond", request=request["request"], status=200)
        assert (await world.bob.final(exchange)).status == 200

    async def test_a_password_that_is_refused(self, world: World) -> None:
        server = {"uri": world.registrar.uri, "username": "alice", "password": "wrong"}
        await world.post("/v1/profiles", {"name": "other", "aor": AOR, "registrar": server})
        status, problem = await world.post("/v1/profiles/by-name/other/message", {"uri": BOB, "text": "hi"})
        assert (status, problem["code"]) == (409, "not_registered")

    @pytest.mark.parametrize(
        ("document", "code"),
        [({"text": "hi"}, "missing_field"), ({"uri": BOB, "text": "hi", "headers": [["Via", "x"]]}, "header_refused")],
    )
    async def test_mistakes(self, world: World, document: dict[str, Any], code: str) -> None:
        assert (await world.post("/v1/profiles/1/message", document))[1]["code"] == code


class TestRecords:
    async def test_the_audit_log_and_the_metrics(self, service: RunningService) -> None:
        audit = service.state.parent / "audit"
        service.configuration += f"[service]\naudit = '{audit}'\n"
        async with running(service) as world:
            session = await world.session("bot")
            await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})
            await session.ask(
                "send", profile=1, method="MESSAGE", uri=BOB, body={"text": "a private word"}, content_type="text/plain"
            )
            await session.event("response")
            world.bob.begin("MESSAGE", AOR, body=b"hi", content_type="text/plain")
            request = await session.event("request")
            await session.ask("respond", request=request["request"], status=200)
            assert (await world.post("/v1/profiles/1/message", {"uri": BOB, "text": "hi"}))[0] == 200
            metrics = await world.text("/metrics")
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
        assert [(line["direction"], line["method"], line["status"]) for line in lines] == [
            ("out", "MESSAGE", 200),
            ("in", "MESSAGE", 200),
            ("out", "MESSAGE", 200),
        ]
        assert [line.get("app") for line in lines] == ["bot", "bot", None]
        assert (lines[0]["uri"], lines[0]["profile"]) == (BOB, 1)
        assert "private" not in audit.read_text() + service.log.read_text()
        assert 'sipprofile_sip_requests_total{direction="out",method="MESSAGE"} 2.0' in metrics
        assert "sipprofile_claims 1.0" in metrics

    async def test_the_quota(self, service: RunningService) -> None:
        service.configuration += "[limits]\nsession_requests = 1\nsession_dialogs = 1\n"
        async with running(service) as world:
            session = await world.session()
            message = {
                "profile": 1,
                "method": "MESSAGE",
                "uri": BOB,
                "body": {"text": "a"},
                "content_type": "text/plain",
            }
            for _ in range(2):
                await session.ask("send", **message)
            error = await session.refused("send", **message)
            assert error["code"] == "quota_exceeded"
            assert 0 < error["retry_after"] <= 1


class TestPython:
    """The client library against the real service."""

    async def test_use_sends_claims_answers_calls_and_watches(self, world: World) -> None:
        claims = [sipprofile.Claim(methods=["MESSAGE"])]
        async with sipprofile.use("line", app="bot", url=world.daemon.url, claims=claims) as line:
            assert (await line.request("MESSAGE", BOB, text="hi")).status == 200
            exchange = world.bob.begin("MESSAGE", AOR, body=b"yo", content_type="text/plain")
            async for request in line.requests():
                assert request.text == "yo"
                await request.respond(200)
                break
            assert (await world.bob.final(exchange)).status == 200
            connection = await line.connection()
            assert connection.state == "active"
            call = await line.invite(BOB, body=SDP, content_type="application/sdp")
            await call.answered(timeout=LIMIT)
            await call.bye()
            await world.bob.wait_for("BYE")
            subscription = await line.subscribe("presence", BOB, expires=60)
            await world.bob.until(lambda: bool(world.bob.peer.dialogs))
            notify = await world.bob.send(
                "NOTIFY",
                dialog=world.bob.peer.dialogs[-1],
                headers=[("Event", "presence"), ("Subscription-State", "active;expires=60")],
                body=b"<presence/>",
                content_type="application/pidf+xml",
            )
            assert notify.status == 200
            await subscription.unsubscribe()
            await world.bob.wait_for("SUBSCRIBE", 2)
            expires = [request.header("expires") for request in world.bob.requests("SUBSCRIBE")]
            assert expires == ["60", "0"]

    async def test_a_shared_claim_is_answered_once(self, world: World) -> None:
        one, two = await world.session("one"), await world.session("two")
        for session in (one, two):
            await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"], "exclusive": False})
        exchange = world.bob.begin("MESSAGE", AOR, body=b"hi", content_type="text/plain")
        first, second = await one.event("request"), await two.event("request")
        assert first["request"] == second["request"]
        assert first["claim"] != second["claim"]
        await two.ask("respond", request=second["request"], status=202)
        assert (await one.event("withdrawn"))["code"] == "answered_elsewhere"
        assert (await one.refused("respond", request=first["request"], status=486))["code"] == "invalid_state"
        assert (await world.bob.final(exchange)).status == 202
