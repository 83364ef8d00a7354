"""What happens to the new binding while the old one of a changed profile is removed."""

from __future__ import annotations

import pytest
from machine_driver import Driver, server, silence


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.registered()
    driver.sent()
    return driver


def sent(driver: Driver) -> list[tuple[str, str | None]]:
    """Where requests went, and the expiry they asked for."""
    return [(key.host, request.header("expires")) for _, key, request in driver.sends]


class TestTheSameAorAtAnotherRegistrar:
    """Two URIs may name one registrar: there the removal of the old binding removes the new one too."""

    def test_it_is_registered_once_more(self, driver: Driver) -> None:
        driver.sends.clear()
        driver.update(registrar=server("sip:192.0.2.2"))
        driver.run(1)
        assert sent(driver) == [("192.0.2.2", "3600"), ("192.0.2.1", "0"), ("192.0.2.2", "3600")]
        driver.assert_status("registered")
        assert not driver.registrations.ghosts

    def test_also_when_the_removal_is_not_answered(self, driver: Driver) -> None:
        driver.hosts["192.0.2.1"] = silence
        driver.sends.clear()
        driver.update(registrar=server("sip:192.0.2.2"))
        driver.run(40)
        assert sent(driver)[-1] == ("192.0.2.2", "3600")
        assert len(driver.sends) == 3

    def test_not_when_it_is_not_wanted_any_more(self, driver: Driver) -> None:
        driver.hosts["192.0.2.1"] = silence
        driver.update(registrar=server("sip:192.0.2.2"))
        driver.run(1)
        driver.want(1, False)
        driver.run(1)
        driver.sends.clear()
        driver.run(100)
        assert sent(driver) == []


def test_another_aor_is_registered_once(driver: Driver) -> None:
    driver.sends.clear()
    driver.update(aor="sip:moved@192.0.2.1")
    driver.run(1)
    assert sent(driver) == [("192.0.2.1", "3600"), ("192.0.2.1", "0")]
