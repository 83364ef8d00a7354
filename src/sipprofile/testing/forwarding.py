"""The proxy in front of the test registrar: requests go on to bindings and contacts (RFC 3261 §16).

To one target it is stateless (§16.11). A request with several bindings forks to all of them at once, and of their
answers one goes back (§16.7): a 2xx at once, the other targets of an INVITE are then cancelled; else the best refusal,
when all have answered.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

import msgspec

from sipprofile.sip.headers import parse_name_addr, split_list
from sipprofile.sip.message import MalformedMessage, Request, Response, build_request
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.uri import Uri
from sipprofile.testing.reply import Reply

Address = tuple[str, int]

MAXIMUM_FORWARDED = 10_000
"""Requests that are remembered for their answers, retransmissions, CANCEL and ACK; the oldest goes first."""
MAXIMUM_PASSED = 1_000
DIALOG_FORMING = frozenset({"INVITE", "SUBSCRIBE", "REFER"})


class Target(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes: its Request-URI there, and the address it is sent to."""

    uri: str
    destination: Address


class _Forwarded(msgspec.Struct, eq=False):
    """One request that went on, by the branch that each target got."""

    request: Request
    sender: Address
    targets: dict[str, Target]
    finals: dict[str, Response] = {}
    winner: str = ""
    """The branch whose 2xx was the first."""


