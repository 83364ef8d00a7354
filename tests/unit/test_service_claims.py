"""Claims in the whole core: requests from the wire to their owners, answers back, and the claims of profiles."""

from __future__ import annotations

from typing import Any

import pytest
from claims_world import Owner
from service_requests import arrive, statuses
from service_world import World, document, record

from sipprofile.claims import Claim, StandingClaim
from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import Send
from sipprofile.service.effects import Activate
from sipprofile.service.operations import Create, Patch, Remove, Replace
from sipprofile.service.settings import ServiceSettings
from sipprofile.useragent.draft import Answer

SETTINGS = ServiceSettings(activate=(("bot", 4.0),), webhooks=("desk",))


def world(**settings: Any) -> World:
    return World(settings=SETTINGS, **settings)


def claim(one: World, profile: int, what: Claim, label: str = "app") -> Owner:
    owner = Owner(label)
    one.service._claims.claim(owner, profile, what, None, one.now)
    return owner


class TestRequests:
    def test_to_its_owner_and_back(self) -> None:
        one = world()
        bot = claim(one, one.create(contact_user="token-1"), Claim(methods=["MESSAGE"]))
        arrive(one)
        ((_, number),) = bot.told
        assert statuses(one) == []
        one.service._delivery.respond(bot, number, Answer(202), one.now)
        one.perform()
        arrive(one)
        assert statuses(one) == [202, 202], "a retransmission"
        with pytest.raises(SipProfileError):
            one.service._delivery.respond(bot, number, Answer(200), one.now)
        assert len(bot.told) == 1

    def test_a_call_for_two(self) -> None:
        one = world()
        profile = one.create(contact_user="token-1")
        shared = Claim(methods=["INVITE"], exclusive=False)
        desk, mobile = claim(one, profile, shared, "desk"), claim(one, profile, shared, "mobile")
        arrive(one, "INVITE")
        assert statuses(one) == [180]
        ((_, number),) = desk.told
        leg = one.service._delivery.respond(mobile, number, Answer(200), one.now)
        one.perform()
        assert statuses(one) == [180, 200]
        tags = {
            send.data.split(b"\r\nTo: ")[1].partition(b"\r\n")[0] for send in one.actions if send.data[:4] == b"SIP/"
        }
        assert len(tags) == 1
        assert leg is not None
        assert leg.owner is mobile
        assert desk.told[-1] == ("answered_elsewhere", number)

    def test_a_cancelled_call_for_two(self) -> None:
        one = world()
        profile = one.create(contact_user="token-1")
        shared = Claim(methods=["INVITE"], exclusive=False)
        desk, mobile = claim(one, profile, shared), claim(one, profile, shared)
        arrive(one, "INVITE")
        arrive(one, "CANCEL")
        assert statuses(one) == [180, 200, 487]
        assert desk.told[-1][0] == mobile.told[-1][0] == "cancelled"

    def test_who_dies_leaves_480_behind(self) -> None:
        one = world()
        profile = one.create(contact_user="token-1")
        bot = claim(one, profile, Claim(methods=["MESSAGE", "INVITE"]))
        arrive(one, "INVITE")
        one.service._delivery.owners_gone([bot], one.now)
        one.perform()
        assert statuses(one) == [480]
        arrive(one, "MESSAGE", number=2)
        assert b"\r\nRetry-After: 10\r\n" in one.actions[-1].data, "it may come back within linger_lost"

    def test_a_notification_that_two_want(self) -> None:
        one = world()
        profile = one.create(contact_user="token-1")
        waiting = Claim(events=["message-summary"], exclusive=False)
        owners = [claim(one, profile, waiting) for _ in range(2)]
        arrive(one, "NOTIFY", "Event: message-summary")
        assert statuses(one) == [200]
        assert [len(owner.told) for owner in owners] == [1, 1]


