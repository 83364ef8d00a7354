"""The application around aiosipua: as little as makes it hold many registrations. Runs in aiosipua's own environment.

Run as `python aiosipua_holder.py PORT COUNT`; it does not end by itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Any

RECEIVE_BUFFER = 4 << 20  # bytes
AT_ONCE = 64  # registrations that are begun and not yet registered
OVERDUE = 4.0  # seconds after which a registration is asked for again; twice as long each time, at most
LONGEST = 32.0
LOOK = 0.02  # seconds between two looks at what is on the way


async def hold(port: int, count: int) -> None:
    from aiosipua import Registration, SipDigestAuth, SipUAC  # type: ignore[import-not-found]
    from aiosipua.transport import UdpSipTransport  # type: ignore[import-not-found]

    waiting: dict[int, float] = {}  # when it is asked for again
    patience: dict[int, float] = {}  # seconds until then
    loop = asyncio.get_running_loop()
    transport = UdpSipTransport(local_addr=("127.0.0.1", _free_port()))
    await transport.start()
    transport._udp_transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    uac = SipUAC(transport)
    transport.on_message = uac.handle_response

    held: list[Any] = []

    def done(number: int) -> None:
        waiting.pop(number, None)
        patience.pop(number, None)
        begin()

    def lost(number: int) -> None:
        waiting[number] = loop.time()

    def begin() -> None:
        while len(held) < count and len(waiting) < AT_ONCE:
            number = len(held) + 1
            one = Registration(
                uac,
                f"sip:user{number}@bench.example",
                ("127.0.0.1", port),
                expires=60,
                auth=SipDigestAuth(f"user{number}", f"secret{number}"),
            )
            one.on_registered = lambda _, number=number: done(number)
            one.on_failed = one.on_expired = lambda *_, number=number: lost(number)
            held.append(one)
            waiting[number] = loop.time() + OVERDUE
            one.register()

    begin()
    while True:
        await asyncio.sleep(LOOK)
        now = loop.time()
        for number in [number for number, due in waiting.items() if due <= now][:AT_ONCE]:
            patience[number] = min(2 * patience.get(number, OVERDUE / 2), LONGEST)
            waiting[number] = now + patience[number]
            held[number - 1].register()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    asyncio.run(hold(int(sys.argv[1]), int(sys.argv[2])))
