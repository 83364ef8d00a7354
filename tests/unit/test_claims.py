"""The table of claims: who gets a request, who may claim it, and what a refusal says."""

from __future__ import annotations

from typing import Any

import pytest
from claims_world import Owner, World, facts

from sipprofile.claims import Claim, StandingClaim
from sipprofile.errors import SipProfileError
from sipprofile.service.claim_rules import ClaimRule
from sipprofile.service.claims import MAXIMUM_OF_OWNER, Claims
from sipprofile.service.policy import Actor

USE = frozenset(("use",))
ALICE = Actor("alice", USE, 1000, frozenset((1000, 50)))
BOT = Actor("token:bot", USE, token="bot")


def holders(claims: Claims, *request: Any, **more: Any) -> str:
    """The owners that get a request."""
    return " ".join(held.owner.label for held in claims.find(1, facts(*request, **more)))


def refusal(claims: Claims, claim: Claim, actor: Actor | None = None, owner: Any = None) -> SipProfileError:
    with pytest.raises(SipProfileError) as caught:
        claims.claim(owner or Owner("other"), 1, claim, actor, 0.0)
    return caught.value


class TestWhatFits:
    def test_methods(self) -> None:
        world = World()
        world.owner("bot", Claim(methods=["MESSAGE", "REFER"]))
        assert holders(world.claims, "MESSAGE") == holders(world.claims, "REFER") == "bot"
        assert holders(world.claims, "INVITE") == ""

    def test_event_packages(self) -> None:
        world = World()
        world.owner("watcher", Claim(events=["message-summary"]))
        for method in ("NOTIFY", "SUBSCRIBE", "PUBLISH"):
            assert holders(world.claims, method, "Event: message-summary ;id=4") == "watcher"
            assert holders(world.claims, method, "o: presence") == ""
            assert holders(world.claims, method) == ""
        assert holders(world.claims, "MESSAGE", "Event: message-summary") == ""

    def test_events_of_some_methods(self) -> None:
        world = World()
        world.owner("notifier", Claim(methods=["SUBSCRIBE"], events=["presence", "dialog"]))
        assert holders(world.claims, "SUBSCRIBE", "Event: dialog") == "notifier"
        assert holders(world.claims, "NOTIFY", "Event: dialog") == ""

    def test_content_types(self) -> None:
        world = World()
        world.owner("typing", Claim(methods=["MESSAGE"], content_types=["application/im-iscomposing+xml", "image/*"]))
        assert holders(world.claims, body="x", content_type="Application/IM-IsComposing+XML; charset=utf-8") == "typing"
        assert holders(world.claims, body="x", content_type="image/png") == "typing"
        assert holders(world.claims, body="x") == ""
        assert holders(world.claims) == "", "there is no body"

    @pytest.mark.parametrize(
        ("pattern", "value", "fits"),
        [
            ("urgent", "Urgent", True),
            ("urgent", "urgent!", False),
            ("*", "", True),
            ("*@example.com*", "<sip:a@EXAMPLE.com>;tag=1", True),
            ("<sip:+49*@*>", "<sip:+4930@example.com>", True),
            ("<sip:+49*@*>", "<sip:+4830@example.com>", False),
            ("a*a", "a", False),
            ("a*a", "aa", True),
            ("*b*a*", "ab", False),
        ],
    )
    def test_header_values(self, pattern: str, value: str, fits: bool) -> None:
        world = World()
        world.owner("x", Claim(headers={"Subject": pattern}))
        assert holders(world.claims, "MESSAGE", f"s: {value}") == ("x" if fits else "")
        assert holders(world.claims, "MESSAGE") == ""

    def test_a_pattern_of_many_stars_takes_no_time(self) -> None:
        world = World()
        world.owner("x", Claim(headers={"Subject": "*a" * 120}))
        assert holders(world.claims, "MESSAGE", "Subject: " + "a" * 60_000 + "b") == ""

    def test_features_are_found_by_the_callers_preferences(self) -> None:
        world = World()
        world.owner("im", Claim(features=["+g.oma.sip-im"]))
        assert holders(world.claims, "INVITE", "Accept-Contact: *;+g.oma.sip-im;require;explicit") == "im"
        assert holders(world.claims, "INVITE", "a: *;+g.oma.sip-im", "j: *;+g.oma.sip-im") == "", "rejected"
        assert holders(world.claims, "INVITE") == "", "the caller has no preference"
        assert holders(world.claims, "INVITE", "Accept-Contact: *;+g.other") == ""
        assert holders(world.claims, "INVITE", "Accept-Contact: nonsense") == ""

    def test_default_is_everything_else(self) -> None:
        world = World()
        world.owner("rest", Claim(default=True))
        for method in ("INVITE", "MESSAGE", "REFER", "INFO"):
            assert holders(world.claims, method) == "rest"
        world.owner("bot", Claim(methods=["MESSAGE"], exclusive=False))
        assert holders(world.claims, "MESSAGE") == "bot"

    @pytest.mark.parametrize("claim", [Claim(default=True), Claim(headers={"To": "*"})])
    def test_who_does_not_name_them_gets_no_options_and_no_notify(self, claim: Claim) -> None:
        """The first asks whether anybody is there; the second must be refused when nobody wants it."""
        world = World()
        world.owner("rest", claim)
        assert holders(world.claims, "OPTIONS") == holders(world.claims, "NOTIFY", "Event: presence") == ""
        world.owner("named", Claim(methods=["OPTIONS", "NOTIFY"]))
        assert holders(world.claims, "OPTIONS") == holders(world.claims, "NOTIFY", "Event: presence") == "named"


