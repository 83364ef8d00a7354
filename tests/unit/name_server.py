"""A small DNS server on 127.0.0.1, and a resolver that asks it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from sipprofile.net.resolver import ResolveFailed, Resolver
from sipprofile.sip.locating import Question

SOA = "ns.example.test. admin.example.test. 1 3600 600 86400 {minimum}"


class NameServer(asyncio.DatagramProtocol):
    """Answers from a table; what is not in it does not exist."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], dns.rrset.RRset] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.silent: set[str] = set()
        """Record types that get no answer."""
        self.broken = False
        self.negative: tuple[int, int] | None = (600, 120)
        """TTL and minimum of the SOA in negative answers."""
        self.was_asked = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()
        self.transport: asyncio.DatagramTransport
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, name: str, ttl: int, kind: str, *values: str) -> None:
        self.records[name + ".", kind] = dns.rrset.from_text(name + ".", ttl, "IN", kind, *values)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2))
        response = self._response(dns.message.from_wire(await reader.readexactly(length)))
        wire = response.to_wire(max_size=65535)
        writer.write(len(wire).to_bytes(2) + wire)
        await writer.drain()
        writer.close()

    async def _answer(self, data: bytes, source: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        self.was_asked.set()
        if kind in self.silent:
            return
        await self.hold.wait()
        response = self._response(query)
        try:
            wire = response.to_wire(max_size=1232)
        except dns.exception.TooBig:
            response = dns.message.make_response(query)
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        self.transport.sendto(wire, source)

    def _response(self, query: dns.message.Message) -> dns.message.Message:
        [question] = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        alias = self.records.get((name, "CNAME"))
        if alias is not None:
            response.answer.append(alias)
            name = alias[0].target.to_text()
        found = self.records.get((name, kind))
        if found is not None:
            response.answer.append(found)
        elif not self.broken:
            if not any(known == name for known, _ in self.records):
                response.set_rcode(dns.rcode.NXDOMAIN)
            if self.negative is not None:
                ttl, minimum = self.negative
                text = SOA.format(minimum=minimum)
                response.authority.append(dns.rrset.from_text("example.test.", ttl, "IN", "SOA", text))
        return response


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, Resolver, Clock]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    clock = Clock()
    port = transport.get_extra_info("sockname")[1]
    yield server, Resolver(nameservers=[f"127.0.0.1:{port}"], clock=clock), clock
    transport.close()


async def failure(names: Resolver, host: str) -> tuple[str, float]:
    with pytest.raises(ResolveFailed) as caught:
        await names.resolve(Question(host))
    assert host in caught.value.sentence
    return caught.value.code, caught.value.retry_after
