"""A bridge: a back-to-back user agent, for signalling alone, between a registration and a local program (RFC 7092).

Each request that comes in on one side goes out on the other, in the other leg when it is inside of a dialog, and what
is answered there is answered here. Calls are joined end to end: SDP, ACK and PRACK are those of the two ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import SipProfileError
from ...sip.message import Message, Request, Response
from ...sip.syntax import decimal
from ...sip.uri import Uri
from ...useragent import client, ending
from ...useragent.draft import Answer, Draft
from ...useragent.outgoing import Outgoing
from ...useragent.responses import MAKES_DIALOG, MAXIMUM_REASON, supports
from ..audit import Asker, Auditor, Direction
from . import drafts, mapping, translations
from .dialogs import DialogName
from .local_line import LocalLine
from .mapping import Side
from .program import Program, alive
from .relay import MOST_HELD, Pairs, Relay
from .statuses import after_error, after_failure, for_program, for_provider

if TYPE_CHECKING:
    from ...profile import Profile
    from ...registration.line import Line
    from ...useragent.agent import UserAgent
    from ...useragent.incoming import Incoming
    from ...useragent.leg import Leg

CALLS = 1_000
REQUESTS = 10_000
"""Under way at once; a subscription counts as a call."""
ASKER = Asker("bridge")
LOST = frozenset(("timeout", "timed_out", "transport_refused"))
"""Codes of failures that say that the other end of a dialog is gone."""

Respond = Callable[["Bridge", int, Answer, float], "Leg | None"]
"""See :meth:`sipprofile.service.delivery.Delivery.respond`."""


class Bridge:
    """The owner of both legs of each call. ``provider`` is the profile's line, :attr:`local` the program's."""

    def __init__(self, agent: UserAgent, profile: Profile, provider: Line, respond: Respond, auditor: Auditor) -> None:
        self.label = ASKER.who
        self._auditor = auditor
        self._agent = agent
        self._provider = provider
        self._respond = respond
        self._program = Program()
        self._relays: dict[int, Relay] = {}
        self._by_outgoing: dict[int, Relay] = {}
        self._pairs = Pairs()
        self._waiting: dict[int, list[Incoming]] = {}
        """Requests in a leg whose other one is not known yet (RFC 6665 §4.4.1: a NOTIFY before the 2xx)."""
        assert profile.bridge is not None
        aor = Uri.parse(profile.aor)
        self.local = LocalLine(profile.id, profile.bridge, aor.user or "bridge", self)
        self.configure(profile)

    def configure(self, profile: Profile) -> None:
        """The profile was changed."""
        assert profile.bridge is not None
        self._settings = profile.bridge
        self._aor = Uri.parse(profile.aor)
        self.local.configure(profile.bridge, self._aor.user or "bridge")

    def __len__(self) -> int:
        """Requests and legs under way."""
        return self.requests + self.legs

    @property
    def requests(self) -> int:
        """How many wait for an answer of the other side, or for the other side."""
        return max(len(self._relays), len(self._by_outgoing)) + sum(len(each) for each in self._waiting.values())

    @property
    def legs(self) -> int:
        """How many are joined: two for each call."""
        return len(self._pairs)

    # -- what the user agent tells ---------------------------------------------------------------------------------

    def requested(self, incoming: Incoming, now: float) -> None:
        """A request from either side."""
        if incoming.leg is not None:
            self._inside(incoming, incoming.leg, now)
            return
        method = incoming.request.method
        if self._is_local(incoming.line):
            if method == "REGISTER":
                answer = self._program.register(self.local, incoming.request, incoming.source, now)
                self._answer(incoming, answer, now)
                return
            if method == "OPTIONS" and "@" not in incoming.request.uri:
                self._answer(incoming, alive(self._is_registered(now)), now)
                return
        if len(self._relays) >= REQUESTS or (method in MAKES_DIALOG and len(self._pairs) >= 2 * CALLS):
            self._answer(incoming, Answer(503, headers=(("Retry-After", "5"),)), now)
            return
        try:
            self._begin(incoming, now)
        except SipProfileError as error:
            self._note(incoming, now, code=error.code)
            self._answer(incoming, Answer(after_error(error.code)), now)

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        """The side that asked does not wait any more."""
        relay = self._relays.pop(incoming.number, None)
        if relay is None:
            return
        relay.wanted = False
        self._note(incoming, now, code=code)
        if relay.outgoing.leg is not None:  # the call stays up, unless it turns out that the other end is gone
            if relay.outgoing.method == "INVITE":
                with contextlib.suppress(SipProfileError):
                    client.cancel(self._agent, relay.outgoing, now)
            return
        self._by_outgoing.pop(relay.outgoing.number, None)
        client.abandon(self._agent, relay.outgoing, now)

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        """The ACK of one end is that of the other, with its body (RFC 3264 §5: a delayed offer)."""
        other = None if incoming.leg is None else self._pairs.other(incoming.leg)
        if other is None:
            return
        if ack is not None:
            headers = self._headers(incoming.line, ack, now)
            self._acknowledge(other, headers, ack.body, ack.header("content-type"), now)

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None:
        """PRACKs are requests here."""

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        """A response of the other side."""
        relay = self._by_outgoing.get(outgoing.number)
        if relay is None or not relay.wanted:
            self._too_late(outgoing, response, leg, now)
            if relay is not None and response.status >= 200:
                self._forget(relay)
                self._after(outgoing, relay, response.status in (408, 481), now)
            return
        if self._must_wait(relay, response):
            if len(relay.held) < MOST_HELD:
                relay.held.append((response, leg))
            return
        self._pass_on(relay, response, leg, now)
        self._after(outgoing, relay, response.status in (408, 481), now)

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        """The other side did not answer."""
        relay = self._by_outgoing.get(outgoing.number)
        if relay is None:
            return
        self._forget(relay)
        if relay.wanted:
            self._note(relay.incoming, now, code=code)
        status = 480 if self._is_local(outgoing.line) else after_failure(code, outgoing.method)
        self._answer(relay.incoming, Answer(status), now)
        self._after(outgoing, relay, code in LOST, now)

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        """One side of a call has ended by itself: so does the other, unless its INVITE is still to be answered."""
        if leg.state != "terminated":
            return
        other = self._pairs.part(leg)
        self._waiting.pop(leg.number, None)
        if other is not None and not self._is_pending(other):
            self._end(other, code, now)

    # -- requests --------------------------------------------------------------------------------------------------

    def _begin(self, incoming: Incoming, now: float) -> None:
        """A request outside of dialogs."""
        request = incoming.request
        side = self._side(now)
        forwards = mapping.max_forwards(request)
        if forwards < 1:
            self._answer(incoming, Answer(483), now)
            return
        if self._is_local(incoming.line):
            self._send_as_allowed(incoming, drafts.to_provider(side, request, forwards, self._peer_of), now)
        elif side.program:
            registered = not self._settings.uri
            draft = drafts.to_program(side, request, forwards, registered, self._peer_of)
            self._send(incoming, self.local, draft, None, now)
        else:
            self._answer(incoming, Answer(480), now)

    def _send_as_allowed(self, incoming: Incoming, tries: list[Draft], now: float) -> None:
        """As the first identity that the profile may take; the last is its own."""
        for draft in tries[:-1]:
            try:
                self._send(incoming, self._provider, draft, None, now)
                return
            except SipProfileError as error:
                if error.code != "identity_refused":
                    raise
        self._send(incoming, self._provider, tries[-1], None, now)

    def _inside(self, incoming: Incoming, leg: Leg, now: float) -> None:
        """A request in one of our dialogs."""
        request = incoming.request
        other = self._pairs.other(leg)
        if request.method == "BYE":
            self._hang_up(incoming, leg, now)
            return
        if other is None:
            self._wait(incoming, leg, now)
            return
        rack = self._rack(leg, request)
        if request.method == "PRACK" and not rack:  # ours alone: the other side's provisional was not a reliable one
            self._answer(incoming, Answer(200), now)
            self._release(leg, now)
            return
        try:
            self._send(incoming, other.line, self._draft_inside(incoming, leg, rack, now), other, now)
        except SipProfileError as error:
            self._answer(incoming, Answer(after_error(error.code)), now)

    def _draft_inside(self, incoming: Incoming, leg: Leg, rack: str, now: float) -> Draft:
        request = incoming.request
        headers = list(self._headers(incoming.line, request, now))
        if request.method == "PRACK":
            headers.append(("RAck", rack))
        elif request.method in ("NOTIFY", "SUBSCRIBE"):
            headers = translations.events(headers, lambda number: self._pairs.referral(leg, number))
        return Draft(
            request.method,
            headers=tuple(headers),
            body=request.body,
            content_type=request.header("content-type"),
            manual=True,
            max_forwards=max(mapping.max_forwards(request), 1),
        )

    def _hang_up(self, incoming: Incoming, leg: Leg, now: float) -> None:
        """A BYE ends one side at once, whatever the other says to it."""
        other = self._pairs.part(leg)
        self._answer(incoming, Answer(200), now)
        self._note(incoming, now, 200)
        if other is None or other.state == "terminated":
            return
        if other.state == "early" and other.initiator:
            return  # the caller has hung up before the answer, so its INVITE was withdrawn: the CANCEL is under way
        request = incoming.request
        draft = Draft(
            "BYE",
            headers=self._headers(incoming.line, request, now),
            body=request.body,
            content_type=request.header("content-type"),
            manual=True,
        )
        self._acknowledge(other, (), b"", None, now)  # the ACK may be lost, and the BYE come first
        try:
            client.send(self._agent, self, other.line, draft, now, other)
        except SipProfileError:
            self._end(other, "dialog_ended", now)

    def _wait(self, incoming: Incoming, leg: Leg, now: float) -> None:
        """The other leg is not known: a NOTIFY was faster than the answer to its SUBSCRIBE, or the other side is
        gone."""
        waiting = self._waiting.setdefault(leg.number, [])
        call_id = leg.dialog.call_id
        begins = any(relay.outgoing.dialog.call_id == call_id for relay in self._by_outgoing.values())
        if incoming.request.method == "NOTIFY" and len(waiting) < MOST_HELD and begins:
            waiting.append(incoming)
            return
        if not waiting:
            del self._waiting[leg.number]
        self._answer(incoming, Answer(481), now)

    def _send(self, incoming: Incoming, line: Line, draft: Draft, leg: Leg | None, now: float) -> None:
        outgoing = client.send(self._agent, self, line, draft, now, leg)
        relay = Relay(incoming, outgoing)
        self._relays[incoming.number] = relay
        self._by_outgoing[outgoing.number] = relay

    # -- responses -------------------------------------------------------------------------------------------------

    def _after(self, outgoing: Outgoing, relay: Relay, lost: bool, now: float) -> None:
        """A request in a dialog is over. ``lost``: the other end knows nothing of it, or is not there any more, which
        ends the call (RFC 3261 §12.2.1.2, RFC 5057 §5.1)."""
        if outgoing.leg is None:
            return
        if outgoing.method == "PRACK" and relay.incoming.leg is not None:
            self._release(relay.incoming.leg, now)
        if lost and outgoing.leg.invite and outgoing.method not in ("SUBSCRIBE", "NOTIFY", "PRACK"):
            self._end(outgoing.leg, "timed_out", now)

    def _must_wait(self, relay: Relay, response: Response) -> bool:
        """Whether a reliable provisional before it has no PRACK yet: each is to be told from the next (RFC 3262 §3)."""
        invitation = relay.incoming.invitation
        if invitation is None or not invitation.provisional or response.status >= 300:
            return False
        return bool(relay.held) or response.status >= 200 or bool(translations.rack_of(response))

    def _pass_on(self, relay: Relay, response: Response, leg: Leg | None, now: float) -> None:
        incoming, status = relay.incoming, response.status
        method = incoming.request.method
        final = status >= 200
        if not final and (method != "INVITE" or status == 100):
            return
        status = (for_program if self._is_local(incoming.line) else for_provider)(status, method)
        rack = "" if final or not supports(incoming.request, "100rel") else translations.rack_of(response)
        answer = Answer(
            status,
            response.reason[:MAXIMUM_REASON] if status == response.status else None,
            headers=self._headers(self._opposite(incoming.line), response, now) + translations.elsewhere(response),
            body=response.body,
            content_type=response.header("content-type"),
            reliable=bool(rack),
            manual=True,
        )
        try:
            ours = self._respond(self, incoming.number, answer, now)
        except SipProfileError:
            self._not_passed(relay, response, leg, now)
            return
        if final:
            self._settle(relay, leg)
            self._note(incoming, now, status)
        if rack and leg is not None and incoming.invitation is not None:
            relay.acknowledges[incoming.invitation.rseq] = rack
        if leg is None or ours is None or status >= 300:
            return
        if self._pairs.other(leg) is not ours:
            self._join(ours, leg, now)
        if method == "REFER":
            self._pairs.refer(ours, incoming.cseq, leg, relay.outgoing.cseq)

    def _not_passed(self, relay: Relay, response: Response, leg: Leg | None, now: float) -> None:
        """The response cannot be sent as it is: without its answer the call must end."""
        if response.status < 200:
            return
        self._settle(relay, None)
        if leg is not None and relay.incoming.request.method == "INVITE" and response.status < 300:
            self._end(leg, "cancelled", now)
        self._answer(relay.incoming, Answer(500), now)

    def _too_late(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        """Another fork was faster, or nobody waits any more: a 2xx to an INVITE is acknowledged, a new dialog ended."""
        if leg is None or outgoing.method != "INVITE" or not 200 <= response.status < 300:
            return
        if outgoing.leg is not None:
            self._acknowledge(leg, (), b"", None, now)
        elif self._pairs.other(leg) is None:
            self._end(leg, "answered_elsewhere", now)

    def _release(self, leg: Leg, now: float) -> None:
        """A provisional was acknowledged: what waited for that goes out, up to the next reliable one."""
        relay = self._relays.get(leg.invite)
        if relay is None:
            return
        while relay.held and not relay.incoming.final:
            response, other = relay.held[0]
            held, relay.held = relay.held, []
            if self._must_wait(relay, response):
                relay.held = held
                return
            self._pass_on(relay, response, other, now)
            relay.held = held[1:]

    # -- both ------------------------------------------------------------------------------------------------------

    def _join(self, ours: Leg, leg: Leg, now: float) -> None:
        """The two sides know each other; what was too fast for that goes on."""
        self._pairs.join(ours, leg)
        for early in self._waiting.pop(leg.number, ()):
            if not early.final:
                self._inside(early, leg, now)

    def _acknowledge(
        self, leg: Leg, headers: tuple[tuple[str, str], ...], body: bytes, content_type: str | None, now: float
    ) -> None:
        """The ACK of a 2xx, in the worst case a plain one."""
        with contextlib.suppress(SipProfileError):
            try:
                client.acknowledge(self._agent, leg, headers, body, content_type, now)
            except SipProfileError:
                client.acknowledge(self._agent, leg, (), b"", None, now)

    def _end(self, leg: Leg, code: str, now: float) -> None:
        """End one side, which is told to the other."""
        if leg.state != "terminated":
            ending.end_leg(self._agent, leg, now, code)

    def _answer(self, incoming: Incoming, answer: Answer, now: float) -> None:
        with contextlib.suppress(SipProfileError):  # nobody waits for it any more
            try:
                self._respond(self, incoming.number, answer, now)
            except SipProfileError:
                self._respond(self, incoming.number, Answer(500), now)

    def _note(self, incoming: Incoming, now: float, status: int = 0, code: str = "") -> None:
        """A line of the audit log, as the provider's side sees it."""
        direction: Direction = "out" if self._is_local(incoming.line) else "in"
        request = incoming.request
        self._auditor.note(ASKER, self.local.profile, direction, request.method, request.uri, now, status, code)

    def _settle(self, relay: Relay, winner: Leg | None) -> None:
        """The final answer went out: other forks belong to nobody."""
        self._forget(relay)
        for leg in relay.outgoing.legs.values():
            if leg is not winner:
                self._pairs.part(leg)

    def _forget(self, relay: Relay) -> None:
        self._relays.pop(relay.incoming.number, None)
        self._by_outgoing.pop(relay.outgoing.number, None)

    def _is_pending(self, leg: Leg) -> bool:
        """Whether the INVITE of an early leg is still to be answered by us or by the other side."""
        return leg.state == "early" and (leg.invite in self._relays or leg.invite in self._by_outgoing)

    def _is_local(self, line: Line) -> bool:
        return line is self.local

    def _opposite(self, line: Line) -> Line:
        return self._provider if self._is_local(line) else self.local

    def _headers(self, line: Line, message: Message, now: float) -> tuple[tuple[str, str], ...]:
        """The headers of what came in on ``line`` for the other side."""
        side = self._side(now)
        to_other = mapping.to_provider if self._is_local(line) else mapping.to_program
        return to_other(side, message, self._peer_of)

    def _side(self, now: float) -> Side:
        program = self._settings.uri or self._program.registered(now)
        registration = self._agent.room.by_profile.get(self.local.profile)
        token = "" if registration is None else registration.plan.contact_user
        return Side(self._settings, self._aor, self.local.port, program, token)

    def _is_registered(self, now: float) -> bool:
        registration = self._agent.room.by_profile.get(self.local.profile)
        return registration is not None and registration.status == "registered"

    def _peer_of(self, name: DialogName) -> DialogName | None:
        leg = self._agent.legs_by_dialog.get((name.call_id, name.local, name.remote))
        other = None if leg is None else self._pairs.other(leg)
        if other is None:
            return None
        dialog = other.dialog
        return DialogName(dialog.call_id, dialog.local_tag, dialog.remote_tag)

    def _rack(self, leg: Leg, request: Request) -> str:
        """The RAck of a PRACK for the other side (RFC 3262 §7.2), empty when nothing there waits for one."""
        rseq = decimal((request.header("rack") or "").partition(" ")[0], 1 << 32)
        relay = self._relays.get(leg.invite)
        return "" if relay is None or rseq is None else relay.acknowledges.get(rseq, "")
