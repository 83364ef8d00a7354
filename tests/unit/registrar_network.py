"""A world in which a registrar answers at once."""

from __future__ import annotations

from random import Random
from typing import Any

from service_world import World

from sipprofile.registration.actions import OpenTransport, Resolve, Send
from sipprofile.testing.registrar import Faults, Registrar

AOR = "sip:alice@example.test"
ADDRESS = "192.0.2.1"
LOCAL = ("192.0.2.10", 5060)
PASSWORD = "wonder-s3cret"


class Network(World):
    """A world in which a registrar answers at once and nothing gets lost."""

    def __init__(self) -> None:
        self.registrar = Registrar("example.test", {"alice": PASSWORD}, random=Random(2), faults=Faults())
        self.sent = 0
        super().__init__()

    def perform(self) -> None:
        self.perform_actions(self._act)

    def _act(self, action: Any) -> None:
        if isinstance(action, Resolve):
            if action.question.kind == "ADDRESS":
                self.service.resolved(action.question, (ADDRESS,), 60.0, self.now)
            else:
                self.service.resolve_failed(action.question, "resolve_not_found", 60.0, self.now)
        elif isinstance(action, OpenTransport):
            self.service.transport_opened(action.key, LOCAL, self.now)
        elif isinstance(action, Send):
            self.sent += bool(action.data.strip())  # keepalives do not count
            for reply in self.registrar.receive(action.data, LOCAL, self.now):
                self.service.received(reply.data, (ADDRESS, 5060), action.key, self.now)

    def bindings(self) -> int:
        return len(self.registrar.bindings(AOR, self.now))
