"""The two sides of a call through a bridge as SIPp plays them: who calls and who is called, step by step.

Either may be the program behind the bridge, or outside, behind a proxy that stays in the dialog with Record-Route.
A scenario fails when anything comes that its next steps do not name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

SDP = """v=0
o=sipp 1 1 IN IP4 192.0.2.77
s=-
c=IN IP4 192.0.2.77
t=0 0
m=audio 6000 RTP/AVP 8
"""
TAG = "[pid]-[call_number]"
FIRST_CSEQ = 7  # nothing like that of the other leg
KEPT = {
    "via": "Via:",
    "second_via": "Via:",
    "remote": "From:",
    "local": "To:",
    "number": "CSeq:",
    "way": "Record-Route:",
}


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who sends the INVITE, to `target`. Its steps are lines of a scenario."""

    target: str

    @property
    def branch(self) -> str:
        return f"z9hG4bK-{TAG}-invite"

    def invites(self, *headers: str, timer: int = 500, branch: str = "") -> str:
        """`timer`: T1 in milliseconds, 0: it is sent once."""
        lines = self._outside("INVITE", branch or self.branch, *headers, f"Contact: <{CONTACT}>")
        return _sent(lines, SDP, timer)

    def asks(self, method: str, *headers: str, timer: int = 500) -> str:
        """A request outside of dialogs."""
        return _sent(self._outside(method, "[branch]", *headers), "", timer)

    def cancels(self, timer: int = 500) -> str:
        return _sent(self._outside("CANCEL", self.branch), "", timer)

    def acknowledges_refusal(self, tag: str = "[peer_tag_param]") -> str:
        return _sent(self._outside("ACK", self.branch, tag=tag), "", 0)

    def sends(
        self, method: str, number: int, *headers: str, timer: int = 500, sdp: bool = False, branch: str = "[branch]"
    ) -> str:
        """A request in the dialog; `number` is its CSeq counted from the INVITE's, which is 0."""
        lines = [
            f"{method} [next_url] SIP/2.0",
            f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch};rport",
            "[routes]",
            "Max-Forwards: 70",
            f'From: "Caller" <{self.identity}>;tag={TAG}',
            f"To: <{self.target}>[peer_tag_param]",
            "Call-ID: [call_id]",
            f"CSeq: {FIRST_CSEQ + number} {method}",
            *headers,
        ]
        if method in ("INVITE", "UPDATE"):
            lines.append(f"Contact: <{CONTACT}>")
        return _sent(lines, SDP if sdp else "", 0 if method == "ACK" else timer)

    @property
    def identity(self) -> str:
        return "sip:100@[local_ip]:[local_port]"

    def _outside(self, method: str, branch: str, *headers: str, tag: str = "") -> list[str]:
        return [
            f"{method} {self.target} SIP/2.0",
            f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch};rport",
            f'From: "Caller" <{self.identity}>;tag={TAG}',
            f"To: <{self.target}>{tag}",
            "Call-ID: [call_id]",
            f"CSeq: {FIRST_CSEQ} {method}",
            "Max-Forwards: 70",
            *headers,
        ]


@dataclasses.dataclass(frozen=True)
class Called:
    """Who gets the INVITE; `hops`: how many Via headers that has."""

    hops: int

    def invited(self) -> str:
        """The INVITE comes; what responses to it repeat is kept."""
        names = [name for name in KEPT if self.hops > 1 or name not in ("second_via", "way")]
        keeping = "".join(
            f'<ereg regexp=".*" search_in="hdr" header="{KEPT[name]}" '
            f'occurrence="{2 if name == "second_via" else 1}" assign_to="{name}"/>'
            for name in names
        )
        reference = f'<Reference variables="{",".join(names)}"/>'
        return f'<recv request="INVITE" rrs="true"><action>{keeping}</action></recv>{reference}'

    def says(self, status: int, *headers: str, sdp: bool = False, timer: int = 0, tag: str = f";tag={TAG}") -> str:
        """A response to the last INVITE, with `tag` where its To had none; `timer`: it comes again until something
        else comes."""
        behind = ("Via:[$second_via]", "Record-Route:[$way]") if self.hops > 1 else ()
        lines = [
            f"SIP/2.0 {status} Said By SIPp",
            "Via:[$via]",
            *behind,
            "From:[$remote]",
            f"To:[$local]{tag}",
            "Call-ID: [call_id]",
            "CSeq:[$number]",
            f"Contact: <{CONTACT}>",
            *headers,
        ]
        return _sent(lines, SDP if sdp else "", timer)

    def sends(
        self, method: str, number: int, *headers: str, timer: int = 500, sdp: bool = False, branch: str = "[branch]"
    ) -> str:
        """A request of its own in the dialog."""
        lines = [
            f"{method} [next_url] SIP/2.0",
            f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch};rport",
            "[routes]",
            "Max-Forwards: 70",
            f"From:[$local];tag={TAG}",
            "To:[$remote]",
            "Call-ID: [call_id]",
            f"CSeq: {number} {method}",
            *headers,
        ]
        if method in ("INVITE", "UPDATE"):
            lines.append(f"Contact: <{CONTACT}>")
        return _sent(lines, SDP if sdp else "", 0 if method == "ACK" else timer)


