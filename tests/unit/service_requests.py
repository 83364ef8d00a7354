"""Requests that come to the contact ``token-1`` of a service, and the statuses of what it answers."""

from __future__ import annotations

from service_world import World

from sipprofile.registration.actions import Send, TransportKey

SOURCE = ("192.0.2.1", 5060)
UDP = TransportKey("udp", *SOURCE)
TCP = TransportKey("tcp", *SOURCE)


def request(
    method: str = "OPTIONS",
    uri: str = "sip:token-1@192.0.2.10:5060",
    *extra: str,
    via: str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
    to: str = "<sip:trunk@registrar.test>",
) -> bytes:
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via}",
        "From: <sip:x@registrar.test>;tag=f",
        f"To: {to}",
        "Call-ID: c1",
        f"CSeq: 1 {method}",
        "Contact: <sip:x@192.0.2.1>",
        *extra,
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def arrive(one: World, method: str = "MESSAGE", *headers: str, number: int = 1) -> None:
    via = f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{number}"
    data = request(method, "sip:token-1@192.0.2.10:5060", *headers, via=via).replace(b"c1", f"c{number}".encode())
    one.service.received(data, SOURCE, UDP, one.now)
    one.perform()


def statuses(one: World) -> list[int]:
    """Of the responses that went out."""
    return [int(send.data[8:11]) for send in one.actions if isinstance(send, Send) and send.data[:4] == b"SIP/"]
