"""Behind a NAT: what a real registrar shows of us is learned, and settles (RFC 3581)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from running_service import RunningService

from .sipp import Sipp
from .stored_profile import StoredProfile

pytestmark = pytest.mark.pain(12)


class TestMovingNat:
    """SIPp says in each answer that we come from another place."""

    @pytest.fixture
    def sipp(self, start_sipp: Callable[..., Sipp]) -> Sipp:
        return start_sipp("moving_nat", {"expires": "600"}, limit=20)

    @pytest.fixture
    def profile(self, sipp: Sipp, daemon: RunningService) -> Iterator[StoredProfile]:
        document = {
            "name": "alice",
            "aor": "sip:alice@example.test",
            "registrar": {"uri": sipp.uri},
            "register": "always",
        }
        profile = StoredProfile(daemon, document)
        yield profile
        profile.discard()

    def test_it_ends_in_one_contact(self, sipp: Sipp, profile: StoredProfile) -> None:
        state = profile.wait_until(
            lambda state: "203.0.113.3:40003" in (state["registered_contact"] or ""), "the third address"
        )
        assert state["status"] == "registered"
        time.sleep(3.5)
        assert profile.state()["registered_contact"] == state["registered_contact"]
        profile.control("pause")
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.successful_calls) == (0, 1), verdict.errors
        assert "receive timeout" in verdict.errors, "the silence that was waited for"
