"""Requests go to those who claimed them, and exactly one final answer goes back."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from claims_world import FakeLeg, Owner, World
from hypothesis import given, settings
from hypothesis import strategies as st

from sipprofile.claims import Claim
from sipprofile.errors import SipProfileError
from sipprofile.service.criteria import Criteria, Facts
from sipprofile.useragent.incoming import Incoming

SHARED = Claim(methods=["INVITE", "MESSAGE"], exclusive=False)
SDP = {"content_type": "application/sdp", "body": b"v=0"}


def refused(world: World, owner: Owner, incoming: Incoming, status: int = 200) -> str:
    with pytest.raises(SipProfileError) as caught:
        world.answer(owner, incoming, status)
    return caught.value.code


class TestOneOwner:
    def test_it_is_told_with_its_claim_and_answers(self) -> None:
        world = World()
        bot = world.owner("bot", Claim(methods=["MESSAGE"]))
        other = world.owner("other", Claim(default=True))
        incoming = world.receive("MESSAGE")
        assert bot.told == [("requested", incoming.number)]
        assert bot.by == [1]
        assert refused(world, other, incoming) == "invalid_state"
        world.answer(bot, incoming, 202)
        assert world.statuses(incoming) == [202]
        assert other.told == []

    def test_an_answer_to_nothing(self) -> None:
        world = World()
        bot = world.owner("bot", SHARED)
        incoming = world.receive("MESSAGE")
        world.answer(bot, incoming)
        assert refused(world, bot, incoming) == "invalid_state"
        incoming.number = 77
        assert refused(world, bot, incoming) == "invalid_state"

    def test_the_only_one_with_a_shared_claim_has_it_alone(self) -> None:
        world = World()
        phone = world.owner("phone", SHARED)
        incoming = world.receive("INVITE")
        assert world.statuses(incoming) == [], "it says itself when it rings"
        world.answer(phone, incoming, 183, **SDP)
        world.answer(phone, incoming, 486)
        assert world.statuses(incoming) == [183, 486]


class TestSeveralWithSharedClaims:
    def test_the_first_answer_wins_and_the_others_are_told(self) -> None:
        world = World()
        one, two, three = (world.owner(label, SHARED) for label in ("one", "two", "three"))
        incoming = world.receive("MESSAGE")
        world.answer(two, incoming, 403)
        assert world.statuses(incoming) == [403]
        assert one.told == three.told == [("requested", 1), ("answered_elsewhere", 1)]
        assert two.told == [("requested", 1)]
        for late in (one, three):
            assert refused(world, late, incoming) == "invalid_state"
        assert incoming.owner is two
        assert world.delivery.counts()["contests"] == 0

    def test_an_invite_rings_without_a_body_until_one_takes_it(self) -> None:
        world = World()
        one, two = world.owner("one", SHARED), world.owner("two", SHARED)
        incoming = world.receive("INVITE")
        assert [(sent.status, sent.body, sent.reliable) for sent in world.sent[1]] == [(180, b"", False)]
        world.answer(one, incoming, 183, **SDP)
        world.answer(two, incoming, 180)
        assert world.statuses(incoming) == [180]
        leg = world.answer(two, incoming, 200, **SDP)
        assert world.statuses(incoming) == [180, 200]
        assert leg.owner is two, "the dialog that the 180 made is the winner's"
        assert one.told[-1] == ("answered_elsewhere", 1)

    def test_who_insists_on_reliable_provisionals_gets_one(self) -> None:
        """RFC 3262 §3."""
        world = World()
        world.owner("one", SHARED)
        world.owner("two", SHARED)
        incoming = world.receive("INVITE", "Require: timer, 100rel")
        assert world.sent[incoming.number][0].reliable

    def test_a_refusal_of_one_does_not_end_a_call(self) -> None:
        world = World()
        one, two = world.owner("one", SHARED), world.owner("two", SHARED)
        incoming = world.receive("INVITE")
        world.answer(one, incoming, 486)
        assert world.statuses(incoming) == [180]
        assert refused(world, one, incoming) == "invalid_state"
        world.answer(two, incoming, 200)
        assert world.statuses(incoming) == [180, 200]
        assert one.told == [("requested", 1)], "it has answered; nothing is withdrawn"

    @pytest.mark.parametrize(
        ("refusals", "best"), [((486, 480), 486), ((503, 486), 486), ((486, 302), 302), ((486, 415), 415)]
    )
    def test_when_all_refuse_the_best_refusal_is_told(self, refusals: tuple[int, int], best: int) -> None:
        """RFC 3261 §16.7 step 6."""
        world = World()
        owners = [world.owner(label, SHARED) for label in ("one", "two")]
        incoming = world.receive("INVITE")
        for owner, status in zip(owners, refusals, strict=True):
            world.answer(owner, incoming, status)
        assert world.statuses(incoming) == [180, best]

    def test_a_6xx_ends_it_for_all(self) -> None:
        world = World()
        one, two = world.owner("one", SHARED), world.owner("two", SHARED)
        incoming = world.receive("INVITE")
        world.answer(one, incoming, 603)
        assert world.statuses(incoming) == [180, 603]
        assert two.told[-1] == ("answered_elsewhere", 1)

    def test_an_answer_that_cannot_be_sent_decides_nothing(self) -> None:
        world = World()
        one, two = world.owner("one", SHARED), world.owner("two", SHARED)
        incoming = world.receive("INVITE")
        with pytest.raises(SipProfileError) as caught:
            world.answer(one, incoming, 200, headers=(("Via", "x"),))
        assert caught.value.code == "header_refused"
        assert two.told == [("requested", 1)]
        assert incoming.leg is not None
        assert incoming.leg.owner is incoming.owner is not one
        with pytest.raises(SipProfileError):
            world.answer(two, incoming, 486, headers=(("Via", "x"),))
        world.answer(two, incoming, 503)
        world.answer(one, incoming, 486)
        assert world.statuses(incoming) == [180, 486]

    @pytest.mark.parametrize("code", ["cancelled", "timed_out"])
    def test_when_the_caller_gives_up_all_are_told(self, code: str) -> None:
        world = World()
        one, two = world.owner("one", SHARED), world.owner("two", SHARED)
        incoming = world.receive("INVITE")
        assert incoming.owner is not None
        world.answer(one, incoming, 486)
        incoming.status = 487
        incoming.owner.withdrawn(incoming, code, world.now)
        assert two.told[-1] == (code, 1)
        assert one.told == [("requested", 1)]
        assert refused(world, two, incoming) == "invalid_state"

    def test_who_answers_while_it_is_told_wins_before_others_hear_of_it(self) -> None:
        world = World()
        one = world.owner("one", SHARED)
        one.answers = lambda incoming: world.answer(one, incoming)
        two = world.owner("two", SHARED)
        incoming = world.receive("MESSAGE")
        assert world.statuses(incoming) == [200]
        assert two.told == []

    def test_a_request_in_the_early_dialog_that_nobody_has_taken(self) -> None:
        world = World()
        one, two = world.owner("one", SHARED), world.owner("two", SHARED)
        incoming = world.receive("INVITE")
        update = Incoming(9, incoming.line, incoming.request, incoming.source, incoming.key, "t", leg=incoming.leg)
        world.agent.incoming[9] = update
        assert incoming.owner is not None
        incoming.owner.requested(update, world.now)
        assert [(sent.status, sent.headers) for sent in world.sent[9]] == [(500, (("Retry-After", "5"),))]
        assert len(one.told) == len(two.told) == 1

    def test_a_notification_that_nobody_asked_for_is_everybodys(self) -> None:
        world = World()
        claim = Claim(events=["message-summary"], exclusive=False)
        one, two = world.owner("one", claim), world.owner("two", claim)
        incoming = world.receive("NOTIFY", "Event: message-summary")
        assert world.statuses(incoming) == [200]
        assert one.told == two.told == [("requested", 1)]
        assert (one.by, two.by) == ([1], [2])
        assert refused(world, one, incoming) == "invalid_state"

    def test_one_that_is_claimed_exclusively_is_answered_by_its_owner(self) -> None:
        world = World()
        owner = world.owner("one", Claim(events=["message-summary"]))
        incoming = world.receive("NOTIFY", "Event: message-summary")
        assert world.statuses(incoming) == []
        world.answer(owner, incoming, 202)


class TestLoss:
    def test_what_only_a_lost_owner_could_answer_gets_480(self) -> None:
        world = World()
        bot = world.owner("bot", Claim(methods=["MESSAGE"]))
        incoming = world.receive("MESSAGE")
        world.delivery.owners_gone([bot], world.now)
        assert world.statuses(incoming) == [480]
        assert world.gone == [bot]
        assert world.statuses(world.receive("MESSAGE")) == [480], "its claims are gone too"

    def test_the_others_of_a_contest_go_on(self) -> None:
        world = World()
        one, two = world.owner("one", SHARED), world.owner("two", SHARED)
        incoming = world.receive("INVITE")
        world.delivery.owners_gone([one], world.now)
        assert refused(world, one, incoming) == "invalid_state"
        assert two.told == [("requested", 1)]
        world.answer(two, incoming, 200)
        assert world.statuses(incoming) == [180, 200]
        assert one.told == [("requested", 1)], "nothing is told to who is gone"

    def test_when_all_of_them_are_lost(self) -> None:
        world = World()
        one, two, three = (world.owner(label, SHARED) for label in ("one", "two", "three"))
        incoming = world.receive("INVITE")
        world.answer(three, incoming, 486)
        for owner in (one, two):
            world.delivery.owners_gone([owner], world.now)
        assert world.statuses(incoming) == [180, 486]
        other = world.receive("MESSAGE")
        world.delivery.owners_gone([three], world.now)
        assert world.statuses(other) == [480]
        assert world.delivery.counts()["contests"] == 0


class TestDialogs:
    @pytest.mark.parametrize(
        "header",
        [
            "Replaces: c9@host;to-tag=ours;from-tag=theirs",
            "Join: c9@host;from-tag=theirs;to-tag=ours",
            "Target-Dialog: c9@host;local-tag=theirs;remote-tag=ours",
        ],
    )
    def test_a_request_about_a_dialog_goes_to_its_owner(self, header: str) -> None:
        """RFC 3891, RFC 3911, RFC 4538."""
        world = World()
        phone, caller = world.owner("phone", Claim(default=True)), Owner("caller")
        world.agent.legs_by_dialog["c9@host", "ours", "theirs"] = FakeLeg(caller)
        world.receive("INVITE", header)
        assert (caller.told, phone.told) == ([("requested", 1)], [])
        world.receive("INVITE", header.replace("ours", "other"))
        assert phone.told == [("requested", 2)]

    def test_not_to_another_profiles(self) -> None:
        world = World()
        phone, caller = world.owner("phone", Claim(default=True)), Owner("caller")
        world.agent.legs_by_dialog["c9", "a", "b"] = FakeLeg(caller, profile=2)
        world.receive("INVITE", "Replaces: c9;to-tag=a;from-tag=b")
        assert (caller.told, phone.told) == ([], [("requested", 1)])

    def test_nonsense_names_no_dialog(self) -> None:
        world = World()
        phone = world.owner("phone", Claim(default=True))
        world.receive("INVITE", 'Replaces: c9;to-tag="')
        assert phone.told == [("requested", 1)]


class TestLocalPrograms:
    def test_what_comes_to_a_bridges_port_is_the_bridges(self) -> None:
        world = World()
        phone, bridge = world.owner("phone", Claim(default=True)), Owner("bridge")
        world.delivery.programs[5080] = bridge
        world.receive("INVITE", port=5080)
        assert (bridge.told, phone.told) == ([("requested", 1)], [])
        assert world.statuses(world.receive("INVITE", port=5081)) == [404]


METHODS = ("MESSAGE", "INVITE", "SUBSCRIBE", "NOTIFY", "OPTIONS")
PACKAGES = ("presence", "dialog")
CLAIMS = st.builds(
    Claim,
    methods=st.lists(st.sampled_from(METHODS), max_size=2, unique=True),
    events=st.lists(st.sampled_from(PACKAGES), max_size=1),
    features=st.lists(st.sampled_from(["audio", "video", "+g.x"]), max_size=2, unique=True),
    content_types=st.lists(st.sampled_from(["text/plain", "text/*", "a/b"]), max_size=1),
    headers=st.sampled_from([{}, {}, {"Subject": "a*"}, {"Subject": "*b"}]),
    default=st.booleans(),
    exclusive=st.booleans(),
    priority=st.sampled_from([0, 0, 7]),
)
REQUESTS = st.tuples(
    st.sampled_from(METHODS),
    st.lists(
        st.sampled_from(
            ["Event: presence", "Subject: ab", "Subject: b", "Accept-Contact: *;audio;video", "Reject-Contact: *;audio"]
        ),
        max_size=3,
        unique_by=lambda line: line.partition(":")[0],
    ),
    st.sampled_from(["", "x"]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(0, 3), CLAIMS),
        st.tuples(st.just("gone"), st.integers(0, 3), st.none()),
        st.tuples(st.just("request"), st.integers(0, 3), REQUESTS),
        st.tuples(st.just("answer"), st.integers(0, 3), st.sampled_from([180, 200, 486, 503, 603])),
        st.tuples(st.just("cancel"), st.integers(0, 3), st.none()),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=300)
@given(STEPS)
def test_whatever_is_claimed_requested_answered_and_lost(steps: list[tuple[str, int, object]]) -> None:
    """Each request goes to one owner or to those with equal shared claims, never to who did not claim it; nobody with
    a better claim is left out; and it gets exactly one final answer."""
    world = World()
    owners = [Owner(str(number)) for number in range(4)]
    for kind, number, what in steps:
        owner = owners[number]
        if kind == "claim":
            assert isinstance(what, Claim)
            with contextlib.suppress(SipProfileError):
                world.claims.claim(owner, 1, what, None, world.now)
        elif kind == "gone":
            world.delivery.owners_gone([owner], world.now)
            owners[number] = Owner(str(number))
        elif kind == "request":
            assert isinstance(what, tuple)
            _receive(world, owners, *what)
        elif world.agent.incoming:
            incoming = world.agent.incoming[1 + number * 7 % len(world.agent.incoming)]
            if kind == "cancel":
                if not incoming.final and incoming.owner is not None:
                    incoming.status = 487
                    incoming.owner.withdrawn(incoming, "cancelled", world.now)
            else:
                assert isinstance(what, int)
                _answer(world, owner, incoming, what)
    for owner in owners:
        world.delivery.owners_gone([owner], world.now)
    for incoming in world.agent.incoming.values():
        finals = [status for status in world.statuses(incoming) if status >= 200]
        assert len(finals) == (incoming.status != 487), "one final answer; the 487 is the user agent's"
        assert incoming.final
    assert world.delivery.counts() == {"contests": 0, "held": 0}


def _receive(world: World, owners: list[Owner], method: str, headers: list[str], body: str) -> None:
    fitting = {}
    before = [len(owner.told) for owner in owners]
    present = list(world.claims.of_profile(1))
    incoming = world.receive(method, *headers, body=body)
    facts = Facts(incoming.request)
    for held in present:
        score = Criteria.of(held.claim).fit(facts)
        if score:
            fitting.setdefault(id(held.owner), []).append((held.rank(score), held.claim.exclusive))
    told = [owner for owner, count in zip(owners, before, strict=True) if len(owner.told) > count]
    if not fitting:
        assert not told
        assert incoming.status >= 200
        return
    best = max(rank for claims in fitting.values() for rank, _ in claims)
    assert told, "nobody got what somebody has claimed"
    for owner in told:
        assert best in [rank for rank, _ in fitting[id(owner)]], "somebody got it with a lesser claim"
    if best[2]:  # exclusive
        assert len(told) == 1
    else:
        assert len(told) == sum(best in [rank for rank, _ in claims] for claims in fitting.values())


def _answer(world: World, owner: Owner, incoming: Incoming, status: int) -> None:
    was_told = ("requested", incoming.number) in owner.told
    withdrawn = any(number == incoming.number and code != "requested" for code, number in owner.told)
    final = incoming.final
    with contextlib.suppress(SipProfileError):
        world.answer(owner, incoming, status)
        assert was_told
        assert not withdrawn
        assert not final


def test_exclusive_claims_that_hold_never_fit_one_request_equally_well() -> None:
    """But for features: a caller may ask for those of both, and then the older one goes first."""

    @settings(deadline=None, max_examples=300)
    @given(st.lists(CLAIMS.map(lambda claim: msgspec.structs.replace(claim, features=[])), max_size=6), REQUESTS)
    def holds(claims: list[Claim], request: tuple[str, list[str], str]) -> None:
        world = World()
        for number, claim in enumerate(claims):
            try:
                world.claims.claim(Owner(str(number)), 1, claim, None, world.now)
            except SipProfileError:
                continue
        method, headers, body = request
        facts = Facts(world.receive(method, *headers, body=body).request)
        ranks = [
            held.rank(score)[:4]
            for held in world.claims.of_profile(1)
            if (score := held.criteria.fit(facts)) and held.claim.exclusive
        ]
        assert len(ranks) == len(set(ranks))

    holds()


def test_a_call_for_several_comes_without_a_dialog() -> None:
    """It is the winner's, and there is none before somebody has answered."""
    world = World()
    legs: list[object] = []
    one = world.owner("one", SHARED, answers=lambda incoming: legs.append(incoming.leg))
    world.owner("two", SHARED, answers=lambda incoming: legs.append(incoming.leg))
    incoming = world.receive("INVITE")
    assert legs == [None, None]
    assert world.statuses(incoming) == [180]
    one.answers = lambda incoming: world.answer(one, incoming)
    assert world.statuses(world.receive("INVITE")) == [200]
