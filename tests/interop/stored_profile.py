"""A profile of a running service, seen and changed over its HTTP interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from running_service import RunningService

from .kamailio import Kamailio

WAIT_LIMIT = 10.0  # seconds


class StoredProfile:
    """A profile of `daemon`, made from `document` when the object is."""

    def __init__(self, daemon: RunningService, document: dict[str, Any]) -> None:
        self._daemon = daemon
        self.name = str(document["name"])
        answer = daemon.request("POST", "/v1/profiles", document)
        assert answer.status == 201, answer.document
        self._path = f"/v1/profiles/{answer.document['id']}"

    def document(self) -> dict[str, Any]:
        return dict(self._daemon.request("GET", self._path).document)

    def state(self) -> dict[str, Any]:
        """What the service says of the registration."""
        return dict(self.document()["registration"])

    def patch(self, **changes: object) -> dict[str, Any]:
        """Save changes; the result is the new document."""
        answer = self._daemon.request("PATCH", self._path, changes)
        assert answer.status == 200, answer.document
        return dict(answer.document)

    def control(self, verb: str) -> None:
        """force-disable, pause, resume or retry-now."""
        answer = self._daemon.request("POST", f"{self._path}/{verb}")
        assert answer.status == 200, answer.document

    def history(self) -> list[dict[str, Any]]:
        """Its last transitions, the oldest first."""
        return list(self._daemon.request("GET", f"{self._path}/history").document["history"])

    def test(self) -> list[dict[str, Any]]:
        """The steps of an explanation."""
        answer = self._daemon.request("POST", f"{self._path}/test")
        assert answer.status == 200, answer.document
        return list(answer.document["steps"])

    def remove(self) -> int:
        """The HTTP status of its removal."""
        return self._daemon.request("DELETE", self._path).status

    def discard(self) -> None:
        """Remove it, whoever uses it and whether it is still there or not; its binding stays."""
        self._daemon.request("POST", f"{self._path}/force-disable")
        self.remove()

    def wait(self, limit: float = WAIT_LIMIT, **expected: object) -> dict[str, Any]:
        """The state as soon as it has these members; `reason` stands for its code."""

        def as_expected(state: dict[str, Any]) -> bool:
            return {**state, "reason": state["reason"]["code"]}.items() >= expected.items()

        return self.wait_until(as_expected, str(expected), limit)

    def wait_until(
        self, condition: Callable[[dict[str, Any]], bool], what: str, limit: float = WAIT_LIMIT
    ) -> dict[str, Any]:
        """The first state that fulfils `condition`; AssertionError naming `what` after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not condition(state := self.state()):
            assert time.monotonic() < deadline, f"not within {limit} s: {what}; it is {state}"
            time.sleep(0.02)
        return state


def alice(kamailio: Kamailio, **changes: Any) -> dict[str, Any]:
    """Alice's profile at `kamailio`, registered at once, with `changes`; those to `registrar` are merged."""
    registrar = {"uri": kamailio.uri, "username": "alice", "password": "secret", **changes.pop("registrar", {})}
    document = {"name": "alice", "aor": kamailio.aor("alice"), "registrar": registrar, "register": "always"}
    return {**document, **changes}
