"""Registrars and STUN servers that say how keepalives are to be."""

from __future__ import annotations

import struct
from collections.abc import Callable

from machine_driver import Answer, Driver, ok, reply, server

from sipprofile.registration.actions import TransportKey
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request

REGISTRAR = server("sip:192.0.2.1;transport=tcp")


def accepting(*headers: str, keep: str | None = None) -> Answer:
    """A 2xx with our contact and these headers; ``keep`` is the value of that parameter in our Via."""

    def respond(request: Request, _: TransportKey) -> bytes:
        contact = f"Contact: {request.header('contact')};expires={request.header('expires')}"
        data = reply(request, 200, contact, *headers)
        return data if keep is None else data.replace(b";keep;", b";keep=%s;" % keep.encode(), 1)

    return respond


def mapped(host: str = "203.0.113.5", port: int = 40000) -> Callable[[bytes], bytes]:
    """A STUN server that sees us there."""
    address = b"\0\1" + struct.pack(">H", port) + bytes(map(int, host.split(".")))
    body = b"\0\1\0\x08" + address
    return lambda transaction: struct.pack(">HH", 0x0101, len(body)) + b"\x21\x12\xa4\x42" + transaction + body


def over(protocol: str, answer: Answer | None = None, *, settings: RegistrationSettings | None = None) -> Driver:
    """Registered over ``protocol``, with no keepalive seen yet."""
    driver = Driver(settings=settings)
    driver.always = answer or ok()
    driver.registered(registrar=REGISTRAR if protocol == "tcp" else server(), expires=86_400)
    return driver
