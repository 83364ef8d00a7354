"""Calls that go wrong in the ways of RFC 3261 §9, §13, §14, §15 and RFC 3262: what each side does, as SIPp plays it.

Each function gives the steps of who calls and of who is called. The service's timers are :data:`T1` and :data:`T2`.
"""

from __future__ import annotations

from collections.abc import Callable

from .bridge_sides import FIRST_CSEQ, TAG, Called, Caller, answers, begins, ends, gets, goes_on, label, misses, waits

T1, T2 = 0.1, 0.8  # seconds
GIVES_UP = round(64_000 * T1)  # milliseconds, RFC 3261 §17.1.1.2
TIMER = 200  # milliseconds: T1 of SIPp where it is to be patient longer than the service

Steps = tuple[tuple[str, ...], tuple[str, ...]]
Torture = Callable[[Caller, Called], Steps]

RINGS = (gets(100, optional=True), gets(180, optional=True))
RSEQ = '<action><ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" assign_to="rseq"/></action>'
OWN_BRANCH = f"z9hG4bK-{TAG}-again"


def _calls(caller: Caller) -> tuple[str, ...]:
    return (caller.invites(), *RINGS, gets(200, route=True), caller.sends("ACK", 0))


def _answers(called: Called) -> tuple[str, ...]:
    return (called.invited(), called.says(180), waits(50), called.says(200, sdp=True, timer=TIMER), gets("ACK"))


def _hangs_up(caller: Caller, number: int = 1) -> tuple[str, ...]:
    return (waits(200), caller.sends("BYE", number), gets(200))


def _cancels(caller: Caller) -> tuple[str, ...]:
    return (
        begins(caller.invites(), "invite"),
        gets(100, optional=True, answers="invite"),
        gets(180, answers="invite"),
        begins(caller.cancels(), "cancel"),
        gets(200, optional=True, answers="cancel"),
        gets(487, answers="invite"),
        ends(caller.acknowledges_refusal(), "invite"),
        waits(300),
    )


HUNG_UP = (gets("BYE"), answers())
END = label("end"), waits(20)


def talks_long(caller: Caller, called: Called) -> Steps:
    """Longer than an answer is repeated: in a BYE's place SIPp takes it for the BYE's."""
    t1 = round(1000 * T1)
    calls = (caller.invites(timer=t1), *RINGS, gets(200, route=True), caller.sends("ACK", 0), waits(GIVES_UP + 500))
    *answer, ack = _answers(called)
    copies = gets("INVITE", optional=True)  # SIPp knows them only when it has sent something that was not lost
    return (*calls, caller.sends("BYE", 1, timer=t1), gets(200)), (*answer, copies, ack, *HUNG_UP)


def the_invite_comes_twice(caller: Caller, called: Called) -> Steps:
    """§17.2.1: with the same branch, so it is the same one."""
    rings = (gets(100, optional=True, lost=True), gets(180, optional=True, lost=True))
    calls = (caller.invites(timer=100), *rings, gets(200, route=True), caller.sends("ACK", 0))
    answer = (called.invited(), called.says(180), waits(1000), called.says(200, sdp=True, timer=TIMER), gets("ACK"))
    return (*calls, *_hangs_up(caller)), (*answer, *HUNG_UP)


def the_answer_comes_again_and_again(caller: Caller, called: Called) -> Steps:
    """§13.2.2.4: each copy has its ACK, and who calls has one answer."""
    again: list[str] = []
    for number in (1, 2):  # SIPp takes some of the ACKs for copies that need no step
        again += called.says(200, sdp=True), gets("ACK", otherwise=(200, f"again{number}")), label(f"again{number}")
    return (*_calls(caller), waits(800), *_hangs_up(caller)), (*_answers(called), *again, *HUNG_UP)


def the_answer_is_never_acknowledged(caller: Caller, called: Called) -> Steps:
    """§13.3.1.4: it comes again for 64·T1, and then the call is ended on both sides."""
    calls = (caller.invites(), *RINGS, gets(200, route=True), gets("BYE"), answers())
    return calls, (*_answers(called), *HUNG_UP)


