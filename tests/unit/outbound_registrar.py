"""A registrar behind edge proxies that does outbound (RFC 5626), and their addresses."""

from __future__ import annotations

import re

import pytest
from machine_driver import Driver, reply, server

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import Request

A, B, C = "192.0.2.11", "192.0.2.12", "192.0.2.13"
EDGES = [server(f"sip:{A};transport=tcp", None), server(f"sip:{B};transport=tcp", None)]
UDP_EDGES = [server(f"sip:{A}", None), server(f"sip:{B}", None)]
KEY_A, KEY_B = TransportKey("tcp", A, 5060), TransportKey("tcp", B, 5060)


def reg_id(request: Request) -> str | None:
    found = re.search(r";reg-id=(\d+)", request.header("contact") or "")
    return found and found[1]


class OutboundRegistrar:
    """Keeps bindings by instance and reg-id (RFC 5626 §6); over hosts in `plain` it does not do outbound.

    As Kamailio does, it removes all other bindings of an instance when one of them comes with another Call-ID.
    """

    def __init__(self) -> None:
        self.bindings: dict[tuple[str, str], str] = {}
        """(To, reg-id, or the URI without one) → Contact."""
        self.calls: dict[tuple[str, str], str | None] = {}
        self.plain: set[str] = set()
        self.more: list[str] = []

    def __call__(self, request: Request, key: TransportKey) -> bytes:
        outbound = key.host not in self.plain and "outbound" in (request.header("supported") or "")
        to = request.header("to") or ""
        for contact in request.headers("contact"):
            uri = contact.partition(">")[0][1:]
            number = reg_id(request)
            binding = (to, number if outbound and number else uri)
            if ";expires=0" in contact or request.header("expires") == "0":
                self.bindings.pop(binding, None)
            else:
                call_id = request.header("call-id")
                if binding in self.bindings and self.calls[binding] != call_id:
                    self.bindings = {key: value for key, value in self.bindings.items() if key[0] != to}
                self.bindings[binding] = contact
                self.calls[binding] = call_id
        listed = [f"{contact};expires=3600" for (owner, _), contact in self.bindings.items() if owner == to]
        headers = [*(f"Contact: {contact}" for contact in listed), *self.more]
        return reply(request, 200, *headers, *(["Require: outbound"] if outbound else []))

    def flows(self) -> list[str]:
        return sorted(number for _, number in self.bindings)


def answer_keepalives(driver: Driver) -> None:
    """As a first hop that does outbound must (RFC 5626 §5.4)."""
    driver.pongs = True
    driver.stun = lambda transaction: b"\x01\x01\x00\x00\x21\x12\xa4\x42" + transaction


@pytest.fixture
def registrar() -> OutboundRegistrar:
    return OutboundRegistrar()


@pytest.fixture
def driver(registrar: OutboundRegistrar) -> Driver:
    driver = Driver()
    driver.always = registrar
    answer_keepalives(driver)
    return driver


@pytest.fixture
def two(driver: Driver) -> Driver:
    """Registered over both edges."""
    driver.registered(proxies=EDGES)
    assert [flow.status for flow in driver.state().flows] == ["registered", "registered"]
    return driver
