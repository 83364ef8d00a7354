"""What a program does with its requests: it answers early, late or never, calls others, and hangs up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sipprofile.testing.peer import SDP
from sipprofile.testing.simulation.sharing.deliveries import Deliveries
from sipprofile.testing.simulation.sharing.exchanges import EXCHANGE
from sipprofile.testing.simulation.sharing.peers import OFFER, REFUSALS, SENDER
from sipprofile.testing.virtual import VirtualClock

if TYPE_CHECKING:
    from sipprofile.testing.simulation.sharing.programs import Program

NEVER = 0.06  # probability that a request is not answered at all
SLOW = 4.0  # seconds within which the others are
SDP_BODY = {"text": SDP.decode()}


class Conduct:
    """One program's."""

    def __init__(self, program: Program, clock: VirtualClock, deliveries: Deliveries) -> None:
        self._program = program
        self._clock = clock
        self._deliveries = deliveries

    # Requests to it

    def requested(self, event: dict[str, Any]) -> None:
        """Answer, now or later, or never."""
        chosen = self._program.random
        method, label = event["method"], self._program.label
        if chosen.random() < NEVER:
            return
        if event["dialog"] is not None:
            self._later(0.3 * chosen.random(), label, self._in_dialog, event)
            return
        delay = SLOW * chosen.random() ** 3
        if method == "INVITE":
            if chosen.random() < 0.6:
                reliable = "100rel" in dict(event["headers"]).get("Supported", "") and chosen.random() < 0.7
                self._later(0.0, label, self._ring, event, reliable)
            delay += 4.0 * chosen.random()
            refused = chosen.random() < 0.3
        else:
            refused = chosen.random() < 0.2
        status = chosen.choice(REFUSALS) if refused else 202 if method == "REFER" else 200
        self._later(delay, label, self._answer, event, status)

    def _ring(self, event: dict[str, Any], reliable: bool) -> None:
        self._program.respond(event, self._program.random.choice((180, 183)), reliable=reliable)

    def _answer(self, event: dict[str, Any], status: int) -> None:
        method = event["method"]
        if status >= 300:
            self._program.respond(event, status)
        elif method == "INVITE":
            self._program.respond(event, status, self._talk, body=SDP_BODY, content_type=OFFER)
        elif method in ("SUBSCRIBE", "REFER"):
            self._program.respond(event, status, lambda ok: self._notify(ok["dialog"] if ok else None, event))
        else:
            self._program.respond(event, status)

    def _in_dialog(self, event: dict[str, Any]) -> None:
        if event["method"] in ("INVITE", "UPDATE"):
            self._program.respond(event, 200, body=SDP_BODY, content_type=OFFER)
        elif event["method"] == "SUBSCRIBE":
            self._program.respond(event, 200, lambda ok: self._notify(event["dialog"], event))
        else:
            self._program.respond(event, 200)

    def _notify(self, dialog: int | None, event: dict[str, Any]) -> None:
        if dialog is None or not self._program.has(dialog):
            return
        headers = dict(event["headers"])
        members: dict[str, Any] = {}
        if event["method"] == "REFER":
            members = {"body": {"text": "SIP/2.0 200 OK\r\n"}, "content_type": "message/sipfrag"}
            sent = [["Event", "refer"], ["Subscription-State", "terminated;reason=noresource"]]
        else:
            sent = [["Event", headers["Event"]]]
        sent.append([EXCHANGE, self._deliveries.new()])
        self._program.ask("send", dialog=dialog, method="NOTIFY", headers=sent, **members)

    def _talk(self, ok: dict[str, Any] | None) -> None:
        """A call of some length."""
        chosen = self._program.random
        if ok is not None and ok["dialog"] is not None and chosen.random() < 0.5:
            self._later(1.0 + 40.0 * chosen.random(), self._program.label, self._program.end, ok["dialog"])

    # Requests of its own

    def send(self, profile: int, uri: str, target: int) -> None:
        """A request outside of dialogs through ``profile``; ``target`` is that of the other side, 0 = a peer."""
        program, chosen = self._program, self._program.random
        method = chosen.choice(("MESSAGE", "MESSAGE", "INVITE", "INVITE", "SUBSCRIBE", "OPTIONS", "REFER", "PUBLISH"))
        headers = [[EXCHANGE, self._deliveries.new(target)], [SENDER, f"{program.label} {profile}"]]
        members: dict[str, Any] = {}
        if method == "MESSAGE":
            members = {"body": {"text": "hello"}, "content_type": "text/plain"}
        elif method == "INVITE":
            if chosen.random() < 0.8:
                members = {"body": SDP_BODY, "content_type": OFFER}
        elif method == "SUBSCRIBE":
            headers.append(["Event", chosen.choice(("presence", "message-summary"))])
            members = {"refresh": chosen.choice((60, 200))}
        elif method == "REFER":
            headers.append(["Refer-To", "<sip:carol@example.test>"])
        elif method == "PUBLISH":
            headers.append(["Event", "presence"])
            members = {"body": {"text": "here"}, "content_type": "text/plain", "refresh": chosen.choice((60, 200))}

        def sent(ok: dict[str, Any] | None) -> None:
            if ok is None:
                return
            if method == "INVITE" and chosen.random() < 0.3:
                self._later(5.0 * chosen.random(), program.label, self._cancel, ok["request"])
            elif method == "PUBLISH" and chosen.random() < 0.5:
                stop = {"op": "stop-refresh", "request": ok["request"]}
                self._later(60.0 * chosen.random(), program.label, lambda: program.ask(**stop))

        program.ask("send", sent, profile=profile, method=method, uri=uri, headers=headers, **members)

    def in_dialog(self) -> None:
        """Something in one of its dialogs."""
        program, chosen = self._program, self._program.random
        if not program.dialogs:
            return
        dialog = chosen.choice(sorted(program.dialogs))
        method = chosen.choice(("INFO", "INVITE", "UPDATE", "end", "end"))
        if method == "end":
            program.end(dialog)
            return
        members: dict[str, Any] = {} if method == "INFO" else {"body": SDP_BODY, "content_type": OFFER}
        headers = [[EXCHANGE, self._deliveries.new()]]
        program.ask("send", dialog=dialog, method=method, headers=headers, **members)

    def responded(self, event: dict[str, Any]) -> None:
        """A response to a request of its own."""
        if event["final"] and event["status"] < 300 and event["dialog"] is not None:
            if event["body"] is not None and self._program.random.random() < 0.9:  # an offer, perhaps: never a mistake
                self._program.ask("ack", dialog=event["dialog"], body=SDP_BODY, content_type=OFFER)
            self._talk(event)

    def _cancel(self, request: int) -> None:
        self._program.ask("cancel", request=request)

    def _later(self, delay: float, label: str, function: Any, *arguments: Any) -> None:
        """Do something after a while, unless its session is another one by then."""

        def due() -> None:
            if self._program.label == label and self._program.connected:
                function(*arguments)

        self._clock.after(delay, due)