def the_ack_is_late(caller: Caller, called: Called) -> Steps:
    calls = (caller.invites(), *RINGS, gets(200, route=True), waits(2000), caller.sends("ACK", 0))
    return (*calls, *_hangs_up(caller)), (*_answers(called), *HUNG_UP)


def it_rings_for_long(caller: Caller, called: Called) -> Steps:
    """Longer than 64·T1."""
    rings = (called.invited(), called.says(180), waits(GIVES_UP + 1000))
    answer = (called.says(200, sdp=True, timer=TIMER), gets("ACK"), *HUNG_UP)
    return (*_calls(caller), *_hangs_up(caller)), (*rings, *answer)


def two_branches_answer(caller: Caller, called: Called) -> Steps:
    """§13.2.2.4: the first one has the call, the second is acknowledged and ended."""
    other = (called.says(200, sdp=True, tag=";tag=other"), gets("ACK"), gets("BYE"), answers())
    return (*_calls(caller), waits(500), *_hangs_up(caller)), (*_answers(called), *other, *HUNG_UP)


def both_hang_up(caller: Caller, called: Called) -> Steps:
    """§15: the BYEs cross."""

    def ending(side: Caller | Called) -> tuple[str, ...]:
        return (
            gets("BYE", then="slow", otherwise=(200, "quick")),
            label("slow"),
            goes_on(answers(), "end"),
            label("quick"),
            side.sends("BYE", 1),
            gets("BYE", optional=True, then="crossed"),
            gets(200),
            gets("BYE", otherwise=(500, "end")),
            goes_on(answers(), "end"),
            label("crossed"),
            answers(),
            gets(200),
            *END,
        )

    return (*_calls(caller), *ending(caller)), (*_answers(called), *ending(called))


def a_cancel_crosses_the_answer(caller: Caller, called: Called) -> Steps:
    """§9.1, §15: who calls has 487, and the call that was answered is acknowledged and ended."""
    answered = (called.invited(), called.says(180), gets("CANCEL"), answers(), called.says(200, sdp=True, timer=TIMER))
    return _cancels(caller), (*answered, gets("ACK"), *HUNG_UP)


def a_cancel_is_too_late(caller: Caller, called: Called) -> Steps:
    """§9.2: it changes nothing, and who was called hears nothing of it."""
    calls = (
        caller.invites(),
        gets(100, optional=True),
        gets(180, route=True),
        gets(200, lost=True, otherwise=(220, "cancel")),
        label("cancel"),
        caller.cancels(),
        gets(200),  # of the CANCEL; that of the INVITE comes again 350 ms after the ringing
        gets(200),
        caller.sends("ACK", 0),
        *_hangs_up(caller),
    )
    return calls, (*_answers(called), *HUNG_UP)


def invites_cross_in_the_call(caller: Caller, called: Called) -> Steps:
    """§14.1, §14.2: both are answered 491, and the call goes on."""
    changes = (waits(100), caller.sends("INVITE", 1, branch=OWN_BRANCH, sdp=True), gets(100, optional=True), gets(491))
    refused = (caller.sends("ACK", 1, branch=OWN_BRANCH), waits(100))
    crossing = (
        called.invited(),
        called.sends("INVITE", 1, branch=OWN_BRANCH, sdp=True),
        gets(100, optional=True),
        gets(491),
        called.sends("ACK", 1, branch=OWN_BRANCH),
        called.says(491, tag="", timer=TIMER),
        gets("ACK"),
    )
    return (*_calls(caller), *changes, *refused, *_hangs_up(caller, 2)), (*_answers(called), *crossing, *HUNG_UP)


