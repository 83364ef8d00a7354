"""Digest as registrars use it: SHA-256, short nonces, auth-int, several algorithms, next nonces (RFC 7616, 8760)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from running_service import RunningService
from sipprofile.sip.digest import ha1, verify

from .kamailio import Kamailio
from .sipp import Sipp
from .stored_profile import StoredProfile

LEASE = 4  # seconds; a refresh comes after 2 to 2.4 s

Start = Callable[..., Kamailio]
Add = Callable[..., StoredProfile]


def verified(authorization: str) -> bool:
    """Whether credentials of Alice are right, whatever the counterpart made of them."""
    found = verify(
        authorization, method="REGISTER", ha1=lambda user, realm, algorithm: ha1(algorithm, user, realm, "secret")
    )
    return found is not None and found.username == "alice"


def verdicts(kamailio: Kamailio) -> list[int]:
    """Of every REGISTER, retransmissions left out."""
    seen = {(register.call_id, register.cseq): register.verdict for register in reversed(kamailio.register_log())}
    return list(reversed(seen.values()))


class TestKamailio:
    @pytest.mark.pain(4)
    @pytest.mark.pain(20)
    @pytest.mark.parametrize("say_stale", [False, True])
    def test_sha_256_with_a_nonce_of_three_seconds(
        self, start_kamailio: Start, add_alice: Add, say_stale: bool
    ) -> None:
        """A refresh within the nonce's life is one round trip, one after it two; none is a rejection."""
        kamailio = start_kamailio(algorithm="SHA-256", nonce_expire=3, say_stale=say_stale, max_expires=LEASE)
        profile = add_alice(kamailio)
        since = profile.wait(status="registered")["since"]
        kamailio.wait_until(lambda: verdicts(kamailio).count(1) >= 6, 20, "five refreshes")
        seen = verdicts(kamailio)
        assert seen[:2] == [-5, 1]
        assert set(seen[1:]) == {1, -4}  # nothing but expired nonces
        assert (-4, -4) not in pairwise(seen)  # one extra round trip each
        assert seen.count(-4) >= 2
        assert profile.wait(status="registered", reason="none", last_error=None)["since"] == since
        credentials = kamailio.credentials_log()
        assert credentials
        for value in credentials:
            assert "algorithm=SHA-256" in value
            assert verified(value)
        assert len(kamailio.bindings(kamailio.aor("alice"))) == 1


@pytest.fixture
def add_at(daemon: RunningService) -> Iterator[Callable[[Sipp], StoredProfile]]:
    added: list[StoredProfile] = []

    def add(sipp: Sipp) -> StoredProfile:
        registrar = {"uri": sipp.uri, "username": "alice", "password": "secret"}
        document = {"name": "alice", "aor": "sip:alice@example.test", "registrar": registrar, "register": "always"}
        added.append(StoredProfile(daemon, document))
        return added[-1]

    yield add
    for profile in added:
        profile.discard()


class TestSipp:
    @pytest.mark.pain(20)
    def test_of_several_algorithms_the_strongest_known(
        self, start_sipp: Callable[..., Sipp], add_at: Callable[[Sipp], StoredProfile]
    ) -> None:
        """One header each: an unknown one first, then MD5, then SHA-256; SIPp checks which was taken."""
        sipp = start_sipp("algorithms", {"expires": str(LEASE)}, limit=20)
        add_at(sipp).wait(status="registered", last_error=None)
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.successful_calls, verdict.errors) == (0, 1, "")
        (line,) = [line for line in sipp.messages().splitlines() if line.startswith("Authorization:")]
        value = line.partition(":")[2].strip()
        assert 'nonce="the-one-for-sha-256"' in value
        assert verified(value)

    @pytest.mark.pain(20)
    def test_a_refresh_uses_the_next_nonce_in_one_round_trip(
        self, start_sipp: Callable[..., Sipp], add_at: Callable[[Sipp], StoredProfile]
    ) -> None:
        keys = {"username": "alice", "password": "secret", "expires": str(LEASE)}
        sipp = start_sipp("nextnonce", keys, limit=20)
        profile = add_at(sipp)
        first = profile.wait(status="registered")
        profile.wait_until(lambda state: state["lease_ends"] > first["lease_ends"], "a refresh")
        profile.control("pause")
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.successful_calls, verdict.errors) == (0, 1, "")
        profile.wait(status="unregistered", reason="paused")

    def test_auth_int_alone(self, start_sipp: Callable[..., Sipp], add_at: Callable[[Sipp], StoredProfile]) -> None:
        keys = {"username": "alice", "password": "secret", "expires": "60"}
        sipp = start_sipp("auth_int", keys, limit=20)
        add_at(sipp).wait(status="registered")
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.successful_calls, verdict.errors) == (0, 1, "")
        assert ', opaque="a\\b\\"c"' in sipp.messages()
