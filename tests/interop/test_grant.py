"""The grant of our own contact among those that a real registrar lists (RFC 3261 §10.2.4, §10.3 step 8)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from .kamailio import Kamailio
from .raw_client import RawClient
from .stored_profile import StoredProfile

OURS = 30  # seconds that we ask for
ANOTHERS = 8  # a phone of the same user

Start = Callable[..., Kamailio]
Add = Callable[..., StoredProfile]


@pytest.mark.pain(6)
@pytest.mark.parametrize("alias", [False, True])
@pytest.mark.parametrize("changes", [{}, {"contact_user": "1001", "instance_id": ""}])
def test_it_is_our_contacts_not_another_ones(
    start_kamailio: Start, add_alice: Add, alias: bool, changes: dict[str, str]
) -> None:
    """Another phone is listed too, with less time; Kamailio adds parameters to every contact where it is told to."""
    kamailio = start_kamailio(alias=alias)
    with RawClient(kamailio.port) as phone:
        phone.register(expires=ANOTHERS)
        assert phone.register("secret", expires=ANOTHERS).status == 200
        profile = add_alice(kamailio, expires=OURS, **changes)
        state = profile.wait(status="registered", reason="none")
        bindings = {binding.call_id == phone.call_id: binding for binding in kamailio.bindings(phone.aor)}
        assert len(bindings) == 2
        assert (";alias=" in bindings[False].contact) is alias
        assert state["expires_granted"] == OURS
        assert state["lease_ends"] - time.time() == pytest.approx(bindings[False].expires, abs=2)
        assert OURS * 0.45 < state["refresh_at"] - time.time() < OURS * 0.6
        profile.control("pause")
        profile.wait(status="unregistered", reason="paused")
        assert [binding.call_id for binding in kamailio.bindings(phone.aor)] == [phone.call_id]
