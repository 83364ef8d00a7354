"""Whatever is asked and whatever a registrar answers: nothing gets stuck, lost, leaked or sent too often.

The driver checks its invariants (deadlines, owners, rising CSeq, told status) after every step.
"""

from __future__ import annotations

import pytest
from machine_driver import server
from random_world import Play

from sipprofile.registration.registration import IDLE
from sipprofile.registration.request import reg_id

EDGES = [server("sip:192.0.2.7"), server("sip:192.0.2.8")]


@pytest.mark.parametrize("seed", range(40))
def test_anything_may_happen(seed: int) -> None:
    play = Play(seed)
    for _ in range(60):
        play.step()
        play.check()
    play.heal()
    play.outbound = float(seed % 4 > 1)
    driver = play.driver
    if seed % 2:
        driver.stop(deregister=True)
        driver.run(200)
        assert driver.registrations.stopped
        return
    proxies = EDGES if seed % 3 else []
    for number in list(driver.profiles):
        driver.update(number, registrar=server("sip:192.0.2.1"), token_source=None, proxies=proxies)
        driver.hold("", number)
        driver.want(number)
        driver.retry_now(number)
    driver.run(7200)
    play.check()
    for number, profile in driver.profiles.items():
        state = driver.assert_status("registered", number=number)
        assert state.last_error is None
        registration = driver.registrations.by_profile[number]
        several = proxies and play.outbound and reg_id(registration.plan, registration.first)
        assert len(state.flows) == (2 if several else 1), profile
        assert {flow.status for flow in state.flows} == {"registered"}
        driver.disable(number)
    driver.run(400)
    at_rest(play)


def at_rest(play: Play) -> None:
    """Nobody wants anything: nothing is held, and nothing is sent any more."""
    driver = play.driver
    machine = driver.registrations
    assert machine.stopped
    assert all(flow.phase == IDLE and not flow.lease_end for flow in machine.flows.values())
    assert not machine.keepalives
    assert not machine.stun_requests
    assert not machine.requests.outstanding
    assert not machine.requests.by_key
    assert not machine.reachabilities.calls
    assert all(key.protocol == "udp" for key in machine.transports)
    sent = len(driver.sends), len(driver.keepalives), len(driver.requests), len(driver.fetches)
    driver.run(100_000)
    assert sent == (len(driver.sends), len(driver.keepalives), len(driver.requests), len(driver.fetches))
    assert len(machine._timers) < 30