class TestProfilesOwnClaims:
    def test_they_hold_as_long_as_they_are_in_the_profile(self) -> None:
        one = world()
        profile = one.create(
            contact_user="token-1",
            claims=[
                {"methods": ["MESSAGE"], "to": "webhook:desk"},
                {"methods": ["NOTIFY"], "events": ["a"], "to": "webhook:desk"},
            ],
        )
        assert len(list(one.service._claims.of_profile(profile))) == 2
        one.ask(Patch(profile, {"claims": [{"default": True, "methods": ["MESSAGE"], "to": "webhook:desk"}]}))
        (held,) = one.service._claims.of_profile(profile)
        assert held.claim == Claim(default=True, methods=["MESSAGE"])
        one.ask(Patch(profile, {"expires": 600}))
        assert len(list(one.service._claims.of_profile(profile))) == 1
        claim(one, profile, Claim(methods=["INVITE"], exclusive=False))
        one.ask(Remove(profile))
        assert list(one.service._claims.of_profile(profile)) == []

    def test_they_are_made_at_the_start(self) -> None:
        claims = [
            StandingClaim(methods=["MESSAGE"], to="activate:bot"),
            StandingClaim(events=["a"], to="activate:gone"),
        ]
        one = world(records=(record(1, "trunk", claims=claims),))
        (held,) = one.service._claims.of_profile(1)
        assert held.owner.label == "activate:bot"

    @pytest.mark.parametrize(
        ("claims", "code", "field"),
        [
            ([{"to": "webhook:desk"}], "missing_field", "claims[0].methods"),
            ([{"default": True}], "missing_field", "claims[0].to"),
            ([{"default": True, "to": "desk"}], "invalid_value", "claims[0].to"),
            ([{"methods": ["MESSAGE"], "to": "webhook:other"}], "invalid_value", "claims[0].to"),
            ([{"default": True, "to": "webhook:desk"}], "not_supported", "claims[0].methods"),
            ([{"default": True, "to": "activate:other"}], "invalid_value", "claims[0].to"),
            ([{"default": True, "to": "bridge"}], "invalid_value", "claims[0].to"),
            ([{"methods": ["BYE"], "to": "activate:bot"}], "not_supported", "claims[0].methods[0]"),
            (
                [{"default": True, "methods": ["MESSAGE"], "to": "webhook:desk", "colour": 1}],
                "unknown_field",
                "claims[0].colour",
            ),
            ([{"default": True, "methods": ["MESSAGE"], "to": "webhook:desk"}] * 33, "invalid_value", "claims"),
        ],
    )
    def test_what_is_refused_at_save(self, claims: list[dict[str, Any]], code: str, field: str) -> None:
        one = world()
        with pytest.raises(SipProfileError) as caught:
            one.ask(Create(document("trunk", claims=claims)))
        assert (caught.value.code, caught.value.field) == (code, field)

    def test_a_clash_with_a_sessions_claim_is_refused_at_save(self) -> None:
        one = world()
        profile = one.create(contact_user="token-1")
        claim(one, profile, Claim(methods=["MESSAGE"]), "bot (alice)")
        with pytest.raises(SipProfileError) as caught:
            one.ask(Patch(profile, {"claims": [{"methods": ["MESSAGE"], "to": "webhook:desk"}]}))
        assert (caught.value.code, caught.value.members["by"]) == ("claim_in_use", "bot (alice)")
        one.ask(Patch(profile, {"claims": [{"methods": ["MESSAGE"], "to": "activate:bot"}]}))

    def test_so_is_one_among_themselves(self) -> None:
        one = world()
        claims = [{"default": True, "methods": ["MESSAGE"], "to": "webhook:desk"}, {"default": True, "to": "bridge"}]
        one.service._sharing.standing.targets["bridge"] = lambda profile, name: Owner("bridge")
        with pytest.raises(SipProfileError) as caught:
            one.create(claims=claims, bridge={"uri": "sip:127.0.0.1:5070"})
        assert (caught.value.code, caught.value.field, caught.value.members["by"]) == (
            "claim_in_use",
            "claims[1]",
            "webhook:desk",
        )

    def test_two_for_the_same_do_not_clash(self) -> None:
        one = world()
        claims = [{"methods": [*more, "MESSAGE"], "to": "webhook:desk"} for more in ([], ["OPTIONS"])]
        assert len(list(one.service._claims.of_profile(one.create(claims=claims)))) == 2

    def test_who_claims_while_they_are_written_goes_first(self) -> None:
        one = world()
        profile = one.create(contact_user="token-1")
        one.hold_commits = True
        one.begin(Patch(profile, {"claims": [{"methods": ["MESSAGE"], "to": "webhook:desk"}]}))
        bot = claim(one, profile, Claim(methods=["MESSAGE"]))
        one.commit()
        one.perform()
        assert len(list(one.service._claims.of_profile(profile))) == 2
        arrive(one)
        assert len(bot.told) == 1

    def test_they_may_be_kept_by_a_replacement(self) -> None:
        one = world()
        claims = [{"default": True, "methods": ["MESSAGE"], "to": "webhook:desk"}]
        profile = one.create(claims=claims)
        answer = one.ask(Replace(profile, document("trunk", claims=claims)))
        assert answer["claims"] == claims


