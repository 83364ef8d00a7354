"""The commands of a session about requests, dialogs and claims: who may, what is handed on, what is answered."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from sipprofile.claims import Claim
from sipprofile.errors import SipProfileError
from sipprofile.service import connection_commands, connections
from sipprofile.service.audit import Auditor
from sipprofile.service.connection_commands import ConnectionCommands
from sipprofile.service.connections import Connections
from sipprofile.service.hub import Hub
from sipprofile.service.policy import Actor
from sipprofile.service.sessions import Session
from sipprofile.service.settings import ServiceSettings

PROFILE = 7


class World:
    """The commands over a user agent, claims and delivery that note what they are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: SipProfileError | None = None
        self.now = 100.0
        self.audit: list[Any] = []
        self.agent: Any = SimpleNamespace(incoming={}, legs={}, publications=SimpleNamespace(by_number={}))
        for name in ("send", "cancel", "acknowledge", "fetch_bindings"):
            monkeypatch.setattr(connection_commands.client, name, self._noting(name), raising=False)
        monkeypatch.setattr(connection_commands.ending, "end_leg", self._noting("end_leg"), raising=False)
        monkeypatch.setattr(connections.ending, "profile_gone", self._noting("profile_gone"), raising=False)
        monkeypatch.setattr(connection_commands.publications, "stop", self._noting("stop"), raising=False)
        monkeypatch.setattr(connection_commands, "profile_line", lambda _, profile: f"line of {profile}")
        self.hub = Hub(lambda _: None, lambda _: None, 256)
        self.entry: Any = SimpleNamespace(held="")
        registry: Any = SimpleNamespace(
            settings=ServiceSettings(), now=self.now, wall_offset=0.0, get=lambda _: self.entry
        )
        states: Any = SimpleNamespace(
            watch=lambda _, profile: {"profile": profile, "state": "active", "local_address": "192.0.2.1:5060"},
            leave=self._noting("leave"),
            gone=self._noting("gone"),
        )
        self.claims: Any = SimpleNamespace(claim=self._noting("claim"), release=self._noting("release"))
        gone = self._noting("owners_gone")
        self.delivery: Any = SimpleNamespace(
            respond=self._noting("respond"), owners_gone=lambda owners, now, *, lost: gone(owners, now, lost)
        )
        auditor = Auditor(self.audit.append, lambda: 0.0)
        self.connections = Connections(registry, self.hub, self.agent, self.delivery, states, auditor)
        self.commands = ConnectionCommands(self.agent, self.claims, self.delivery, self.connections, states)
        self.session = self.new_session()

    def new_session(self, number: int = 1) -> Session:
        session = Session(number, Actor("uid 1000", frozenset({"use"})), self.hub.open(number), "token")
        session.enabled.add(PROFILE)
        return session

    def _noting(self, name: str) -> Any:
        def called(*arguments: Any) -> Any:
            if self.error is not None:
                raise self.error
            self.calls.append((name, *arguments))
            if name in ("send", "fetch_bindings"):
                method = arguments[3].method if name == "send" else "REGISTER"
                return SimpleNamespace(number=len(self.calls), method=method, legs={})
            return 40 + len(self.calls) if name == "claim" else None

        return called

    def ask(self, op: str, session: Session | None = None, **members: Any) -> dict[str, Any]:
        frame = json.dumps({"id": 1, "op": op, **members}).encode()
        return self.commands.perform(session or self.session, op, frame, self.now)

    def refused(self, op: str, **members: Any) -> SipProfileError:
        with pytest.raises(SipProfileError) as caught:
            self.ask(op, **members)
        return caught.value

    def leg(self, number: int = 3, owner: Any = None, **more: Any) -> Any:
        owner = owner or self.connections.of(self.session, PROFILE)
        dialog = SimpleNamespace(target="sip:bob@192.0.2.5", call_id="c", local_uri="sip:a@b", remote_uri="sip:c@d")
        line = SimpleNamespace(profile=PROFILE)
        values = {"state": "confirmed", "method": "INVITE", "initiator": True, "usages": (), **more}
        leg = SimpleNamespace(number=number, owner=owner, line=line, dialog=dialog, **values)
        self.agent.legs[number] = leg
        owner._note(leg)
        return leg

    def incoming(self, number: int = 5, method: str = "MESSAGE", **more: Any) -> Any:
        request = SimpleNamespace(method=method, header=lambda _: "<sip:bob@example.test>")
        values = {"leg": None, "line": SimpleNamespace(profile=PROFILE), **more}
        incoming = SimpleNamespace(number=number, request=request, **values)
        self.agent.incoming[number] = incoming
        return incoming


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


