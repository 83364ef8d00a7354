"""The ceiling: the same two round trips by a bare loop, with nothing that makes a service.

No parser, no store, no timers, no events, one password hash per registration: what is left is Python and the kernel.
Run as `python -m benchmarks.ceiling PORT COUNT CORE`; prints its CPU seconds.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time

HOST = "127.0.0.1"
IN_FLIGHT = 64


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def request(number: int, port: int, local: int, cseq: int, credentials: str) -> bytes:
    return (
        f"REGISTER sip:{HOST}:{port} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {HOST}:{local};rport;branch=z9hG4bK{number:x}.{cseq}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:user{number}@bench.example>;tag=a\r\nTo: <sip:user{number}@bench.example>\r\n"
        f"Call-ID: {number:032x}\r\nContact: <sip:{number:030x}@{HOST}:{local}>\r\nCSeq: {cseq} REGISTER\r\n"
        f"Expires: 60\r\n{credentials}Content-Length: 0\r\n\r\n"
    ).encode()


def answer(number: int, port: int, response: bytes) -> str:
    start = response.index(b'nonce="') + 7
    nonce = response[start : response.index(b'"', start)].decode()
    start = response.index(b'realm="') + 7
    realm = response[start : response.index(b'"', start)].decode()
    uri = f"sip:{HOST}:{port}"
    ha1 = md5(f"user{number}:{realm}:secret{number}")
    digest = md5(f"{ha1}:{nonce}:00000001:abcdef:auth:{md5(f'REGISTER:{uri}')}")
    return (
        f'Authorization: Digest username="user{number}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
        f'response="{digest}", qop=auth, nc=00000001, cnonce="abcdef"\r\n'
    )


def register(port: int, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((HOST, 0))
        udp.connect((HOST, port))
        udp.settimeout(5.0)
        local = udp.getsockname()[1]
        begun = registered = 0
        while registered < count:
            while begun < count and begun - registered < IN_FLIGHT:
                begun += 1
                udp.send(request(begun, port, local, 1, ""))
            response = udp.recv(65535)
            if response.startswith(b"SIP/2.0 2"):
                registered += 1
                continue
            start = response.index(b"z9hG4bK") + 7
            number = int(response[start : response.index(b".", start)], 16)
            udp.send(request(number, port, local, 2, answer(number, port, response)))


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[3])})
    before = time.process_time()
    register(int(sys.argv[1]), int(sys.argv[2]))
    print(time.process_time() - before)