class Forwarding:
    """Requests passed on, and the way back for their responses. ``token`` makes branches."""

    def __init__(self, host: str, token: Callable[[], str]) -> None:
        self.address: Address | None = None
        """Where it listens, when that is known: named in Via and Record-Route in the place of ``host``."""
        self.record_route = True
        """Stay in the path of dialogs (§16.6 step 4); only where :attr:`address` is known."""
        self.passed: deque[Request | Response] = deque(maxlen=MAXIMUM_PASSED)
        """What was passed on, requests as they came in, once for all targets and each retransmission again."""
        self._host = host
        self._token = token
        self._forwarded: OrderedDict[tuple[Address, str], _Forwarded] = OrderedDict()
        self._by_branch: dict[str, _Forwarded] = {}

    def knows(self, request: Request, sender: Address) -> bool:
        """Whether this is a retransmission of a request that went on, its CANCEL, or the ACK to its refusal."""
        return _transaction(request, sender) in self._forwarded

    def onward(
        self, request: Request, targets: Sequence[Target], routes: Sequence[str], sender: Address
    ) -> list[Reply]:
        """``request`` for each target, with a Via of our own; a retransmission goes where the first has gone."""
        self.passed.append(request)
        known = self._forwarded.get(_transaction(request, sender))
        if known is None:
            known = self._remember(request, targets, sender)
        elif request.method == "ACK" and len(known.targets) > 1:
            return []  # each refusal had its own
        return [
            Reply(self._onward(request, target, branch, routes), target.destination)
            for branch, target in known.targets.items()
        ]

    def back(self, response: Response) -> list[Reply] | None:
        """Where ``response`` goes, and what else follows from it; ``None`` when it answers nothing that went on."""
        branch = response.branch() or ""
        known = self._by_branch.get(branch)
        if known is None:
            return None
        if sum(len(split_list(line)) for line in response.headers("via")) < 2:
            return []  # to a CANCEL of ours
        try:
            method = response.cseq()[1]
        except MalformedMessage:
            return []
        several, status = len(known.targets) > 1, response.status
        if not several or method == "CANCEL" or 100 < status < 200:
            return [self._returned(response, known)]
        if status == 100:
            return []  # hop by hop (§16.7 step 5)
        replies: list[Reply] = []
        known.finals[branch] = response
        if status < 300:
            first, known.winner = not known.winner, known.winner or branch
            if method == "INVITE" or known.winner == branch:
                replies.append(self._returned(response, known))
            if method == "INVITE" and first:
                replies += self._cancels(known)
            return replies
        if method == "INVITE":
            replies.append(self._own("ACK", known, branch, response.header("to") or ""))
        if not known.winner and len(known.finals) == len(known.targets):
            best = min(known.finals.values(), key=lambda final: (final.status < 600, final.status))
            replies.append(self._returned(best, known))
        return replies

    def _remember(self, request: Request, targets: Sequence[Target], sender: Address) -> _Forwarded:
        entry = _Forwarded(request, sender, {f"z9hG4bK{self._token()}": target for target in targets})
        if request.method != "ACK":  # one to a 2xx is a transaction of its own, and never answered
            self._forwarded[_transaction(request, sender)] = entry
            self._by_branch.update(dict.fromkeys(entry.targets, entry))
        if len(self._forwarded) > MAXIMUM_FORWARDED:
            _, oldest = self._forwarded.popitem(last=False)
            for branch in oldest.targets:
                self._by_branch.pop(branch, None)
        return entry

    def _onward(self, request: Request, target: Target, branch: str, routes: Sequence[str]) -> bytes:
        lines = [f"{request.method} {target.uri} SIP/2.0", f"Via: {self._via(target, branch)}"]
        if self.address is not None and self.record_route and request.method in DIALOG_FORMING:
            lines.append(f"Record-Route: <sip:{_authority(self.address)};lr>")
        lines += [f"Route: {route}" for route in routes]
        for name, value in request.items():
            if name.lower() == "max-forwards":
                value = str(int(value) - 1) if value.strip().isdecimal() else value
            if name.lower() != "route":
                lines.append(f"{name}: {value}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + request.body

    def _returned(self, response: Response, known: _Forwarded) -> Reply:
        """``response`` without our Via, for the sender of its request."""
        self.passed.append(response)
        lines, ours = [response.start_line], True
        for name, value in response.items():
            if ours and name.lower() in ("via", "v"):
                ours = False
                value = ", ".join(split_list(value)[1:])
                if not value:
                    continue
            lines.append(f"{name}: {value}")
        data = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + response.body
        return Reply(data, known.sender)

    def _cancels(self, known: _Forwarded) -> list[Reply]:
        """For the other targets of an INVITE that one has accepted (§16.7 step 10)."""
        to = known.request.header("to") or ""
        return [self._own("CANCEL", known, branch, to) for branch in known.targets if branch not in known.finals]

    def _own(self, method: str, known: _Forwarded, branch: str, to: str) -> Reply:
        """Our ACK to a refusal (§17.1.1.3), or our CANCEL (§9.1)."""
        request, target = known.request, known.targets[branch]
        number, _ = request.cseq()
        headers = [
            ("Via", self._via(target, branch)),
            ("Max-Forwards", "70"),
            ("From", request.header("from") or ""),
            ("To", to),
            ("Call-ID", request.header("call-id") or ""),
            ("CSeq", f"{number} {method}"),
        ]
        return Reply(build_request(method, target.uri, headers), target.destination)

    def _via(self, target: Target, branch: str) -> str:
        try:
            transport = (Uri.parse(target.uri).transport or "udp").upper()
        except SipSyntaxError:
            transport = "UDP"
        host = self._host if self.address is None else _authority(self.address)
        return f"SIP/2.0/{transport} {host};branch={branch};rport"


def _transaction(request: Request, sender: Address) -> tuple[Address, str]:
    """The same for a request, its retransmissions, its CANCEL and the ACK to its refusal (RFC 3261 §17.2.3)."""
    return sender, request.branch() or f"{request.header('call-id')} {request.header('cseq')}"


def _authority(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def routes_beyond(request: Request, own: Address | None) -> list[str]:
    """The Route values that are left behind this proxy (§16.4): the first, which led here, and others of its own."""
    routes = [value for line in request.headers("route") for value in split_list(line)][1:]
    while routes and own is not None and address_of(routes[0]) == own:
        del routes[0]
    return routes


def address_of(value: str) -> Address | None:
    """The numeric address in a URI or Route value; ``None`` when it has a name, or cannot be read."""
    try:
        uri = Uri.parse(parse_name_addr(value).uri)
    except SipSyntaxError:
        return None
    host = uri.host.removeprefix("[").removesuffix("]")
    if ":" not in host and not host.replace(".", "").isdecimal():
        return None
    return host, uri.port or 5060