class TestWhoMay:
    @pytest.mark.parametrize("op", ["claim", "connection", "send", "fetch-bindings", "dialogs"])
    def test_only_a_profile_that_this_session_has_enabled(self, world: World, op: str) -> None:
        error = world.refused(op, profile=8, claim={}, method="MESSAGE", uri="sip:bob@example.test")
        assert (error.code, error.value) == ("not_enabled", 8)
        assert world.refused(op).code == "missing_field"

    def test_the_capability_use_is_needed(self, world: World) -> None:
        world.session.actor = Actor("reader", frozenset({"read"}))
        assert world.refused("send", profile=PROFILE).code == "permission_denied"

    def test_others_have_other_requests_dialogs_and_claims(self, world: World) -> None:
        number = world.ask("claim", profile=PROFILE, claim={"methods": ["MESSAGE"]})["claim"]
        world.leg()
        request = world.ask("send", profile=PROFILE, method="INVITE", uri="sip:b@c")["request"]
        other = world.new_session(2)
        world.ask("connection", other, profile=PROFILE)
        for op, code, members in (
            ("unclaim", "not_found", {"claim": number}),
            ("end", "not_found", {"dialog": 3}),
            ("send", "not_found", {"dialog": 3, "method": "BYE"}),
            ("ack", "not_found", {"dialog": 3}),
            ("cancel", "invalid_state", {"request": request}),
            ("stop-refresh", "not_found", {"request": request}),
            ("respond", "invalid_state", {"request": 5, "status": 200}),
        ):
            with pytest.raises(SipProfileError) as caught:
                world.ask(op, other, **members)
            assert caught.value.code == code, op


class TestClaim:
    def test_it_is_handed_on_with_who_claims(self, world: World) -> None:
        assert world.ask("claim", profile=PROFILE, claim={"methods": ["MESSAGE"], "exclusive": False}) == {"claim": 41}
        (call,) = world.calls
        owner = world.session.connections[PROFILE]
        claim = Claim(methods=["MESSAGE"], exclusive=False)
        assert call == ("claim", owner, PROFILE, claim, world.session.actor, world.now)

    def test_unclaim(self, world: World) -> None:
        number = world.ask("claim", profile=PROFILE, claim={"default": True})["claim"]
        assert world.ask("unclaim", claim=number) == {}
        assert world.calls[-1] == ("release", number, world.session.connections[PROFILE])
        assert world.refused("unclaim", claim=number).code == "not_found"

    def test_a_claim_that_is_none(self, world: World) -> None:
        assert world.refused("claim", profile=PROFILE).code == "missing_field"
        assert world.refused("claim", profile=PROFILE, claim=3).code == "missing_field"
        error = world.refused("claim", profile=PROFILE, claim={"metods": ["MESSAGE"]})
        assert (error.code, error.field) == ("unknown_field", "claim.metods")
        error = world.refused("claim", profile=PROFILE, claim={"methods": "MESSAGE"})
        assert (error.code, error.field) == ("invalid_value", "claim.methods")