class TestOrder:
    def test_from_features_to_default(self) -> None:
        world = World()
        world.owner("default", Claim(default=True, exclusive=False))
        world.owner("content", Claim(content_types=["text/*"], exclusive=False))
        world.owner("method", Claim(methods=["SUBSCRIBE"], exclusive=False))
        world.owner("event", Claim(events=["presence"], exclusive=False))
        world.owner("feature", Claim(features=["audio"], exclusive=False))
        header = ("Event: presence", "Accept-Contact: *;audio")
        for expected in ("feature", "event", "method", "content", "default"):
            assert holders(world.claims, "SUBSCRIBE", *header, body="x") == expected
            (held,) = world.claims.find(1, facts("SUBSCRIBE", *header, body="x"))
            world.claims.release(held.number, held.owner)

    def test_an_exclusive_claim_goes_before_shared_ones_that_say_more(self) -> None:
        world = World()
        world.owner("shared", Claim(features=["audio"], exclusive=False))
        world.owner("own", Claim(methods=["INVITE"]))
        assert holders(world.claims, "INVITE", "Accept-Contact: *;audio") == "own"

    def test_a_default_is_last_though_exclusive(self) -> None:
        world = World()
        world.owner("phone", Claim(default=True))
        world.owner("bot", Claim(content_types=["text/plain"], exclusive=False))
        assert holders(world.claims, "MESSAGE", body="x") == "bot"

    def test_the_better_score_wins(self) -> None:
        """RFC 3841 §7.2.4."""
        world = World()
        world.owner("audio", Claim(features=["audio"], exclusive=False))
        world.owner("both", Claim(features=["audio", "video"], exclusive=False))
        assert holders(world.claims, "INVITE", "Accept-Contact: *;audio;video") == "both"
        assert holders(world.claims, "INVITE", "Accept-Contact: *;audio") == "audio both"

    def test_priority_and_then_all_of_the_shared(self) -> None:
        world = World()
        for label, priority in (("low", -1), ("one", 5), ("two", 5)):
            world.owner(label, Claim(methods=["MESSAGE"], exclusive=False, priority=priority))
        assert holders(world.claims) == "one two"

    def test_of_exclusive_claims_that_fit_equally_well_the_older_one(self) -> None:
        """Feature claims without a common tag do not clash, and a caller may ask for both."""
        world = World()
        world.owner("older", Claim(features=["audio"]))
        world.owner("newer", Claim(features=["video"]))
        assert holders(world.claims, "INVITE", "Accept-Contact: *;video;audio") == "older"

    def test_two_claims_of_one_owner_are_one_delivery(self) -> None:
        world = World()
        claim = Claim(methods=["MESSAGE"], exclusive=False)
        world.owner("bot", claim, claim)
        world.owner("other", claim)
        assert holders(world.claims) == "bot other"


