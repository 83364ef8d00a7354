"""SIPp as the side that is called, behind one proxy: scenarios put together from steps.

A scenario is a list of steps as SIPp plays them: what must come, what it sends. It fails when anything else comes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

SDP = """v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 9 RTP/AVP 0
"""
TAG = "[pid]sipp[call_number]"
KEPT = {"via": "Via:", "via_behind": "Via:", "remote": "From:", "local": "To:", "cseq": "CSeq:", "way": "Record-Route:"}


@dataclasses.dataclass(frozen=True)
class Step:
    """One step: ``xml`` is what SIPp reads."""

    xml: str


def gets(expected: str | int, *, optional: bool = False) -> Step:
    """A request of this method, or a response of this status, in the dialog."""
    kind = "response" if isinstance(expected, int) else "request"
    more = ' optional="true"' if optional else ""
    return Step(f'  <recv {kind}="{expected}"{more}/>')


def begins(method: str) -> Step:
    """The request that the dialog begins with; it is kept for all responses to it."""
    keeping = [
        f'    <ereg regexp=".*" search_in="hdr" header="{header}" '
        f'occurrence="{2 if name == "via_behind" else 1}" assign_to="{name}"/>'
        for name, header in KEPT.items()
    ]
    return Step("\n".join([f'  <recv request="{method}" rrs="true"><action>', *keeping, "  </action></recv>"]))


def waits(milliseconds: int) -> Step:
    return Step(f'  <pause milliseconds="{milliseconds}"/>')


def says(status: int, *headers: str, sdp: bool = False) -> Step:
    """A response to the request that the dialog began with."""
    lines = [
        f"SIP/2.0 {status} Said By SIPp",
        "Via:[$via]",
        "Via:[$via_behind]",
        "From:[$remote]",
        f"To:[$local];tag={TAG}",
        "Call-ID: [call_id]",
        "CSeq:[$cseq]",
        "Record-Route:[$way]",
        "Contact: <sip:sipp@[local_ip]:[local_port]>",
        *headers,
    ]
    return Step(_sent(lines, SDP if sdp else "", "application/sdp"))


def answers(status: int = 200, *headers: str, sdp: bool = False) -> Step:
    """A response to the last request, in the dialog or without one."""
    lines = [
        f"SIP/2.0 {status} Said By SIPp",
        "[last_Via:]",
        "[last_From:]",
        "[last_To:]",
        "[last_Call-ID:]",
        "[last_CSeq:]",
        "Contact: <sip:sipp@[local_ip]:[local_port]>",
        *headers,
    ]
    return Step(_sent(lines, SDP if sdp else "", "application/sdp"))


def sends(method: str, *headers: str, number: int = 1, sdp: bool = False, body: str = "", kind: str = "") -> Step:
    """A request of its own in the dialog; ``kind`` is the body's type."""
    lines = [
        f"{method} [next_url] SIP/2.0",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport",
        "Max-Forwards: 70",
        "[routes]",
        f"From:[$local];tag={TAG}",
        "To:[$remote]",
        "Call-ID: [call_id]",
        f"CSeq: {number} {method}",
        "Contact: <sip:sipp@[local_ip]:[local_port]>",
        *headers,
    ]
    return Step(_sent(lines, SDP if sdp else body, "application/sdp" if sdp else kind))


def acknowledges(number: int = 1) -> Step:
    """The ACK to the 200 of its own re-INVITE."""
    return sends("ACK", number=number)


def write(path: Path, *steps: Step) -> Path:
    """The scenario as a file."""
    used = f'  <Reference variables="{",".join(KEPT)}"/>'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<scenario name="{path.stem}">', *(step.xml for step in steps)]
    path.write_text("\n".join([*lines, used, "</scenario>", ""]))
    return path


def _sent(lines: Sequence[str], body: str, kind: str) -> str:
    more = [f"Content-Type: {kind}"] if body else []
    text = "\n".join([*lines, *more, "Content-Length: [len]", "", *body.splitlines()])
    return f"  <send><![CDATA[\n\n{text}\n\n  ]]></send>"


EARLY_MEDIA = (begins("INVITE"), says(183, sdp=True), waits(200), says(200, sdp=True), gets("ACK"))
"""A call that is answered after a provisional with a body."""
CALLER_HANGS_UP = (*EARLY_MEDIA, gets("BYE"), answers())
CALLED_HANGS_UP = (*EARLY_MEDIA, sends("BYE"), gets(200))
RELIABLE = (
    begins("INVITE"),
    says(183, "Require: 100rel", "RSeq: 7", sdp=True),
    gets("PRACK"),
    answers(),
    says(200, sdp=True),
    gets("ACK"),
    gets("BYE"),
    answers(),
)
"""RFC 3262: the provisional is reliable."""
CHANGED_BY_CALLER = (
    *EARLY_MEDIA,
    gets("INVITE"),
    answers(sdp=True),
    gets("ACK"),
    gets("UPDATE"),
    answers(sdp=True),
    gets("BYE"),
    answers(),
)
CHANGED_BY_CALLED = (
    *EARLY_MEDIA,
    sends("INVITE", sdp=True),
    gets(100, optional=True),
    gets(200),
    acknowledges(1),
    sends("UPDATE", number=2, sdp=True),
    gets(200),
    sends("BYE", number=3),
    gets(200),
)
CANCELLED = (begins("INVITE"), says(180), gets("CANCEL"), answers(), says(487), gets("ACK"))
REFERRED = (
    begins("REFER"),
    says(202),
    sends(
        "NOTIFY",
        "Event: refer",
        "Subscription-State: active;expires=60",
        number=1,
        body="SIP/2.0 100 Trying",
        kind="message/sipfrag",
    ),
    gets(200),
    sends(
        "NOTIFY",
        "Event: refer",
        "Subscription-State: terminated;reason=noresource",
        number=2,
        body="SIP/2.0 200 OK",
        kind="message/sipfrag",
    ),
    gets(200),
)
MESSAGE = (begins("MESSAGE"), says(200))