class TestActivation:
    def test_what_waits_is_answered_when_the_service_stops(self) -> None:
        one = world()
        one.create(contact_user="token-1", claims=[{"methods": ["MESSAGE"], "to": "activate:bot"}])
        arrive(one)
        one.service.stop(False, one.now)
        one.perform()
        assert statuses(one) == [480]

    def test_an_application_is_started_for_a_request(self) -> None:
        one = world()
        profile = one.create(contact_user="token-1", claims=[{"methods": ["MESSAGE"], "to": "activate:bot"}])
        arrive(one)
        assert Activate("bot") in one.actions
        one.pass_time(2)
        bot = claim(one, profile, Claim(methods=["MESSAGE"]))
        one.pass_time(0)
        ((_, number),) = bot.told
        one.service._delivery.respond(bot, number, Answer(200), one.now)
        one.perform()
        assert statuses(one) == [200]

    def test_it_cannot_be_started(self) -> None:
        one = world()
        one.create(contact_user="token-1", claims=[{"methods": ["MESSAGE"], "to": "activate:bot"}])
        arrive(one)
        one.service.activation_failed("bot", one.now)
        one.perform()
        assert statuses(one) == [480]
        assert b"\r\nRetry-After: 5\r\n" in one.actions[-1].data


class TestMoreThanASessionReads:
    """Callers that send more than an application reads."""

    def test_no_caller_can_have_a_session_ended(self) -> None:
        """Beyond half of what a session may leave unread its callers are told to come again."""
        one = World(settings=ServiceSettings(unread=40))
        number = one.create(contact_user="token-1")
        session = one.session()
        session.ask("enable", profile=number)
        session.ask("claim", profile=number, claim={"methods": ["MESSAGE"]})
        for count in range(200):
            one.now += 0.001
            arrive(one, number=count)
        assert one.ended == {}
        told = [frame for frame in session.read() if frame.get("event") == "request"]
        assert 20 <= len(told) <= 25
        assert statuses(one) == [503] * (200 - len(told))
        (send,) = [action for action in one.actions if isinstance(action, Send) and action.data[:4] == b"SIP/"][-1:]
        assert b"Retry-After: 1\r\n" in send.data
        arrive(one, number=1000)
        assert len([frame for frame in session.read() if frame.get("event") == "request"]) == 1

    def test_who_reads_nothing_at_all_is_ended(self) -> None:
        """What it has claimed is for others then."""
        one = World(settings=ServiceSettings(unread=40))
        number = one.create(contact_user="token-1")
        session = one.session()
        session.ask("enable", profile=number)
        session.ask("claim", profile=number, claim={"methods": ["MESSAGE"]})
        for count in range(160):
            one.now += 0.1
            arrive(one, number=count)
        assert [error.code for error in one.ended.values()] == ["slow_consumer"]

    def test_of_several_who_share_a_claim_the_others_are_asked(self) -> None:
        one = World(settings=ServiceSettings(unread=40))
        number = one.create(contact_user="token-1")
        asleep, awake = one.session(), one.session()
        for session in (asleep, awake):
            session.ask("enable", profile=number)
            session.ask("claim", profile=number, claim={"methods": ["MESSAGE"], "exclusive": False})
        for count in range(60):
            one.now += 0.001
            arrive(one, number=count)
            for frame in awake.read():
                if frame.get("event") == "request":
                    awake.send("respond", request=frame["request"], status=200)
        assert one.ended == {}
        assert statuses(one) == [200] * 60
