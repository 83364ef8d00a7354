"""Registrations and refreshes in the service core alone: what the counted instructions are those of.

Run as ``python -m benchmarks.workload COUNT REFRESHES compiled|python``. Real service, registrations and parsers; a
registrar that challenges once answers at once, nothing is written.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from random import Random

from sipprofile.agents.ietf import IetfAgent
from sipprofile.profile import Profile, ServerParameters
from sipprofile.records import RESERVED_BLOCK, FlowRecord, ProfileRecord
from sipprofile.registration import native
from sipprofile.registration.actions import OpenTransport, Send, TransportKey
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.service.effects import Effect
from sipprofile.service.service import Service
from sipprofile.service.settings import ServiceSettings

LOCAL = ("127.0.0.1", 5062)
CHALLENGE = b'WWW-Authenticate: Digest realm="bench.example", nonce="%s", algorithm=MD5, qop="auth"'
ANSWER = b"SIP/2.0 %s\r\n%s\r\n%s\r\n%s\r\n%s\r\n%s;tag=registrar\r\n%s\r\nServer: bench\r\nContent-Length: 0\r\n\r\n"
REGISTRAR = TransportKey("udp", "127.0.0.1", 5060)
BATCH = 64  # datagrams a wake-up
NOW = 100.0
LONGEST = 0.4  # seconds in which all have registered, before anything is sent again
REFRESH_AFTER = 3300.0  # seconds after which every lease of an hour is to be refreshed, and none has ended


def registered(count: int) -> Service:
    """A service with ``count`` profiles, all of which have registered."""
    service = Service(
        agents={"ietf": IetfAgent()},
        settings=ServiceSettings(registration=RegistrationSettings(rate=1e9, burst=1e9)),
        random=Random(1),
        now=NOW,
        wall_offset=1e9,
        boot_id="boot",
        next_profile_id=count + 1,
        listens=lambda *_: False,  # as in a daemon without readers of events, beyond what the log has room for
    )
    service.take_in(profiles(count), NOW)
    service.loaded(NOW)
    left = True
    while left:
        left = service.begin(BATCH, NOW)
        _exchange(service, NOW)
    everybody = {("registered", "none", "127.0.0.1:5060"): count}
    while service.counts()["registrations"] != everybody:  # those who waited for the transport go on in turns
        now = service.next_timer()
        assert now is not None
        assert now < NOW + LONGEST
        service.timer(now)
        _exchange(service, now)
    return service


def refresh(service: Service, number: int) -> None:
    """All of them, for the ``number``-th time."""
    now = NOW + number * REFRESH_AFTER
    sent = 0
    while (due := service.next_timer()) is not None and due <= now:
        service.timer(now)
        sent += _exchange(service, now)
    assert sent == sum(service.counts()["registrations"].values())


def _exchange(service: Service, now: float) -> int:
    """Answer what is sent until nothing more is; how many requests there were."""
    sent = 0
    requests = perform(service, service.take(), now)
    while requests:
        sent += len(requests)
        answers = [answer(request) for request in requests]
        requests = []
        for first in range(0, len(answers), BATCH):
            for data in answers[first : first + BATCH]:
                service.received(data, (REGISTRAR.host, REGISTRAR.port), REGISTRAR, now)
            requests += perform(service, service.take(), now)
    return sent


def profiles(count: int) -> Iterator[ProfileRecord]:
    """Stored profiles that are always registered."""
    random = Random(2)
    for number in range(1, count + 1):
        profile = Profile(
            id=number,
            name=f"line{number}",
            aor=f"sip:user{number}@bench.example",
            registrar=ServerParameters(uri="sip:127.0.0.1", username=f"user{number}", password=f"secret{number}"),
            register="always",
            instance_id=f"00000000-0000-4000-8000-{number:012x}",
        )
        call_id, token = f"{random.getrandbits(128):032x}", f"{random.getrandbits(120):030x}"
        yield ProfileRecord(profile, 1, flows=(FlowRecord(number, 1, call_id, RESERVED_BLOCK, token),))


def perform(service: Service, effects: Iterable[Effect], now: float = NOW) -> list[bytes]:
    """Open what is to be opened; the requests that are sent."""
    requests = []
    for effect in effects:
        if isinstance(effect, Send):
            if effect.data.startswith(b"REGISTER "):
                requests.append(effect.data)
        elif isinstance(effect, OpenTransport):
            service.transport_opened(effect.key, LOCAL, now)
            requests += perform(service, service.take(), now)
    return requests


def answer(request: bytes) -> bytes:
    """What the registrar says: a challenge first, then all that was asked for. It must be much cheaper than what is
    measured, so it goes by the order in which our REGISTER has its lines."""
    _, via, _, from_, to, call_id, contact, _, cseq, expires, credentials, *_ = request.split(b"\r\n")
    if credentials.startswith(b"Authorization"):
        status, more = b"200 OK", b"%s;expires=%s" % (contact, expires[9:])
    else:
        status, more = b"401 Unauthorized", CHALLENGE % call_id[-24:]
    return ANSWER % (status, via, from_, call_id, cseq, to, more)


if __name__ == "__main__":
    gc.disable()
    if sys.argv[3] == "python":
        native.module = None
    running = registered(int(sys.argv[1]))
    for turn in range(1, int(sys.argv[2]) + 1):
        refresh(running, turn)