class TestSend:
    def test_everything_that_was_given_is_in_the_draft(self, world: World) -> None:
        answer = world.ask(
            "send",
            profile=PROFILE,
            method="SUBSCRIBE",
            uri="sip:bob@example.test",
            to="sip:bobby@example.test",
            display_name="Al",
            anonymous=True,
            headers=[["Event", "presence"], ["X-One", "1"]],
            body={"base64": "aGk="},
            content_type="text/plain",
            call_id="call",
            contact_params=";+sip.x",
            refresh=600,
            manual=True,
            **{"from": "sip:alias@example.test"},
        )
        assert answer == {"request": 1, "dialog": None}
        ((_, agent, owner, line, draft, now, leg),) = world.calls
        assert (agent, owner, line) == (world.agent, world.session.connections[PROFILE], f"line of {PROFILE}")
        assert (now, leg) == (world.now, None)
        assert (draft.method, draft.uri, draft.to) == ("SUBSCRIBE", "sip:bob@example.test", "sip:bobby@example.test")
        assert (draft.identity, draft.display_name, draft.anonymous) == ("sip:alias@example.test", "Al", True)
        assert draft.headers == (("Event", "presence"), ("X-One", "1"))
        assert (draft.body, draft.content_type, draft.call_id) == (b"hi", "text/plain", "call")
        assert (draft.contact_params, draft.refresh, draft.manual) == (";+sip.x", 600, True)

    def test_in_a_dialog_of_its_own(self, world: World) -> None:
        leg = world.leg()
        assert world.ask("send", dialog=3, method="INFO", body={"text": "dtmf"})["dialog"] == 3
        _, _, owner, line, draft, _, of = world.calls[-1]
        assert (owner, line, of, draft.body) == (leg.owner, leg.line, leg, b"dtmf")

    @pytest.mark.parametrize("held", ["paused", "forcibly_disabled"])
    def test_nothing_goes_through_a_profile_that_is_held_down(self, world: World, held: str) -> None:
        world.entry.held = held
        assert world.refused("send", profile=PROFILE, method="MESSAGE", uri="sip:b@c").code == held
        assert world.refused("fetch-bindings", profile=PROFILE).code == held
        assert world.calls == []

    def test_a_request_refused_is_audited_with_its_code(self, world: World) -> None:
        world.error = SipProfileError("identity_refused")
        assert world.refused("send", profile=PROFILE, method="MESSAGE", uri="sip:b@c").code == "identity_refused"
        (line,) = world.audit
        assert (line.direction, line.method, line.uri, line.code) == ("out", "MESSAGE", "sip:b@c", "identity_refused")

    @pytest.mark.parametrize(
        ("members", "field"),
        [
            ({"headers": [["a"]]}, "headers[0]"),
            ({"headers": {"a": "b"}}, "headers"),
            ({"body": "hi"}, "body"),
            ({"body": {}}, "body"),
            ({"body": {"base64": "?"}}, "body.base64"),
            ({"refresh": "soon"}, "refresh"),
            ({"method": 3}, "method"),
        ],
    )
    def test_what_is_wrong_is_named(self, world: World, members: dict[str, Any], field: str) -> None:
        error = world.refused("send", **{"profile": PROFILE, "method": "MESSAGE", **members})
        assert (error.code, error.field) == ("invalid_value", field)
        assert world.calls == []


