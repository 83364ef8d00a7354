"""Host names to addresses: the hosts file and DNS with A and AAAA, cached as long as the answers allow."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sipprofile.net.addresses import ipv4_first, is_numeric
from sipprofile.net.hosts import Hosts, WatchedFile

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.message

TIME_LIMIT = 10.0  # seconds for one look-up, all tries and servers included
TRY_TIMEOUT = 2.0  # seconds until a server is asked again, or the next one
SECOND_FAMILY_DELAY = 1.0  # seconds that addresses of one family wait for an answer about the other
MINIMUM_TTL = 1.0  # seconds
MAXIMUM_TTL = 86_400.0
MAXIMUM_NEGATIVE_TTL = 300.0
FAILURE_TTL = 5.0  # RFC 9520 §3.2: failures are kept too, so that a dead server is not asked by everybody
INCOMPLETE_TTL = 30.0  # when only one family was answered
HOSTS_TTL = 60.0  # for the hosts file, which is looked at each time
MAXIMUM_NAMES = 10_000
RESOLV_CONF = "/etc/resolv.conf"


class Resolution(NamedTuple):
    """The addresses of a host, IPv4 first, and for how many seconds they may be used (inf for a numeric host)."""

    addresses: tuple[str, ...]
    ttl: float


class ResolveFailed(Exception):
    """No address. `code` is resolve_not_found, resolve_timeout or resolve_failed.

    `retry_after`: seconds during which asking again gives the same answer.
    """

    def __init__(self, code: str, sentence: str, retry_after: float) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retry_after = retry_after


class _Kept(NamedTuple):
    until: float
    addresses: tuple[str, ...]
    code: str = ""
    sentence: str = ""


class _Answer(NamedTuple):
    """What DNS says about one family."""

    addresses: tuple[str, ...]
    ttl: float


class Resolver:
    """Looks up hosts. One question is asked once at a time, however many wait for its answer."""

    def __init__(
        self, *, nameservers: Sequence[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`nameservers`: numeric addresses, each with ``:port`` if it is not 53; by default the system's."""
        self._nameservers = nameservers
        self._clock = clock
        self._hosts = Hosts()
        self._configuration = WatchedFile(RESOLV_CONF)
        self._dns: dns.asyncresolver.Resolver | None = None
        self._cache: dict[str, _Kept] = {}
        self._questions: dict[str, asyncio.Task[_Kept]] = {}

    async def resolve(self, host: str) -> Resolution:
        """The addresses of a name or numeric host. Raises ResolveFailed, within 10 s."""
        host = host.lower()
        numeric = host.removeprefix("[").removesuffix("]")
        if is_numeric(numeric):
            return Resolution((numeric,), math.inf)
        local = self._hosts.addresses(host.removesuffix("."))
        if local:
            return Resolution(local, HOSTS_TTL)
        kept = self._cache.get(host)
        if kept is None or kept.until <= self._clock():
            question = self._questions.get(host)
            if question is None:
                question = asyncio.get_running_loop().create_task(self._ask(host))
                self._questions[host] = question
                question.add_done_callback(lambda _: self._questions.pop(host, None))
            kept = await asyncio.shield(question)  # one that gives up waiting does not end it for the others
        left = max(0.0, kept.until - self._clock())
        if not kept.addresses:
            raise ResolveFailed(kept.code, kept.sentence, left)
        return Resolution(kept.addresses, left)

    def forget(self) -> None:
        """Drop the cache, for example when the network has changed."""
        self._cache.clear()

    async def _ask(self, host: str) -> _Kept:
        try:
            async with asyncio.timeout(TIME_LIMIT):
                answer = await self._both_families(host)
            kept = _Kept(self._clock() + answer.ttl, answer.addresses)
        except TimeoutError:
            kept = self._failure("resolve_timeout", f"no name server answered about {host!r} in time")
        except ResolveFailed as failed:
            kept = self._failure(failed.code, failed.sentence, failed.retry_after)
        while len(self._cache) >= MAXIMUM_NAMES:
            del self._cache[next(iter(self._cache))]
        self._cache.pop(host, None)
        self._cache[host] = kept
        return kept

    def _failure(self, code: str, sentence: str, ttl: float = FAILURE_TTL) -> _Kept:
        return _Kept(self._clock() + ttl, (), code, sentence)

    async def _both_families(self, host: str) -> _Answer:
        """A and AAAA in parallel. Addresses of one do not wait long for a server that keeps silent on the other."""
        resolver = self._resolver()
        tasks = [asyncio.create_task(_query(resolver, host, kind)) for kind in ("A", "AAAA")]
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            answered = any(task.exception() is None and task.result().addresses for task in done)
            if pending:
                await asyncio.wait(pending, timeout=SECOND_FAMILY_DELAY if answered else None)
            return _joined(host, tasks)
        finally:
            for task in tasks:
                task.cancel()

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """The resolver of dnspython, made anew when resolv.conf has changed. Raises ResolveFailed."""
        import dns.asyncresolver
        import dns.exception
        import dns.nameserver

        if self._nameservers is None:
            if self._configuration.has_changed() or self._dns is None:
                try:
                    self._dns = dns.asyncresolver.Resolver(filename=RESOLV_CONF)
                except (dns.exception.DNSException, OSError) as error:
                    self._dns = None
                    sentence = f"{RESOLV_CONF} names no usable name server: {error}"
                    raise ResolveFailed("resolve_failed", sentence, FAILURE_TTL) from None
                self._dns.use_search_by_default = True
        elif self._dns is None:
            self._dns = dns.asyncresolver.Resolver(configure=False)
            self._dns.nameservers = [
                dns.nameserver.Do53Nameserver(*_host_and_port(server)) for server in self._nameservers
            ]
        self._dns.timeout = TRY_TIMEOUT
        self._dns.lifetime = TIME_LIMIT
        self._dns.cache = None
        return self._dns