CONTACT = "sip:sipp@[local_ip]:[local_port]"


def gets(
    expected: int | str,
    *,
    optional: bool = False,
    route: bool = False,
    then: str = "",
    otherwise: tuple[int, str] | None = None,
    answers: str = "",
    lost: bool = False,
    more: str = "",
) -> str:
    """A response of this status, or a request of this method, comes. `route`: the dialog's route set is its.

    `then`: the label to go on at; `otherwise`: after how many milliseconds, and where, it goes on without it.
    `answers`: the transaction that it must belong to; `lost`: it is not heard.
    """
    kind = "response" if isinstance(expected, int) else "request"
    attributes = {
        kind: expected,
        "optional": "true" if optional else "",
        "rrs": "true" if route else "",
        "next": then,
        "timeout": otherwise[0] if otherwise else "",
        "ontimeout": otherwise[1] if otherwise else "",
        "response_txn": answers,
        "lost": 100 if lost else "",
    }
    text = " ".join(f'{name}="{value}"' for name, value in attributes.items() if value != "")
    return f"<recv {text}>{more}</recv>"


def misses(method: str, milliseconds: int) -> str:
    """Nothing is heard for a while, whatever comes; `method`: what will come."""
    return f'<recv request="{method}" lost="100" timeout="{milliseconds}" ontimeout="gone"/>{label("gone")}{waits(20)}'


def label(name: str) -> str:
    return f'<label id="{name}"/>'


def begins(step: str, transaction: str) -> str:
    """The request of this step has a transaction of this name."""
    return step.replace("<send", f'<send start_txn="{transaction}"', 1)


def ends(step: str, transaction: str) -> str:
    """The ACK of this step is that of a transaction."""
    return step.replace("<send", f'<send ack_txn="{transaction}"', 1)


def goes_on(step: str, at: str) -> str:
    """After this step it goes on at a label."""
    return step.replace("<send", f'<send next="{at}"', 1)


def answers(status: int = 200, *headers: str, sdp: bool = False) -> str:
    """The answer to the request that came last, in the dialog."""
    lines = [
        f"SIP/2.0 {status} Said By SIPp",
        "[last_Via:]",
        "[last_From:]",
        "[last_To:]",
        "[last_Call-ID:]",
        "[last_CSeq:]",
        f"Contact: <{CONTACT}>",
        *headers,
    ]
    return _sent(lines, SDP if sdp else "", 0)


def waits(milliseconds: int) -> str:
    return f'<pause milliseconds="{milliseconds}"/>'


def write(path: Path, *steps: str) -> Path:
    """The scenario as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    begin = f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{path.stem}">'
    path.write_text("\n".join([begin, *steps, "</scenario>", ""]))
    return path


def _sent(lines: Sequence[str], body: str, timer: int) -> str:
    more = ["Content-Type: application/sdp"] if body else []
    text = "\n".join([*lines, *more, "Content-Length: [len]", "", *body.splitlines()])
    repeated = f' retrans="{timer}"' if timer else ""
    return f"<send{repeated}><![CDATA[\n\n{text}\n\n]]></send>"


def caller_of_a_call(caller: Caller, duration: int = 200) -> tuple[str, ...]:
    """Call, talk for `duration` milliseconds, hang up."""
    return (
        caller.invites(),
        gets(100, optional=True),
        gets(180, optional=True),
        gets(200, route=True),
        caller.sends("ACK", 0),
        waits(duration),
        caller.sends("BYE", 1),
        gets(200),
    )


def called_of_a_call(called: Called) -> tuple[str, ...]:
    """Ring, answer, be hung up."""
    return (
        called.invited(),
        called.says(180),
        waits(100),  # Kamailio's processes overtake each other
        called.says(200, sdp=True, timer=500),
        gets("ACK"),
        gets("BYE"),
        answers(),
    )


def message(caller: Caller) -> tuple[str, ...]:
    """One message, and its answer."""
    return caller.asks("MESSAGE"), gets(200)