class TestQuota:
    def test_requests_beyond_the_rate_are_not_sent(self, world: World) -> None:
        for _ in range(200):
            world.ask("send", profile=PROFILE, method="MESSAGE", uri="sip:b@c")
        error = world.refused("send", profile=PROFILE, method="MESSAGE", uri="sip:b@c")
        assert (error.code, error.members) == ("quota_exceeded", {"retry_after": 0.01})
        assert len(world.calls) == 200
        assert world.audit == []
        world.now += 1.0
        world.ask("send", profile=PROFILE, method="MESSAGE", uri="sip:b@c")

    def test_another_session_has_its_own(self, world: World) -> None:
        for _ in range(200):
            world.ask("send", profile=PROFILE, method="MESSAGE", uri="sip:b@c")
        world.ask("send", world.new_session(2), profile=PROFILE, method="MESSAGE", uri="sip:b@c")

    def test_what_waits_for_answers_has_a_size(self, world: World) -> None:
        message = {"profile": PROFILE, "method": "MESSAGE", "uri": "sip:b@c", "body": {"text": "x" * 64_512}}
        for _ in range(256):
            world.now += 1.0
            world.ask("send", **message)
        world.now += 1.0
        assert world.refused("send", **message).value == ServiceSettings().unread_size
        sent: Any = SimpleNamespace(number=1, method="MESSAGE")
        world.session.connections[PROFILE].failed(sent, "timeout", world.now)
        world.ask("send", **message)

    def test_dialogs_that_it_begins_or_takes(self, world: World) -> None:
        legs = [world.leg(number) for number in range(1, 101)]
        assert world.refused("send", profile=PROFILE, method="INVITE", uri="sip:b@c").code == "quota_exceeded"
        world.incoming(method="INVITE")
        assert world.refused("respond", request=5, status=200).code == "quota_exceeded"
        world.ask("respond", request=5, status=486)
        world.ask("send", profile=PROFILE, method="MESSAGE", uri="sip:b@c")
        world.ask("send", dialog=1, method="INVITE")
        legs[0].state = "terminated"
        world.ask("send", profile=PROFILE, method="INVITE", uri="sip:b@c")

    def test_calls_that_ring_count_too(self, world: World) -> None:
        call = {"profile": PROFILE, "method": "INVITE", "uri": "sip:b@c"}
        for _ in range(100):
            sent = world.ask("send", **call)
        assert world.refused("send", **call).code == "quota_exceeded"
        outgoing: Any = SimpleNamespace(number=sent["request"], method="INVITE")
        world.session.connections[PROFILE].failed(outgoing, "timeout", world.now)
        world.ask("send", **call)

    def test_provisional_answers_are_counted(self, world: World) -> None:
        world.incoming(method="INVITE")
        world.ask("connection", profile=PROFILE)
        for _ in range(200):
            world.ask("respond", request=5, status=180)
        assert world.refused("respond", request=5, status=183).code == "quota_exceeded"
        world.ask("respond", request=5, status=486)

    def test_publications_count_while_they_are_refreshed(self, world: World) -> None:
        for number in range(1, 101):
            world.ask("send", profile=PROFILE, method="PUBLISH", uri="sip:b@c", refresh=60)
            world.agent.publications.by_number[number] = object()
        assert world.refused("send", profile=PROFILE, method="SUBSCRIBE", uri="sip:b@c").code == "quota_exceeded"
        del world.agent.publications.by_number[50]
        world.ask("send", profile=PROFILE, method="SUBSCRIBE", uri="sip:b@c")


class TestRespond:
    def test_the_answer_is_handed_on(self, world: World) -> None:
        incoming = world.incoming()
        answer = world.ask("connection", profile=PROFILE)
        assert answer["connection"]["state"] == "active"
        world.ask(
            "respond",
            request=5,
            status=202,
            reason="Fine",
            headers=[["X-One", "1"]],
            body={"text": "ok"},
            content_type="text/plain",
            contact_params=";x",
            reliable=True,
            manual=True,
        )
        name, owner, number, given, now = world.calls[-1]
        assert (name, owner, number, now) == ("respond", world.session.connections[PROFILE], 5, world.now)
        assert (given.status, given.reason, given.headers, given.body) == (202, "Fine", (("X-One", "1"),), b"ok")
        assert (given.content_type, given.contact_params, given.reliable, given.manual) == (
            "text/plain",
            ";x",
            True,
            True,
        )
        assert incoming.number == 5
        (line,) = world.audit
        assert (line.direction, line.method, line.status) == ("in", "MESSAGE", 202)

    def test_a_provisional_is_no_line_of_the_audit_log(self, world: World) -> None:
        world.incoming(method="INVITE")
        world.ask("connection", profile=PROFILE)
        world.ask("respond", request=5, status=180)
        assert world.audit == []

    def test_unknown_and_incomplete(self, world: World) -> None:
        assert world.refused("respond", request=99, status=200).code == "invalid_state"
        assert world.refused("respond", request=5).field == "status"
        assert world.refused("respond", status=200).field == "request"