class TestClashes:
    def test_the_refusal_says_why_and_by_whom(self) -> None:
        world = World()
        world.owner("bot (alice)", Claim(methods=["MESSAGE"]))
        error = refusal(world.claims, Claim(methods=["INVITE", "MESSAGE"], exclusive=False))
        assert (error.code, error.members["by"]) == ("claim_in_use", "bot (alice)")
        assert error.members["claim"] == {"methods": ["MESSAGE"]}
        assert "bot (alice)" in error.detail

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (Claim(methods=["MESSAGE"]), Claim(methods=["MESSAGE"], content_types=["text/plain"])),
            (Claim(methods=["MESSAGE"], exclusive=False), Claim(methods=["MESSAGE"])),
            (Claim(default=True), Claim(default=True, exclusive=False)),
            (Claim(events=["presence"]), Claim(methods=["NOTIFY"], events=["dialog", "presence"])),
            (Claim(features=["audio"]), Claim(features=["audio", "video"])),
            (Claim(features=['language="en,de"']), Claim(features=['language="de,fr"'])),
            (Claim(content_types=["text/*"]), Claim(content_types=["text/plain"])),
            (Claim(headers={"To": "*a"}), Claim(headers={"t": "b*"})),
            (Claim(headers={"To": "*<sip:1@*"}), Claim(headers={"To": "<sip:1@b>"})),
        ],
    )
    def test_what_clashes(self, one: Claim, other: Claim) -> None:
        world = World()
        first = world.owner("one", one)
        assert refusal(world.claims, other).code == "claim_in_use"
        world.claims.claim(first, 1, other, None, 0.0)
        world.claims.claim(Owner("elsewhere"), 2, other, None, 0.0)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (Claim(methods=["MESSAGE"]), Claim(methods=["INVITE"])),
            (Claim(methods=["MESSAGE"], exclusive=False), Claim(methods=["MESSAGE"], exclusive=False)),
            (Claim(methods=["MESSAGE"]), Claim(default=True)),
            (Claim(methods=["NOTIFY"]), Claim(events=["presence"])),
            (Claim(events=["presence"]), Claim(events=["dialog"])),
            (Claim(events=["presence"], methods=["NOTIFY"]), Claim(events=["presence"], methods=["PUBLISH"])),
            (Claim(features=["audio"]), Claim(features=["+g.oma.sip-im"])),
            (Claim(features=['language="en"']), Claim(features=['language="de"'])),
            (Claim(methods=["INFO"], content_types=["a/b"]), Claim(methods=["INFO"], content_types=["a/c", "b/*"])),
            (Claim(headers={"To": "*<sip:1@*"}), Claim(headers={"To": "<sip:2@b>"})),
            (Claim(headers={"To": "a*"}), Claim(headers={"To": "b*"})),
            (Claim(default=True, methods=["OPTIONS"]), Claim(default=True)),
        ],
    )
    def test_what_does_not(self, one: Claim, other: Claim) -> None:
        world = World()
        world.owner("one", one)
        world.owner("other", other)

    def test_it_is_free_again_after_release_and_loss(self) -> None:
        world = World()
        claim = Claim(methods=["MESSAGE"])
        first, second = Owner("first"), Owner("second")
        number = world.claims.claim(first, 1, claim, None, 0.0)
        with pytest.raises(SipProfileError, match="no claim of yours"):
            world.claims.release(number, second)
        world.claims.release(number, first)
        world.claims.claim(second, 1, claim, None, 0.0)
        world.claims.owner_gone(second, 0.0)
        world.claims.claim(first, 1, claim, None, 0.0)
        world.claims.profile_gone(1)
        assert holders(world.claims) == ""
        with pytest.raises(SipProfileError):
            world.claims.release(number, first)


