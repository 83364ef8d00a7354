"""A crash in the middle of something: the stored row says no more than what is surely true."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from machine_driver import WALL, Driver, answer, challenge, digest, ok, server, silence

from sipprofile.profile import Profile
from sipprofile.records import NONCE_BLOCK, FlowRecord, NonceRecord, PutProfile
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.registered()
    return driver


class TestDeRegistration:
    """It is on disk that it has begun before it is sent; after a crash nobody trusts the lease."""

    def test_it_waits_for_the_disk(self, driver: Driver) -> None:
        driver.saving = False
        driver.disable()
        driver.assert_status("unregistering")
        driver.assert_quiet()
        driver.saving = True
        driver.save_now()
        assert driver.sent_register().header("expires") == "0"
        driver.run(1)
        driver.assert_status("unregistered", "disabled")

    def test_a_disk_that_takes_nothing_does_not_keep_the_binding(self, driver: Driver) -> None:
        driver.saving = False
        driver.disable()
        driver.run(6)
        assert driver.sent_register().header("expires") == "0"

    def test_after_a_crash_the_lease_is_unknown(self, driver: Driver) -> None:
        driver.disable()
        driver.sent()
        driver.crash()  # the answer was not seen
        driver.assert_status("unregistered", "lease_unknown")
        driver.want()
        assert driver.sent_register().header("expires") == "3600"

    def test_a_challenge_does_not_wait_again(self) -> None:
        driver = Driver()
        driver.registered()
        driver.answers.extend([challenge("n2"), ok()])
        driver.disable()
        driver.saving = False
        driver.run(1)
        assert [request.header("expires") for request in driver.sent()] == ["0", "0"]


class TestAnUpdate:
    """The settings are on disk before anything is sent; the lease in the row may be that of older ones."""

    def changed(self, driver: Driver, **changes: object) -> Request | None:
        """What a restart sends when the crash came right after the save."""
        driver.profiles[1] = msgspec.structs.replace(driver.profiles[1], **changes)
        driver.crash()
        driver.want()
        driver.run(1)
        sent = driver.sent()
        return sent[0] if sent else None

    def test_another_registrar_has_no_binding_yet(self, driver: Driver) -> None:
        driver.profiles[1] = self.moved(driver)
        driver.crash()
        driver.assert_status("unregistered")
        driver.want()
        driver.run(1)
        assert driver.sent_register().uri == "sip:192.0.2.7"
        driver.assert_status("registered")

    def moved(self, driver: Driver) -> Profile:
        return msgspec.structs.replace(driver.profiles[1], registrar=server("sip:192.0.2.7"))

    @pytest.mark.parametrize(
        "changes",
        [{"contact_params": ["q=0.5"]}, {"headers": ["X-Site: 1"]}, {"expires": 1800}, {"contact_user": "alice"}],
        ids=str,
    )
    def test_what_the_registrar_was_not_told_is_told_at_once(self, driver: Driver, changes: dict[str, object]) -> None:
        assert self.changed(driver, **changes) is not None
        driver.assert_status("registered")

    def test_a_row_written_meanwhile_does_not_pretend_it_was_told(self, driver: Driver) -> None:
        driver.always = silence
        driver.update(expires=1800)
        driver.run(40)
        driver.registrations.clock_jumped(WALL + 60, driver.now)
        driver.settle()
        driver.sent()
        driver.always = ok()
        driver.crash(wall_offset=WALL + 60)
        driver.want()
        driver.run(1)
        assert driver.sent_register().header("expires") == "1800"

    @pytest.mark.parametrize(
        "changes",
        [{"name": "other"}, {"registrar": server(password="new")}, {"provider_name": "P"}],
        ids=["name", "password", "provider name"],
    )
    def test_what_is_not_told_to_the_registrar_changes_nothing(
        self, driver: Driver, changes: dict[str, object]
    ) -> None:
        assert self.changed(driver, **changes) is None
        driver.assert_status("registered")


class TestNonceCounts:
    """RFC 7616 §3.4: a count is never used twice."""

    def test_starts_one_after_the_other_take_a_block_each(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "store.db", KeyRing.generate(), synchronous="OFF")
        nonce = NonceRecord("example.test", "n1", "MD5", count_reserved=17)
        flow = FlowRecord(profile=1, call_id="c", cseq_reserved=256, nonces=(nonce,))
        store.commit([PutProfile(Profile(id=1, name="p", aor="sip:a@example.test"), 1, "", (flow,))])
        found = []
        for _ in range(3):
            store.reserve()
            (record,) = store.load()
            found.append(record.flows[0].nonces[0].count_reserved)
        store.close()
        assert found == [17, 17 + NONCE_BLOCK, 17 + 2 * NONCE_BLOCK]

    def test_a_restored_nonce_is_not_used_beyond_its_block(self) -> None:
        driver = Driver()
        driver.always = digest(grant=60)
        driver.registered()
        driver.crash()
        (nonce,) = driver.flow().nonces
        assert nonce.limit == nonce.count + NONCE_BLOCK

    @pytest.mark.parametrize("refreshes", [0, 1, 5, 40])
    def test_however_late_the_disk_is_none_is_used_again(self, refreshes: int) -> None:
        """What is not on disk is not used: then a fresh challenge is asked for."""
        driver = Driver(settings=RegistrationSettings(rate=1000, burst=1000))
        challenges = 0

        def respond(request: Request, _: TransportKey) -> bytes | None:
            nonlocal challenges
            if request.header("authorization") is not None:
                return ok(60)(request, _)
            challenges += 1
            return challenge(f"n{challenges}")(request, _)

        driver.always = respond
        driver.registered()
        for late in (0, refreshes, 40, refreshes):
            driver.run(20 * 36.0)
            driver.saving = False
            for _ in range(late):  # within the lease that the disk knows: of one that is over no nonce is used again
                driver.retry_now()
                driver.run(0.1)
            driver.crash()
            driver.saving = True
            driver.want()
        driver.run(20 * 36.0)
        used = [header for each in driver.sent() if (header := each.header("authorization")) is not None]
        counted = [(value[value.index("nonce=") :][:12], value[value.index("nc=") :][:11]) for value in used]
        assert len(counted) > 100
        assert len(set(counted)) == len(counted)

    def test_a_nonce_that_stays_good_is_used_for_ever(self) -> None:
        """Each half of a block another one is reserved, long before the first is used up."""
        driver = Driver()
        driver.always = digest(grant=60)
        driver.registered()
        driver.run(100 * 36.0)
        assert [request for request in driver.sent()[1:] if request.header("authorization") is None] == []


class TestRefusedWhereEverythingIsRetransmitted:
    """On a slow path each request is sent again before its answer comes; wrong passwords are found out all the same."""

    def test_the_breaker_opens(self) -> None:
        driver = Driver()
        driver.always = challenge("n1")
        driver.add()
        for _ in range(2):
            for _ in range(20):
                flow = driver.flow()
                if flow.outstanding:
                    flow.retransmitted = True
                driver.run(0.01)
            driver.run(100)
        driver.assert_status("unregistered", "credentials_needed")


class TestAConnectionThatOthersLeave:
    """An answer may make others leave the connection it came over; it is dealt with first."""

    @pytest.mark.parametrize("seed", range(4))
    def test_it_stays_open_for_the_answer(self, seed: int) -> None:
        """Who is the canary is chance."""
        driver = Driver(seed=seed)

        def challenges_then_fails(request: Request, key: TransportKey) -> bytes | None:
            failed = request.header("authorization") is not None
            return (answer(503) if failed else challenge("n1"))(request, key)

        driver.hosts = {"192.0.2.1": answer(503), "192.0.2.2": challenges_then_fails}
        tcp = server("sip:192.0.2.1;transport=tcp")
        driver.add(2, registrar=tcp, proxies=[server("sip:192.0.2.2"), tcp])
        driver.run(1)
        driver.add(1, registrar=tcp)
        driver.run(1)
        driver.hosts["192.0.2.1"] = ok()
        driver.run(100)
        driver.assert_status("registered", number=1)
        driver.assert_status("registered", number=2)


class TestATargetThatWasPassedOver:
    def test_who_has_none_left_waits_for_it_too(self) -> None:
        driver = Driver(settings=RegistrationSettings(backoff_base=1000.0, backoff_maximum=4000.0))

        def challenges_then_fails(request: Request, key: TransportKey) -> bytes | None:
            failed = request.header("authorization") is not None
            return (answer(503) if failed else challenge("n1"))(request, key)

        driver.hosts = {"192.0.2.1": answer(503), "192.0.2.2": challenges_then_fails}
        driver.add(1)
        driver.run(1)
        driver.add(2, proxies=[server("sip:192.0.2.2"), server("sip:192.0.2.1")])
        driver.run(1)
        driver.hosts["192.0.2.1"] = ok()
        driver.run(62)  # the next canary at the latest
        driver.assert_status("registered", number=1)
        driver.assert_status("registered", number=2)