async def _query(resolver: dns.asyncresolver.Resolver, host: str, kind: str) -> _Answer:
    """The addresses of one family, none with the negative TTL when the name has none. Raises ResolveFailed."""
    import dns.exception
    import dns.resolver

    try:
        answer = await resolver.resolve(host, kind, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN as error:
        responses = list(error.responses().values())  # type: ignore[no-untyped-call]
        return _Answer((), min(map(_negative_ttl, responses), default=0.0))
    except dns.exception.Timeout:
        raise ResolveFailed("resolve_timeout", f"no name server answered about {host!r} in time", FAILURE_TTL) from None
    except (dns.exception.DNSException, OSError, UnicodeError) as error:
        raise ResolveFailed(
            "resolve_failed", f"the look-up of {host!r} failed: {type(error).__name__}", FAILURE_TTL
        ) from None
    if answer.rrset is None:
        return _Answer((), _negative_ttl(answer.response))
    ttl = answer.chaining_result.minimum_ttl  # of the addresses and of every CNAME on the way
    return _Answer(tuple(record.address for record in answer.rrset), ttl)


def _joined(host: str, tasks: list[asyncio.Task[_Answer]]) -> _Answer:
    """One answer out of the finished ones of both families. Raises ResolveFailed when there is no address."""
    answers = [task.result() for task in tasks if task.done() and task.exception() is None]
    addresses = [address for answer in answers for address in answer.addresses]
    if addresses:
        ttl = min(answer.ttl for answer in answers if answer.addresses)
        limit = MAXIMUM_TTL if len(answers) == len(tasks) else INCOMPLETE_TTL
        return _Answer(ipv4_first(addresses), min(max(ttl, MINIMUM_TTL), limit))
    for task in tasks:
        failure = task.exception() if task.done() else None
        if failure is not None:
            raise failure
    ttl = min(max(min(answer.ttl for answer in answers), MINIMUM_TTL), MAXIMUM_NEGATIVE_TTL)
    sentence = f"{host!r} has no address; check the name"
    raise ResolveFailed("resolve_not_found", sentence, ttl)


def _negative_ttl(response: dns.message.Message) -> float:
    """How long a missing name or type stays missing (RFC 2308 §5), 0 when the server does not say."""
    import dns.rdatatype

    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return float(min(rrset.ttl, rrset[0].minimum))
    return 0.0


def _host_and_port(server: str) -> tuple[str, int]:
    """``192.0.2.1``, ``192.0.2.1:5353``, ``::1`` or ``[::1]:5353``."""
    if is_numeric(server):
        return server, 53
    host, _, port = server.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