class TestWhatMayBeClaimed:
    @pytest.mark.parametrize(
        ("claim", "code"),
        [
            (Claim(), "missing_field"),
            (Claim(methods=["BYE"]), "not_supported"),
            (Claim(methods=["REGISTER"]), "not_supported"),
            (Claim(methods=["DANCE"]), "not_supported"),
            (Claim(methods=["ME SSAGE"]), "invalid_value"),
            (Claim(methods=["message"]), "invalid_value"),
            (Claim(methods=["MESSAGE"], events=["presence"]), "invalid_value"),
            (Claim(events=["pre sence"]), "invalid_value"),
            (Claim(features=["colour"]), "invalid_value"),
            (Claim(content_types=["*/*"]), "invalid_value"),
            (Claim(content_types=["text"]), "invalid_value"),
            (Claim(headers={"To:": "x"}), "invalid_value"),
            (Claim(headers={"To": "x" * 300}), "invalid_value"),
            (Claim(default=True, priority=101), "invalid_value"),
            (Claim(methods=["A"] * 65), "invalid_value"),
        ],
    )
    def test_what_is_refused(self, claim: Claim, code: str) -> None:
        error = refusal(Claims(), claim)
        assert error.code == code
        assert (error.field or "").startswith("claim.")

    def test_there_is_a_limit(self) -> None:
        claims, owner = Claims(), Owner("greedy")
        for _ in range(MAXIMUM_OF_OWNER):
            claims.claim(owner, 1, Claim(methods=["MESSAGE"]), None, 0.0)
        assert refusal(claims, Claim(methods=["MESSAGE"]), owner=owner).code == "quota_exceeded"

    def test_the_claim_of_a_standing_one(self) -> None:
        standing = StandingClaim(methods=["MESSAGE"], priority=3, to="bridge")
        assert standing.plain() == Claim(methods=["MESSAGE"], priority=3)


class TestRules:
    """``[[claims.rules]]``."""

    def claims(self, *rules: ClaimRule) -> Claims:
        return Claims(rules, name_of=lambda number: "trunk-east" if number == 1 else "other")

    def test_without_rules_for_a_profile_everybody_may(self) -> None:
        rule = ClaimRule(profiles=("phone*",), uids=frozenset((7,)))
        self.claims(rule).claim(Owner("a"), 1, Claim(default=True), ALICE, 0.0)

    @pytest.mark.parametrize(
        ("rule", "alice", "bot"),
        [
            (ClaimRule(profiles=("trunk*",)), True, True),
            (ClaimRule(profiles=("trunk*",), uids=frozenset((1000,))), True, False),
            (ClaimRule(profiles=("trunk-east",), gids=frozenset((50,))), True, False),
            (ClaimRule(profiles=("*",), tokens=frozenset(("bot",))), False, True),
            (ClaimRule(profiles=("trunk*",), nobody=True), False, False),
        ],
    )
    def test_whom_they_name(self, rule: ClaimRule, alice: bool, bot: bool) -> None:
        for actor, allowed in ((ALICE, alice), (BOT, bot)):
            claims = self.claims(rule)
            if allowed:
                claims.claim(Owner("a"), 1, Claim(default=True), actor, 0.0)
            else:
                error = refusal(claims, Claim(default=True), actor)
                assert (error.code, error.status) == ("claim_not_allowed", 403)
                assert actor.label in error.detail

    def test_what_they_allow(self) -> None:
        rule = ClaimRule(methods=("MESSAGE", "INFO"), exclusive=False)
        claims = self.claims(rule, ClaimRule(methods=("NOTIFY",), events=("message-summary",)))
        claims.claim(Owner("a"), 1, Claim(methods=["MESSAGE"], exclusive=False), ALICE, 0.0)
        claims.claim(Owner("b"), 1, Claim(methods=["NOTIFY"], events=["message-summary"]), ALICE, 0.0)
        assert "shared" in refusal(claims, Claim(methods=["MESSAGE"]), ALICE).detail
        for claim in (
            Claim(methods=["MESSAGE", "INVITE"], exclusive=False),
            Claim(default=True, exclusive=False),
            Claim(events=["message-summary"]),
            Claim(methods=["NOTIFY"], events=["message-summary", "presence"]),
        ):
            error = refusal(claims, claim, ALICE)
            assert error.code == "claim_not_allowed"
            assert "INFO, MESSAGE, NOTIFY" in error.detail

    def test_they_do_not_judge_the_profiles_own_claims(self) -> None:
        self.claims(ClaimRule(nobody=True)).claim(Owner("bridge"), 1, Claim(default=True), None, 0.0)
