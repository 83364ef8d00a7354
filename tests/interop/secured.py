"""What the tests of TLS and WebSocket share: Alice at a Kamailio reached over one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .kamailio import Binding, Kamailio
from .stored_profile import StoredProfile

ALICE = "sip:alice@example.test"
SHORT_LEASE = 4  # seconds that Kamailio grants where a refresh is waited for

Start = Callable[..., Kamailio]
Add = Callable[..., StoredProfile]


def add_over(add: Add, kamailio: Kamailio, transport: str, tls: dict[str, Any], **changes: Any) -> StoredProfile:
    """Alice, registered over `transport`."""
    registrar = {"uri": kamailio.uri_over(transport), "tls": tls, **changes.pop("registrar", {})}
    if transport in ("ws", "wss"):
        registrar["extensions"] = {"ws-path": "/sip"}
    return add(kamailio, registrar=registrar, **changes)


def the_binding(kamailio: Kamailio, limit: float = 10.0) -> Binding:
    """Alice's only binding, waited for."""
    kamailio.wait_until(lambda: bool(kamailio.bindings(ALICE)), limit, "Alice has a binding")
    (binding,) = kamailio.bindings(ALICE)
    return binding


def transports(kamailio: Kamailio) -> set[str]:
    """Over what REGISTER came."""
    return {register.transport for register in kamailio.register_log()}


def refreshes_on_one_connection(kamailio: Kamailio, profile: StoredProfile) -> None:
    """Registered, then refreshed with the same contact from the same source port, the nonce used again."""
    since = profile.wait(status="registered")["since"]
    kamailio.wait_until(lambda: len(kamailio.register_log()) >= 3, 10.0, "a refresh")
    seen = kamailio.register_log()[:3]
    assert [register.verdict for register in seen] == [-5, 1, 1]
    assert len({register.contact for register in seen}) == 1
    assert len({register.source for register in seen}) == 1
    assert profile.wait(status="registered")["since"] == since


def registers_again_when_the_server_restarts(kamailio: Kamailio, profile: StoredProfile) -> None:
    """The connection is lost with the server; it is noticed at once and a new binding made."""
    first = the_binding(kamailio)
    kamailio.stop()
    profile.wait(status="unregistered", limit=5)
    time.sleep(0.3)
    kamailio.start()
    assert the_binding(kamailio, 20).contact != first.contact
    profile.wait(status="registered")


def deregisters(kamailio: Kamailio, profile: StoredProfile) -> None:
    """A pause removes the binding, on the same connection."""
    before = kamailio.register_log()[-1]
    profile.control("pause")
    kamailio.wait_until(lambda: not kamailio.bindings(ALICE), 5.0, "Alice has no binding")
    last = kamailio.register_log()[-1]
    assert (last.source, last.expires) == (before.source, "0")
    profile.wait(status="unregistered", reason="paused")
