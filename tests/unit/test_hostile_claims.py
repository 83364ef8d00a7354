"""Claims and callers that want to cost as much as they can: what one asks, thousands may ask of each request."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest
from claims_world import Owner, World, facts

from sipprofile.claims import Claim
from sipprofile.errors import SipProfileError
from sipprofile.service.nobody import LONGEST_LINE, answer_of

BUDGET = 1.0
"""Seconds for what used to take from ten seconds to hours; it takes some hundredths."""


def seconds(what: Callable[[], object]) -> float:
    begin = process_time()
    what()
    return process_time() - begin


def claim(world: World, label: str, what: Claim) -> None:
    world.claims.claim(Owner(label), 1, what, None, world.now)


def ranges(first: int) -> str:
    return ",".join(f"#={number}" for number in range(first, first + 40))


class TestClaiming:
    """A claim is compared with all that others have."""

    @pytest.mark.parametrize(
        "what",
        [
            lambda number: Claim(content_types=[f"a{number}/b{index}" for index in range(9)]),
            lambda number: Claim(features=[f'+t{index}="{ranges(40 * (number > 0))}"' for index in range(9)]),
            lambda number: Claim(headers={f"X-{index}": f"{number}" + "*a" * 100 for index in range(16)}),
        ],
        ids=["content types", "feature ranges", "patterns"],
    )
    def test_thousands_of_long_ones(self, what: Callable[[int], Claim]) -> None:
        world = World()
        for number in range(1, 300):
            world.claims.claim(Owner(f"app{number}"), 1, what(number), None, world.now, check=False)
        assert seconds(lambda: claim(world, "last", what(0))) < BUDGET


class TestRequests:
    """A stranger's request is compared with all claims."""

    def test_preferences(self) -> None:
        world = World()
        greedy = Claim(features=[f'+t{index}="{ranges(0)}"' for index in range(9)], exclusive=False)
        for number in range(256):
            claim(world, f"app{number}", greedy)
        wish = "*;" + ";".join(f'+t{index}="{ranges(100)}"' for index in range(9))
        asked = facts("MESSAGE", *[f"Accept-Contact: {wish}" for _ in range(16)])
        assert seconds(lambda: world.claims.find(1, asked)) < BUDGET

    def test_preferences_of_ordinary_callers_count(self) -> None:
        world = World()
        claim(world, "urgent", Claim(features=['priority="#>=30"'], exclusive=False))
        assert world.claims.find(1, facts("MESSAGE", 'Accept-Contact: *;priority="#40:50"'))

    def test_patterns(self) -> None:
        world = World()
        for number in range(1000):
            names = {f"X-{index}": f"*{'a' * 30}b{number}*" for index in range(16)}
            claim(world, f"app{number}", Claim(headers=names, exclusive=False))
        asked = facts("MESSAGE", *[f"X-{index}: {'a' * 3800}" for index in range(16)])
        assert seconds(lambda: world.claims.find(1, asked)) < BUDGET

    def test_a_value_of_ordinary_length_is_compared(self) -> None:
        world = World()
        claim(world, "app", Claim(headers={"Subject": "*urgent"}))
        assert world.claims.find(1, facts("MESSAGE", f"Subject: {'a' * 1000} urgent"))
        assert not world.claims.find(1, facts("MESSAGE", f"Subject: {'a' * 2000} urgent"))


class TestNobody:
    """What all claims together take is told to strangers: it has an end, and is not computed for each of them."""

    def test_answers_are_short_however_much_is_claimed(self) -> None:
        world = World()
        for number in range(100):
            types = [f"a{number}/{'b' * 200}{index}" for index in range(64)]
            claim(world, f"app{number}", Claim(methods=["MESSAGE"], content_types=types, exclusive=False))
            events = [f"{'e' * 200}{number}-{index}" for index in range(64)]
            claim(world, f"watcher{number}", Claim(events=events, exclusive=False))
        for method, more in (("OPTIONS", {}), ("SUBSCRIBE", {}), ("MESSAGE", {"body": "x"})):
            answer = answer_of(world.claims, 1, facts(method, **more), world.now)
            assert sum(len(name) + len(value) for name, value in answer.headers) < 3 * LONGEST_LINE
        asked = facts("OPTIONS")

        def thousand() -> None:
            for _ in range(1000):
                answer_of(world.claims, 1, asked, world.now)

        assert seconds(thousand) < BUDGET

    def test_claims_that_end_are_told_no_more(self) -> None:
        world = World()
        owner = Owner("app")
        assert "message-summary" not in str(answer_of(world.claims, 1, facts("OPTIONS"), world.now))
        number = world.claims.claim(owner, 1, Claim(events=["message-summary"]), None, world.now)
        assert "message-summary" in str(answer_of(world.claims, 1, facts("OPTIONS"), world.now))
        world.claims.release(number, owner)
        assert "message-summary" not in str(answer_of(world.claims, 1, facts("OPTIONS"), world.now))

    def test_who_is_lost_again_and_again_counts_once(self) -> None:
        """An application that crashes as soon as it has claimed."""
        world = World(lingers=lambda _: 3600.0)
        for _ in range(300):
            owner = Owner("app")
            world.claims.claim(owner, 1, Claim(methods=["MESSAGE"]), None, world.now)
            world.claims.owner_gone(owner, world.now)
        assert len(world.claims._departed[1]) == 1
        assert answer_of(world.claims, 1, facts("MESSAGE"), world.now).status == 480


def test_a_claim_is_refused_before_anything_is_compared() -> None:
    world = World()
    for what in (Claim(content_types=["a/b"] * 65), Claim(features=["+" + "a" * 200] * 11)):
        with pytest.raises(SipProfileError):
            claim(world, "app", what)