def a_prack_is_late(caller: Caller, called: Called) -> Steps:
    """RFC 3262 §3: the provisional is repeated until it comes."""
    calls = (
        begins(caller.invites("Supported: 100rel"), "invite"),
        gets(100, optional=True, answers="invite"),
        gets(183, route=True, answers="invite", more=RSEQ),
        waits(1200),
        begins(caller.sends("PRACK", 1, f"RAck: [$rseq] {FIRST_CSEQ} INVITE"), "prack"),
        gets(200, answers="prack"),
        gets(200, route=True, answers="invite"),
        ends(caller.sends("ACK", 0), "invite"),
    )
    answered = (
        called.invited(),
        called.says(183, "Require: 100rel", "RSeq: 70", sdp=True, timer=TIMER),
        gets("PRACK"),
        answers(),
        called.says(200, timer=TIMER),
        gets("ACK"),
    )
    return (*calls, *_hangs_up(caller, 2)), (*answered, *HUNG_UP)


def a_prack_never_comes(caller: Caller, called: Called) -> Steps:
    """RFC 3262 §3: after 64·T1 the INVITE is refused, and who is called hears so."""
    calls = (
        caller.invites("Supported: 100rel"),
        gets(100, optional=True),
        gets(183, route=True),
        gets(500),
        caller.acknowledges_refusal(),
    )
    answered = (
        called.invited(),
        called.says(183, "Require: 100rel", "RSeq: 70", sdp=True, timer=TIMER),
        gets("CANCEL"),
        answers(),
        called.says(487, timer=TIMER),
        gets("ACK"),
    )
    return calls, answered


def who_calls_hangs_up_before_the_answer(caller: Caller, called: Called) -> Steps:
    """§15: a BYE in the early dialog. The INVITE gets 487."""
    calls = (
        begins(caller.invites(), "invite"),
        gets(100, optional=True, answers="invite"),
        gets(180, route=True, answers="invite"),
        waits(100),
        begins(caller.sends("BYE", 1), "bye"),
        gets(487, optional=True, answers="invite", then="refused"),
        gets(200, answers="bye"),
        gets(487, answers="invite", then="end"),
        label("refused"),
        gets(200, answers="bye"),
        label("end"),
        ends(caller.acknowledges_refusal(), "invite"),
        waits(300),
    )
    return calls, (
        called.invited(),
        called.says(180),
        gets("CANCEL"),
        answers(),
        called.says(487, timer=TIMER),
        gets("ACK"),
    )


def who_calls_hangs_up_instead_of_acknowledging(caller: Caller, called: Called) -> Steps:
    calls = (caller.invites(), *RINGS, gets(200, route=True), caller.sends("BYE", 1), gets(200))
    return calls, (*_answers(called), *HUNG_UP)


def who_is_called_hears_nothing_any_more(caller: Caller, called: Called) -> Steps:
    """The BYE is answered at once, and given up on the other side after 64·T1."""
    return (*_calls(caller), *_hangs_up(caller)), (*_answers(called), misses("BYE", GIVES_UP + 2000))


def who_calls_hears_nothing_any_more(caller: Caller, called: Called) -> Steps:
    hangs_up = (waits(200), called.sends("BYE", 1), gets(200))
    return (*_calls(caller), misses("BYE", GIVES_UP + 2000)), (*_answers(called), *hangs_up)


def a_cancelled_call_is_forgotten_by_who_was_called(caller: Caller, called: Called) -> Steps:
    return _cancels(caller), (called.invited(), called.says(180), misses("CANCEL", GIVES_UP + 2000))


TORTURES: tuple[Torture, ...] = (
    the_invite_comes_twice,
    the_answer_comes_again_and_again,
    the_answer_is_never_acknowledged,
    the_ack_is_late,
    it_rings_for_long,
    two_branches_answer,
    both_hang_up,
    a_cancel_crosses_the_answer,
    a_cancel_is_too_late,
    invites_cross_in_the_call,
    a_prack_is_late,
    a_prack_never_comes,
    who_calls_hangs_up_before_the_answer,
    who_calls_hangs_up_instead_of_acknowledging,
    who_is_called_hears_nothing_any_more,
    who_calls_hears_nothing_any_more,
    a_cancelled_call_is_forgotten_by_who_was_called,
)
