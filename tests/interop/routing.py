"""Calls and messages between users through Kamailio: what its script does with them, and what its log says of them.

A request of a user is challenged with 407, a dialled number becomes its user, all contacts ring at once, dialogs are
record-routed, and what is larger than 1300 bytes goes by TCP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

MODULES = """
loadmodule "tm.so"
loadmodule "tmx.so"
udp_mtu=1300
udp_mtu_try_proto=TCP
# one message of 60 kB, and several of them waiting
tcp_rd_buf_size=65535
tcp_conn_wq_max=1048576
tcp_wq_max=10485760
"""

ROUTE = """
    if (!is_method("REGISTER")) route(BETWEEN_USERS);
"""

ROUTES = """
route[BETWEEN_USERS] {
    xlog("L_NOTICE", "ROUTED|$TV(Sn)|$rm|$proto|$si:$sp|$fU|$tU|$ru|$ci|$cs|$bs|$hdr(Route)\\n");
    if (is_method("CANCEL")) {
        if (t_check_trans()) {
            t_relay();
        } else {
            sl_send_reply("481", "Call/Transaction Does Not Exist");
        }
        exit;
    }
    if (has_totag()) {
        if (is_method("ACK") && t_check_trans()) {
            t_relay();
            exit;
        }
        if (!loose_route()) {
            if (!is_method("ACK")) sl_send_reply("404", "Not Record-Routed");
            exit;
        }
        route(ON);
        exit;
    }
    if (is_method("ACK")) exit;
    t_check_trans();
    loose_route();  # a user agent that has us as its outbound proxy says so
    if ($rU == $null) {
        sl_send_reply("200", "OK");
        exit;
    }
    if ($sht(passwords=>$fU) != $null && is_method("INVITE|MESSAGE|REFER|SUBSCRIBE|PUBLISH")) {
        $var(password) = $sht(passwords=>$fU);
        if (!pv_proxy_authenticate("@realm@", "$var(password)", "0")) {
            proxy_challenge("@realm@", "@qop@");
            exit;
        }
        if ($au != $fU) {
            sl_send_reply("403", "Not Your Address");
            exit;
        }
        consume_credentials();
    }
    if (is_method("INVITE|SUBSCRIBE|REFER")) record_route();
    if ($sht(numbers=>$rU) != $null) $rU = $sht(numbers=>$rU);
    if (uri == myself && !lookup("location")) {
        if ($sht(passwords=>$rU) != $null) {
            sl_send_reply("480", "Temporarily Unavailable");
        } else {
            sl_send_reply("404", "Not Found");
        }
        exit;
    }
    route(ON);
    exit;
}

route[ON] {
    t_on_branch("ONWARD");
    t_on_reply("REPLIED");
    if (!t_relay()) sl_reply_error();
}

branch_route[ONWARD] {
    xlog("L_NOTICE", "ONWARD|$T_branch_idx|$rm|$ru|$ci|$cs\\n");
}

onreply_route[REPLIED] {
    xlog("L_NOTICE", "REPLIED|$TV(Sn)|$rs|$rm|$proto|$si:$sp|$ci|$cs|$bs\\n");
}
"""


@dataclasses.dataclass(frozen=True)
class Routed:
    """One request between users as it reached Kamailio, retransmissions included."""

    at: float  # seconds of the wall clock
    method: str
    transport: str
    source: str
    caller: str  # the user of From
    called: str  # the user of To
    uri: str
    call_id: str
    cseq: int
    size: int  # of the body
    route: str


@dataclasses.dataclass(frozen=True)
class Replied:
    """One response that came to Kamailio from whom it had sent a request to, retransmissions included."""

    at: float
    status: int
    method: str
    transport: str
    source: str
    call_id: str
    cseq: int
    size: int


@dataclasses.dataclass(frozen=True)
class Sent:
    """One copy of a request on its way to a contact."""

    branch: int
    method: str
    uri: str
    call_id: str
    cseq: int


def routed(lines: Iterable[list[str]]) -> list[Routed]:
    """The log lines marked ROUTED."""
    return [
        Routed(float(at), method, transport, source, caller, called, uri, call_id, int(cseq), _number(size), route)
        for at, method, transport, source, caller, called, uri, call_id, cseq, size, route in lines
    ]


def replied(lines: Iterable[list[str]]) -> list[Replied]:
    """The log lines marked REPLIED."""
    return [
        Replied(float(at), int(status), method, transport, source, call_id, int(cseq), _number(size))
        for at, status, method, transport, source, call_id, cseq, size in lines
    ]


def sent(lines: Iterable[list[str]]) -> list[Sent]:
    """The log lines marked ONWARD."""
    return [Sent(_number(branch), method, uri, call_id, int(cseq)) for branch, method, uri, call_id, cseq in lines]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0  # "<null>" where there is none
