"""Calls and messages that come in, made by SIPp, which judges the core's server side by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sipprofile.useragent import server
from sipprofile.useragent.draft import Answer
from sipprofile.useragent.incoming import Incoming

from .conftest import require
from .kamailio import Kamailio
from .sipp import Sipp, Verdict
from .user_agent import CoreUserAgent

SDP = "v=0\no=s 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio 9 RTP/AVP 0\n"


def sends(method: str, number: int, *headers: str, lost: int = 0, branch: str = "[branch]", sdp: bool = False) -> str:
    """A request of the caller's; those of a dialog go where the last answer's To and Contact say."""
    begins = method == "INVITE" and number == 1
    inside = not (begins or method in ("CANCEL", "MESSAGE"))
    lines = [
        f"{method} {'[next_url]' if inside else 'sip:[token]@[remote_ip]:[remote_port]'} SIP/2.0",
        f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch};rport",
        "Max-Forwards: 70",
        "From: <sip:sipp@[local_ip]>;tag=[call_number]",
        "To: <sip:alice@example.test>" + ("[peer_tag_param]" if inside else ""),
        "Call-ID: [call_id]",
        f"CSeq: {number} {method}",
        "Contact: <sip:sipp@[local_ip]:[local_port]>",
        *headers,
        *(("Content-Type: application/sdp",) if sdp else ()),
        "Content-Length: [len]",
    ]
    text = "\n".join([*lines, "", *(SDP.splitlines() if sdp else ())])
    repeated = "" if method in ("ACK", "CANCEL") else ' retrans="500"'
    first = ' start_txn="invite"' if begins else ' ack_txn="invite"' if method == "ACK" and number == 1 else ""
    return f'<send{repeated}{first} lost="{lost}"><![CDATA[\n\n{text}\n\n]]></send>'


def gets(status: int, *, optional: bool = False, lost: int = 0, more: str = "") -> str:
    flag = ' optional="true"' if optional else ""
    return f'<recv response="{status}"{flag} lost="{lost}">{more}</recv>'


def of_invite(text: str) -> str:
    kept = "" if 'response="100"' in text else ' rrs="true"'
    return text.replace("<recv ", f'<recv response_txn="invite"{kept} ')


RSEQ = '<action><ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" assign_to="rseq"/></action>'


@pytest.fixture
async def agent(start_kamailio: Callable[..., Kamailio]) -> AsyncIterator[CoreUserAgent]:
    router = start_kamailio(routes=True, users={"alice": "secret"})
    async with CoreUserAgent(router.aor("alice"), router.uri) as agent:
        yield agent


async def judged(agent: CoreUserAgent, directory: Path, *steps: str, calls: int = 1) -> Verdict:
    """What SIPp says of these steps, played towards the registered contact."""
    require(Sipp.program(), "sipp", "sip-tester")
    scenario = directory / "caller.xml"
    scenario.write_text('<?xml version="1.0"?><scenario name="caller">\n' + "\n".join(steps) + "\n</scenario>\n")
    flow = agent.registrations.by_profile[1].first
    user, _, place = flow.contact.partition(":")[2].partition("@")
    with Sipp(directory / "sipp", scenario, {"token": user}, calls=calls, limit=40, remote=place, rate=20) as sipp:
        return await asyncio.to_thread(sipp.wait)


def passed(verdict: Verdict, calls: int = 1) -> None:
    assert (verdict.exit_code, verdict.successful_calls, verdict.errors) == (0, calls, "")


def nothing_left(agent: CoreUserAgent) -> None:
    """Of the calls nothing remains that could be answered or acknowledged."""
    user_agent = agent.user_agent
    assert (user_agent.incoming, user_agent.legs, user_agent.server.unacknowledged) == ({}, {}, {})


class TestCalls:
    async def test_answered_and_ended_by_the_caller(self, agent: CoreUserAgent, tmp_path: Path) -> None:
        steps = (
            sends("INVITE", 1, sdp=True),
            of_invite(gets(100, optional=True)),
            of_invite(gets(200)),
            sends("ACK", 1),
            '<pause milliseconds="200"/>',
            sends("BYE", 2),
            gets(200),
        )
        passed(await judged(agent, tmp_path, *steps, calls=20), 20)
        nothing_left(agent)

    async def test_packets_are_lost(self, agent: CoreUserAgent, tmp_path: Path) -> None:
        """Requests, answers and ACKs: each is repeated by whose turn it is, and nobody hears anything twice.

        SIPp gives up an INVITE after 5 repetitions and a BYE after 7. Of 20 calls that is one in 5,000 runs; were 30 of
        100 messages lost in place of 12, one in ten.
        """
        steps = (
            sends("INVITE", 1, sdp=True, lost=12),
            of_invite(gets(100, optional=True)),
            of_invite(gets(200, lost=12)),
            sends("ACK", 1, lost=12),
            '<pause milliseconds="2500"/>',
            sends("BYE", 2, lost=12),
            gets(200, lost=12),
        )
        verdict = await judged(agent, tmp_path, *steps, calls=20)
        passed(verdict, 20)
        assert int(verdict.statistics["Retransmissions(C)"]) > 0
        methods = [request.method for request in agent.owner.requests]
        assert (methods.count("INVITE"), methods.count("BYE"), len(methods)) == (20, 20, 40)
        nothing_left(agent)

    async def test_changed_and_updated(self, agent: CoreUserAgent, tmp_path: Path) -> None:
        steps = (
            sends("INVITE", 1, sdp=True),
            of_invite(gets(100, optional=True)),
            of_invite(gets(200)),
            sends("ACK", 1),
            sends("INVITE", 2, sdp=True),
            gets(200),
            sends("ACK", 2),
            sends("UPDATE", 3),
            gets(200),
            sends("BYE", 4),
            gets(200),
        )
        passed(await judged(agent, tmp_path, *steps))
        assert [request.method for request in agent.owner.requests] == ["INVITE", "INVITE", "UPDATE", "BYE"]
        nothing_left(agent)

    async def test_reliable_ringing(self, agent: CoreUserAgent, tmp_path: Path) -> None:
        """RFC 3262: the 200 of the INVITE comes after the PRACK's."""

        def ringing(incoming: Incoming, now: float) -> None:
            if incoming.request.method == "INVITE":
                sdp = {"body": b"v=0\r\n", "content_type": "application/sdp"}
                server.respond(agent.user_agent, incoming, Answer(183, reliable=True, **sdp), now)  # type: ignore[arg-type]
                server.respond(agent.user_agent, incoming, Answer(200), now)

        agent.owner.requested = ringing  # type: ignore[method-assign]
        steps = (
            sends("INVITE", 1, "Supported: 100rel", sdp=True),
            of_invite(gets(100, optional=True)),
            of_invite(gets(183, more=RSEQ)),
            '<pause milliseconds="700"/>',
            sends("PRACK", 2, "RAck: [$rseq] 1 INVITE"),
            gets(200),
            of_invite(gets(200)),
            sends("ACK", 1),
            sends("BYE", 3),
            gets(200),
        )
        passed(await judged(agent, tmp_path, *steps))
        nothing_left(agent)

    async def test_cancelled(self, agent: CoreUserAgent, tmp_path: Path) -> None:
        agent.owner.answer = Answer(180)
        branch = "z9hG4bK[call_id]-[call_number]"
        steps = (
            sends("INVITE", 1, sdp=True, branch=branch).replace(' start_txn="invite"', ""),
            gets(100, optional=True),
            gets(180),
            sends("CANCEL", 1, branch=branch),
            gets(200),
            gets(487),
            sends("ACK", 1, branch=branch).replace(' ack_txn="invite"', ""),
        )
        passed(await judged(agent, tmp_path, *steps))
        nothing_left(agent)


class TestMessages:
    async def test_packets_are_lost(self, agent: CoreUserAgent, tmp_path: Path) -> None:
        """Each message is heard once."""
        steps = (sends("MESSAGE", 1, lost=12), gets(200, lost=12))
        verdict = await judged(agent, tmp_path, *steps, calls=40)
        passed(verdict, 40)
        assert int(verdict.statistics["Retransmissions(C)"]) > 0
        assert len(agent.owner.requests) == 40
