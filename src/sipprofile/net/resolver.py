"""Record sets: addresses from the hosts file and DNS, SRV and NAPTR from DNS, cached as long as the answers allow."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sipprofile.net.addresses import ipv4_first, is_numeric
from sipprofile.net.hosts import Hosts, WatchedFile
from sipprofile.sip.locating import Naptr, Question, Record, Srv

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.message
    import dns.name

TIME_LIMIT = 10.0  # seconds for one look-up, all tries and servers included
SERVICE_TIME_LIMIT = 3.0  # the same for SRV and NAPTR, which some servers never answer: there is another way
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
    """A record set, addresses IPv4 first, and for how many seconds it may be used (inf for a numeric host)."""

    records: tuple[Record, ...]
    ttl: float


class ResolveFailed(Exception):
    """No such records. `code` is resolve_not_found, resolve_timeout or resolve_failed.

    `retry_after`: seconds during which asking again gives the same answer.
    """

    def __init__(self, code: str, sentence: str, retry_after: float) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retry_after = retry_after


class _Kept(NamedTuple):
    until: float
    records: tuple[Record, ...]
    code: str = ""
    sentence: str = ""


class _Answer(NamedTuple):
    """What DNS says about one name and type."""

    records: tuple[Record, ...]
    ttl: float


class Resolver:
    """Looks up record sets. One question is asked once at a time, however many wait for its answer."""

    def __init__(
        self, *, nameservers: Sequence[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`nameservers`: numeric addresses, each with ``:port`` if it is not 53; by default the system's."""
        self._nameservers = nameservers
        self._clock = clock
        self._hosts = Hosts()
        self._configuration = WatchedFile(RESOLV_CONF)
        self._dns: dns.asyncresolver.Resolver | None = None
        self._cache: dict[Question, _Kept] = {}
        self._questions: dict[Question, asyncio.Task[_Kept]] = {}
        self._network = 0  # counts the calls of forget

    async def resolve(self, question: Question) -> Resolution:
        """The records that were asked for. Raises ResolveFailed, within 10 s."""
        question = Question(question.name.lower(), question.kind)
        local = self._local(question)
        if local is not None:
            return local
        kept = self._cache.get(question)
        while kept is None or kept.until <= self._clock():
            network = self._network
            asking = self._questions.get(question)
            if asking is None:
                asking = asyncio.get_running_loop().create_task(self._ask(question))
                self._questions[question] = asking
                asking.add_done_callback(lambda done: self._asked(question, done))
            kept = await asyncio.shield(asking)  # one that gives up waiting does not end it for the others
            if network == self._network:
                break
            kept = self._cache.get(question)
        left = max(0.0, kept.until - self._clock())
        if not kept.records:
            raise ResolveFailed(kept.code, kept.sentence, left)
        return Resolution(kept.records, left)

    def _local(self, question: Question) -> Resolution | None:
        """What needs no DNS. A name of the hosts file has what is said there, and no other records."""
        if question.kind == "ADDRESS":
            numeric = question.name.removeprefix("[").removesuffix("]")
            if is_numeric(numeric):
                return Resolution((numeric,), math.inf)
        name = _domain(question.name)
        local = self._hosts.addresses(name)
        if not local:
            return None
        if question.kind == "ADDRESS":
            return Resolution(local, HOSTS_TTL)
        raise ResolveFailed("resolve_not_found", f"{name!r} is in the hosts file, which has addresses alone", HOSTS_TTL)

    def forget(self) -> None:
        """The network has changed: drop the cache, and ask anew even what is being asked now."""
        self._cache.clear()
        self._questions.clear()
        self._network += 1
        self._dns = None

    def _asked(self, question: Question, asking: asyncio.Task[_Kept]) -> None:
        if self._questions.get(question) is asking:
            del self._questions[question]

    async def _ask(self, question: Question) -> _Kept:
        name, kind = question.name, question.kind
        network = self._network
        try:
            async with asyncio.timeout(TIME_LIMIT if kind == "ADDRESS" else SERVICE_TIME_LIMIT):
                answer = await (self._both_families(name) if kind == "ADDRESS" else self._services(name, kind))
            kept = _Kept(self._clock() + answer.ttl, answer.records)
        except TimeoutError:
            kept = self._failure("resolve_timeout", f"no name server answered about {name!r} in time")
        except ResolveFailed as failed:
            kept = self._failure(failed.code, failed.sentence, failed.retry_after)
        if network != self._network:
            return kept
        while len(self._cache) >= MAXIMUM_NAMES:
            del self._cache[next(iter(self._cache))]
        self._cache.pop(question, None)
        self._cache[question] = kept
        return kept

    def _failure(self, code: str, sentence: str, ttl: float = FAILURE_TTL) -> _Kept:
        return _Kept(self._clock() + ttl, (), code, sentence)

    async def _services(self, name: str, kind: str) -> _Answer:
        """SRV or NAPTR records. Raises ResolveFailed."""
        answer = await _query(self._resolver(), name, kind)
        if not answer.records:
            ttl = min(max(answer.ttl, MINIMUM_TTL), MAXIMUM_NEGATIVE_TTL)
            raise ResolveFailed("resolve_not_found", f"{name!r} has no {kind} record", ttl)
        return _Answer(answer.records, min(max(answer.ttl, MINIMUM_TTL), MAXIMUM_TTL))

    async def _both_families(self, host: str) -> _Answer:
        """A and AAAA in parallel. Addresses of one do not wait long for a server that keeps silent on the other."""
        resolver = self._resolver()
        tasks = [asyncio.create_task(_query(resolver, host, kind)) for kind in ("A", "AAAA")]
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            answered = any(task.exception() is None and task.result().records for task in done)
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
    """The records of one type, none with the negative TTL when the name has none. Raises ResolveFailed."""
    import dns.exception
    import dns.resolver

    try:
        # Records of a domain are not looked for in others; a name of one label may be of the search list.
        search = False if kind in ("SRV", "NAPTR") and "." in _domain(host) else None
        answer = await resolver.resolve(host, kind, raise_on_no_answer=False, search=search)
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
    return _Answer(tuple(map(_record, answer.rrset)), ttl)


def _domain(name: str) -> str:
    """The domain of a service's name, ``example.com`` for ``_sip._udp.example.com``; any other name as it is."""
    name = name.removesuffix(".")
    while name.startswith("_"):
        name = name.partition(".")[2]
    return name


def _record(record: Any) -> Record:
    """A record of dnspython as the core knows it."""
    kind = record.rdtype.name
    if kind == "SRV":
        return Srv(record.priority, record.weight, record.port, _name(record.target))
    if kind == "NAPTR":
        flags, service = (text.decode("ascii", "replace") for text in (record.flags, record.service))
        return Naptr(record.order, record.preference, flags, service, _name(record.replacement))
    return str(record.address)


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if len(name) > 1 else ""


def _joined(host: str, tasks: list[asyncio.Task[_Answer]]) -> _Answer:
    """One answer out of the finished ones of both families. Raises ResolveFailed when there is no address."""
    answers = [task.result() for task in tasks if task.done() and task.exception() is None]
    addresses = [str(address) for answer in answers for address in answer.records]
    if addresses:
        ttl = min(answer.ttl for answer in answers if answer.records)
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
