"""The sockets for local programs, beside the service's own."""

from __future__ import annotations

import errno
import socket

import pytest
from loops import Runner, Told, both_loops

from sipprofile.net.local_sockets import FIRST_PORT
from sipprofile.net.transports import Transports
from sipprofile.registration.actions import TransportKey


def started(told: Told) -> Transports:
    return Transports(bind=("127.0.0.1",), port=0, **told.callbacks())


@both_loops
def test_what_comes_in_has_the_port_and_answers_leave_from_it(run: Runner) -> None:
    async def main() -> None:
        told = Told()
        transports = started(told)
        await transports.start()
        port = transports.listen("127.0.0.1", 0)
        assert port >= FIRST_PORT
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
            program.bind(("127.0.0.1", 0))
            program.settimeout(5)
            program.sendto(b"hello", ("127.0.0.1", port))
            await told.wait("flush")
            key = TransportKey("udp", "127.0.0.1", program.getsockname()[1], local_port=port)
            assert told.all("received") == [(b"hello", ("127.0.0.1", key.port), key)]
            transports.send(key, b"back")
            assert program.recvfrom(100) == (b"back", ("127.0.0.1", port))
        await transports.stop()

    run(main())


@both_loops
def test_a_program_that_is_gone_is_told_with_its_key(run: Runner) -> None:
    async def main() -> None:
        told = Told()
        transports = started(told)
        await transports.start()
        port = transports.listen("127.0.0.1", 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
            program.bind(("127.0.0.1", 0))
            key = TransportKey("udp", "127.0.0.1", program.getsockname()[1], local_port=port)
        transports.send(key, b"hello")
        await told.wait("failed")
        assert told.all("failed")[0][:2] == (key, "transport_refused")
        await transports.stop()

    run(main())


@both_loops
def test_a_port_belongs_to_one_profile_until_it_is_closed(run: Runner) -> None:
    async def main() -> None:
        transports = started(Told())
        await transports.start()
        port = transports.listen("127.0.0.1", 0)
        assert transports.listen("127.0.0.1", 0) > port
        for host in ("127.0.0.1", "127.0.0.2"):
            with pytest.raises(OSError, match=r".") as refused:
                transports.listen(host, port)
            assert refused.value.errno == errno.EADDRINUSE
        transports.stop_listening(port)
        assert transports.listen("127.0.0.1", port) == port
        await transports.stop()

    run(main())
