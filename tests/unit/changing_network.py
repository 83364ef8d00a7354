"""Registrations, over UDP and over a connection, of a computer whose addresses change."""

from __future__ import annotations

import pytest
from machine_driver import Driver, server

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import Request

OVER_TCP = server("sip:192.0.2.1;transport=tcp")
HERE, THERE = "198.51.100.1", "198.51.100.2"
SIX = "2001:db8::7"
SETTLED = 2.5  # seconds after which a change has been acted upon and answered


def contacts(request: Request) -> list[str]:
    return list(request.headers("contact"))


def second(key: TransportKey) -> TransportKey:
    return TransportKey(key.protocol, key.host, key.port, generation=1)


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.registered()
    return driver


@pytest.fixture
def connected() -> Driver:
    driver = Driver()
    driver.registered(registrar=OVER_TCP)
    driver.run(60)
    return driver
