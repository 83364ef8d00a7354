"""The real daemon against SIPp, which plays a registrar with a script and judges the digests itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from running_service import RunningService

from .sipp import Sipp
from .stored_profile import StoredProfile

LEASE = 4  # seconds; the refresh comes after 2 to 2.4 s


@pytest.fixture
def sipp(start_sipp: Callable[..., Sipp]) -> Sipp:
    keys = {"realm": "example.test", "username": "alice", "password": "secret", "expires": str(LEASE)}
    return start_sipp("stale_nonce", keys, limit=20)


@pytest.fixture
def profile(sipp: Sipp, daemon: RunningService) -> Iterator[StoredProfile]:
    registrar = {"uri": sipp.uri, "username": "alice", "password": "secret"}
    document = {"name": "alice", "aor": "sip:alice@example.test", "registrar": registrar, "register": "always"}
    profile = StoredProfile(daemon, document)
    yield profile
    profile.discard()


class TestStaleNonce:
    """RFC 7616 §3.3: stale=true is no rejection; the same credentials go again under the new nonce."""

    def test_goes_on_with_the_new_nonce(self, sipp: Sipp, profile: StoredProfile) -> None:
        first = profile.wait(status="registered")
        assert first["expires_granted"] == LEASE
        # The refresh uses the known nonce, is told that it is stale, and goes on within the same attempt.
        refreshed = profile.wait_until(lambda state: state["lease_ends"] > first["lease_ends"], "a refresh")
        assert (refreshed["status"], refreshed["since"]) == ("registered", first["since"])
        profile.control("pause")
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.successful_calls, verdict.errors) == (0, 1, "")
        profile.wait(status="unregistered", reason="paused")
