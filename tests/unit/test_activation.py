"""Applications that are started when a request comes for them."""

from __future__ import annotations

from claims_world import Owner, World, facts

from sipprofile.claims import Claim
from sipprofile.service.activation import MAXIMUM_HELD, PAUSE
from sipprofile.service.effects import Activate

BOT = Claim(methods=["MESSAGE"])


def world(**timeouts: float) -> World:
    """One whose profile has a standing claim to ``activate:bot``."""
    made = World(activate=timeouts or {"bot": 10.0})
    owner = made.activation.owner(1, "bot")
    made.claims.claim(owner, 1, BOT, None, made.now, reserve=True, check=False)
    return made


class TestHold:
    def test_it_is_started_and_the_request_waits_for_its_claim(self) -> None:
        one = world()
        incoming = one.receive("MESSAGE")
        assert one.effects == [Activate("bot")]
        one.pass_time(3)
        assert one.statuses(incoming) == []
        one.owner("phone", Claim(methods=["INVITE"]))
        bot = one.owner("bot (alice)", BOT)
        assert bot.told == [], "it first hears that its claim holds"
        one.pass_time(0)
        assert bot.told == [("requested", incoming.number)]
        assert bot.by == [3]
        one.answer(bot, incoming)
        one.pass_time(20)
        assert one.statuses(incoming) == [200]

    def test_who_is_there_goes_first_though_less_well(self) -> None:
        one = world()
        phone = one.owner("phone", Claim(default=True))
        one.receive("MESSAGE")
        assert (phone.told, one.effects) == ([("requested", 1)], [])

    def test_nobody_comes(self) -> None:
        one = world(bot=4.0)
        incoming = one.receive("MESSAGE")
        one.pass_time(3.9)
        assert one.statuses(incoming) == []
        one.pass_time(0.2)
        (answer,) = one.sent[incoming.number]
        assert (answer.status, answer.headers) == (480, (("Retry-After", "5"),))
        one.pass_time(10)
        assert len(one.activation) == 0

    def test_never_longer_than_ten_seconds(self) -> None:
        one = world(bot=60.0)
        incoming = one.receive("MESSAGE")
        one.pass_time(10)
        assert one.statuses(incoming) == [480]

    def test_it_could_not_be_started(self) -> None:
        one = world()
        first, second = one.receive("MESSAGE"), one.receive("MESSAGE")
        one.activation.failed("bot", one.now)
        one.activation.failed("nobody", one.now)
        assert one.statuses(first) == one.statuses(second) == [480]
        one.pass_time(20)

    def test_the_caller_gives_up(self) -> None:
        one = world()
        incoming = one.receive("MESSAGE")
        incoming.status = 487
        assert incoming.owner is not None
        incoming.owner.withdrawn(incoming, "cancelled", one.now)
        bot = one.owner("bot", BOT)
        one.pass_time(20)
        assert bot.told == []
        assert one.sent == {}

    def test_it_may_claim_what_it_was_started_for(self) -> None:
        one = world()
        one.owner("bot", BOT)
        assert one.claims.find(1, facts("MESSAGE"))[0].owner.label == "bot"


class TestStarts:
    def test_not_again_and_again(self) -> None:
        one = world()
        for _ in range(3):
            one.receive("MESSAGE")
            one.pass_time(1)
        assert one.effects == [Activate("bot")]
        one.pass_time(PAUSE)
        one.receive("MESSAGE")
        assert one.effects == [Activate("bot")] * 2

    def test_what_waits_has_a_limit(self) -> None:
        one = world()
        for _ in range(MAXIMUM_HELD):
            one.receive("MESSAGE")
        more = one.receive("MESSAGE")
        assert one.statuses(more) == [480]
        assert len(one.activation) == MAXIMUM_HELD
        bot = one.owner("bot", BOT, answers=lambda incoming: one.answer(bot, incoming))
        one.pass_time(0)
        assert len(bot.told) == MAXIMUM_HELD
        assert one.delivery.counts() == {"contests": 0, "held": 0}

    def test_several_who_share_it_get_it_one_after_another(self) -> None:
        """The first that comes has it; nobody waits for a second."""
        one = world()
        shared = Claim(methods=["MESSAGE"], exclusive=False)
        incoming = one.receive("MESSAGE")
        first = one.owner("first", shared)
        one.pass_time(0)
        second = Owner("second")
        one.claims.claim(second, 1, shared, None, one.now)
        one.pass_time(0)
        assert (first.told, second.told) == ([("requested", incoming.number)], [])