class TestOthers:
    def test_cancel_only_while_there_is_no_final_response(self, world: World) -> None:
        number = world.ask("send", profile=PROFILE, method="INVITE", uri="sip:b@c")["request"]
        assert world.ask("cancel", request=number) == {}
        assert (world.calls[-1][0], world.calls[-1][2].number) == ("cancel", number)
        owner = world.session.connections[PROFILE]
        outgoing: Any = SimpleNamespace(number=number, method="INVITE")
        owner.failed(outgoing, "timeout", 1.0)
        assert world.refused("cancel", request=number).code == "invalid_state"

    def test_ack_with_the_answer_to_a_delayed_offer(self, world: World) -> None:
        leg = world.leg()
        world.ask("ack", dialog=3, headers=[["X", "1"]], body={"text": "v=0"}, content_type="application/sdp")
        assert world.calls[-1] == (
            "acknowledge",
            world.agent,
            leg,
            (("X", "1"),),
            b"v=0",
            "application/sdp",
            world.now,
        )

    def test_end(self, world: World) -> None:
        leg = world.leg()
        assert world.ask("end", dialog=3) == {}
        assert world.calls[-1][:3] == ("end_leg", world.agent, leg)

    def test_stop_refresh(self, world: World) -> None:
        number = world.ask("send", profile=PROFILE, method="PUBLISH", uri="sip:b@c", refresh=60)["request"]
        world.agent.publications.by_number[number] = object()
        assert world.ask("stop-refresh", request=number) == {}
        owner = world.session.connections[PROFILE]
        assert world.calls[-1] == ("stop", world.agent, owner, number, world.now)
        assert world.refused("stop-refresh", request=number).code == "not_found"

    def test_fetch_bindings_counts_as_a_request(self, world: World) -> None:
        assert world.ask("fetch-bindings", profile=PROFILE) == {"request": 1}
        for _ in range(199):
            world.ask("fetch-bindings", profile=PROFILE)
        assert world.refused("fetch-bindings", profile=PROFILE).code == "quota_exceeded"

    def test_dialogs(self, world: World) -> None:
        world.leg(3)
        world.leg(4).state = "terminated"
        assert world.ask("dialogs", profile=PROFILE) == {
            "dialogs": [
                {
                    "dialog": 3,
                    "profile": PROFILE,
                    "state": "confirmed",
                    "method": "INVITE",
                    "initiator": True,
                    "usages": (),
                    "call_id": "c",
                    "local_uri": "sip:a@b",
                    "remote_uri": "sip:c@d",
                }
            ]
        }


class TestEnd:
    def test_disable_ends_what_goes_through_the_profile(self, world: World) -> None:
        world.session.enabled.add(8)
        for profile in (PROFILE, 8):
            world.ask("claim", profile=profile, claim={"default": True})
        owner = world.session.connections[PROFILE]
        world.connections.let_go(world.session, PROFILE)
        assert [call for call in world.calls if call[0] == "owners_gone"] == [("owners_gone", [owner], 100.0, False)]
        assert ("leave", world.session, PROFILE) in world.calls
        assert list(world.session.connections) == [8]

    def test_the_session_s_end_ends_everything(self, world: World) -> None:
        world.session.enabled.add(8)
        for profile in (PROFILE, 8):
            world.ask("claim", profile=profile, claim={"default": True})
        world.connections.let_go(world.session, None)
        (ended,) = [call[1] for call in world.calls if call[0] == "owners_gone"]
        assert len(ended) == 2
        assert world.session.connections == {}

    @pytest.mark.parametrize(("why", "gone"), [("forcibly_disabled", True), ("removed", True), ("paused", False)])
    def test_an_operator_ends_everybody_s(self, world: World, why: str, gone: bool) -> None:
        world.connections.profile_gone(PROFILE, why)
        assert ("profile_gone", world.agent, PROFILE, why, world.now) in world.calls
        assert (("gone", PROFILE) in world.calls) is gone
