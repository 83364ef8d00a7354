"""The short way through an answer to REGISTER that has the form of one which was understood before.

A registrar writes all of its answers alike. When the long way (:mod:`~sipprofile.registration.outcomes`) has dealt with
a challenge or a grant and nothing about it or about its registration was out of the ordinary, the form of the answer is
remembered for the address it came from: each byte of it, but for those that differ from one answer to the next. Those
are our branch, the CSeq number, the nonce, ``opaque``, our contact, the seconds granted, and the value of the headers
that nobody reads. An answer of the same form means the same for another registration as ordinary as that one, so it
needs no parsing and no looking for the many things that it does not say.

The long way is what defines the outcome, and this one is no more than a quick proof that it would do just that: what
differs by a byte, or belongs to a registration with anything unusual about it, takes the long way. That both agree on
whatever may come is a test (``tests/unit/test_plain_answers.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, cast

from msgspec.structs import replace

from ..agents.base import Agent
from ..agents.ietf import IetfAgent
from ..events import NO_REASON
from ..sip.digest import Challenge, Terms
from ..sip.names import CANONICAL_NAMES
from . import keepalive, machine
from .acceptance import bind
from .challenge import credentials_for
from .nat import seen_as
from .rare import USUAL_FLOW, USUAL_REGISTRATION
from .refresh_times import refresh_at
from .registration import IDLE, REGISTER, SENT, Flow, Nonce, Registration
from .state import store, tell
from .transmit import end_transaction, transmit

if TYPE_CHECKING:
    from .registrations import Registrations

MEANING = frozenset(("authentication-info", "flow-timer", "p-associated-uri", "path", "require", "service-route"))
"""Headers that may mean different things for different registrations: answers with them take the long way."""
LONGEST = 1500  # bytes of an answer
ADDRESSES = 256  # of servers whose forms are remembered
KEPT = 3  # forms of challenges from one address, and of grants
FIRST_MISSES, MOST_MISSES = 16, 1024
WORTH = 64  # answers of a form that are worth the half millisecond that it took to learn it

ANYTHING, BRANCH, CSEQ, NONCE, OPAQUE, CONTACT, EXPIRES, INSTANCE = range(1, 9)
"""What differs from one answer of a form to the next; the compiled way (``native/form.c``) counts them likewise."""
Part = bytes | int
"""What is the same in all answers of a form, or one of these."""

_quoted = rb"[!#-\[\]-~]{1,256}"
_branch = rb"z9hG4bK(?P<flow>[0-9a-f]{1,12})\.(?P<random>[0-9a-f]{16})"
_MATCHED_BY = {
    ANYTHING: rb"[^\r]{0,300}",  # matched in half the time of [^\r\n]; line feeds are counted instead
    BRANCH: _branch,
    CSEQ: rb"(?P<cseq>[0-9]{1,9})",
    NONCE: rb"(?P<nonce>" + _quoted + rb")",
    OPAQUE: rb"(?P<opaque>" + _quoted + rb")",
    CONTACT: rb"(?P<contact>[!#-;=?-~]*)",
    EXPIRES: rb"(?P<expires>[0-9]{1,9})",
    INSTANCE: rb"[0-9a-f-]{36}",
}
_is_branch = re.compile(_branch).fullmatch
_is_cseq = re.compile(rb"( *)[0-9]{1,9} REGISTER").fullmatch
_is_contact = re.compile(rb"( *)<([!#-;=?-~]*)>([^,\r\n]*);expires=([0-9]{1,9})(;[^,\r\n]*|)").fullmatch
_are_params = re.compile(rb'(?:;[\w.+~*!%-]+(?:=(?:[\w.+~*!%:\[\]/@-]+|"[^"\\,\r\n]*"))?)*').fullmatch
_instances = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").split
BY_RFC = frozenset((Agent.associated, IetfAgent.associated))


class Forms:
    """The forms of challenges and grants that come from one address."""

    __slots__ = ("challenges", "grants", "misses", "patience")

    def __init__(self) -> None:
        self.challenges: list[Form] = []
        self.grants: list[Form] = []
        self.misses = 0
        """Answers that a form could have been learnt from, since the last one was."""
        self.patience = FIRST_MISSES
        """Misses after which a form is learnt. Doubled when what was learnt was of no use, so that it costs next to
        nothing where all answers differ."""


class Form:
    """What is the same in every answer, and what was true of the registration that it was learnt from."""

    __slots__ = ("hits", "lines", "local", "match", "parts", "quick", "seen", "terms")

    def __init__(
        self,
        parts: tuple[Part, ...],
        lines: int,
        local: tuple[str, int],
        seen: tuple[str, int] | None,
        terms: Terms | None,
    ) -> None:
        self.parts = parts
        self.lines = lines
        self.match = re.compile(
            b"".join([re.escape(part) if isinstance(part, bytes) else _MATCHED_BY[part] for part in parts])
        ).fullmatch
        """Linear, since each of its repetitions ends at a byte that it cannot contain."""
        self.quick: object = None
        """The same for the compiled way, or None."""
        self.local = local
        self.seen = seen
        """Where the server has seen us, by the Via that it sent back."""
        self.terms = terms
        """Of a challenge: all but its nonce."""
        self.hits = 0
        """Answers that had this form since the last one was learnt."""


def ordinary(registration: Registration, flow: Flow) -> bool:
    """Whether nothing about the registration asks for anything but REGISTER, challenge and grant over UDP."""
    plan = registration.plan
    return (
        flow.rare is USUAL_FLOW
        and registration.rare is USUAL_REGISTRATION
        and (registration.wanted or registration.kept)
        and len(registration.flows) == 1
        and flow.purpose == REGISTER
        and flow.key is not None
        and flow.key.protocol == "udp"
        and plan.contact_uri is None
        and plan.token_source is None
        and not plan.gruu
        and type(registration.agent).associated in BY_RFC
    )


def answered(room: Registrations, data: bytes, source: tuple[str, int], now: float) -> bool:
    """Deal with an answer of a known form; false when that is for the long way."""
    forms = room.forms.get(source)
    if forms is None:
        return False
    of_kind = forms.grants if data[8:9] == b"2" else forms.challenges
    for form in of_kind:
        found = form.match(data)
        if found is not None and data.count(b"\n") == form.lines:
            break
    else:
        return False
    number, random, cseq = found.group("flow", "random", "cseq")
    flow = room.flows.get(int(number, 16))
    if flow is None or flow.phase != SENT or flow.cseq != int(cseq):
        return False
    if flow.branch != f"z9hG4bK{number.decode()}.{random.decode()}":
        return False
    registration = room.by_profile.get(flow.profile)
    if registration is None or registration.flows[0] is not flow or not ordinary(registration, flow) or room.stopping:
        return False
    assert flow.key is not None
    transport = room.transports.get(flow.key)
    health = room.health.get(flow.key)
    if transport is None or transport.local != form.local or health is None or health.down or health.canary == flow.id:
        return False
    if now - health.answered_at > room.settings.t2:
        return False  # the first answer after a silence wakes others
    if form.seen is not None and (transport.moves or form.seen != (transport.public or transport.local)):
        return False  # it shows the address of a NAT that was not known
    terms = form.terms
    if terms is None:
        taken = _granted(room, registration, flow, found["contact"], int(found["expires"]), now)
    else:
        if terms.opaque is not None:
            terms = replace(terms, opaque=found["opaque"].decode())
        taken = _challenged(room, registration, flow, Challenge(found["nonce"].decode(), terms), now)
    form.hits += taken
    if form.hits > of_kind[0].hits:
        of_kind.remove(form)
        of_kind.insert(0, form)
    return taken


def _challenged(room: Registrations, registration: Registration, flow: Flow, challenge: Challenge, now: float) -> bool:
    """Answer the first challenge of an attempt that began without credentials."""
    if flow.nonces or flow.rounds or flow.retransmitted:
        return False
    plan, key = registration.plan, flow.key
    credentials = credentials_for(plan, 0, challenge)
    if credentials is None:
        return False
    assert key is not None
    room.health[key].answered_at = now
    end_transaction(room, flow)
    flow.rounds = 1
    flow.nonces = (Nonce(challenge.nonce, challenge.terms, credentials, attempt=flow.attempt),)
    room.pacer(plan.registrar, now).debit(now)
    transmit(room, registration, flow, now)
    machine.rearm(room, registration, flow)
    return True


def _granted(
    room: Registrations, registration: Registration, flow: Flow, contact: bytes, expires: int, now: float
) -> bool:
    """Take the lease."""
    plan, key = registration.plan, flow.key
    seconds = min(plan.expires, expires)  # of equal ones the object that all have
    if contact != flow.contact.encode() or not seconds or flow.sent_at + seconds <= now:
        return False
    assert key is not None
    transport = room.transports[key]
    if flow.shown != (transport.public or transport.local) or flow.local != transport.local:
        return False  # the contact that was granted is out of date already
    room.health[key].answered_at = now
    end_transaction(room, flow)
    is_refresh = registration.status == "registered" and flow.lease_end > 0
    flow.failures = 0
    flow.phase = IDLE
    flow.lease_end = room.same(flow.sent_at + seconds)
    flow.granted = seconds
    flow.refresh_at = refresh_at(room, flow, seconds)
    flow.sent_as = flow.carried
    if flow.identities != plan.aor:
        flow.registered_aors = (plan.aor,)
        room.addresses.learn(registration)
    bind(room, flow)
    if not flow.keepalive:
        keepalive.join(room, flow, now)
    flow.middle = b""
    tell(room, registration, now, NO_REASON, flow=flow, transition=not is_refresh)
    store(room, registration, flow, refreshed=is_refresh)
    if flow.id in room.flows:
        machine.rearm(room, registration, flow)
    return True


class Lesson(NamedTuple):
    """What has to be known about an answer before it is dealt with, to learn from it afterwards."""

    forms: Forms
    branch: bytes


def lesson(
    room: Registrations, registration: Registration, flow: Flow, data: bytes, source: tuple[str, int]
) -> Lesson | None:
    """Whether the form of the answer that is about to be dealt with the long way is worth learning."""
    if flow.retransmitted or (flow.nonces and data[8:9] != b"2") or not ordinary(registration, flow):
        return None
    forms = room.forms.get(source)
    if forms is None:
        if len(room.forms) >= ADDRESSES:
            del room.forms[next(iter(room.forms))]
        forms = room.forms[source] = Forms()
    forms.misses += 1
    return Lesson(forms, flow.branch.encode()) if forms.misses > forms.patience else None


def learn(room: Registrations, registration: Registration, flow: Flow, data: bytes, lesson: Lesson) -> None:
    """Remember the form of ``data``, which was dealt with, if what followed is what follows from such an answer."""
    forms, branch = lesson
    known = forms.challenges + forms.grants
    useful = sum(form.hits for form in known) >= WORTH
    forms.patience = FIRST_MISSES if useful else min(2 * forms.patience, MOST_MISSES)
    forms.misses = 0
    form = _form(room, registration, flow, data, branch)
    if form is None:
        return
    of_kind = forms.challenges if form.terms is not None else forms.grants
    of_kind[:] = sorted((other for other in of_kind if other.parts != form.parts), key=_hits)[: KEPT - 1]
    of_kind.insert(0, form)
    for other in known:
        other.hits = 0


def _hits(form: Form) -> int:
    return -form.hits


def _form(room: Registrations, registration: Registration, flow: Flow, data: bytes, branch: bytes) -> Form | None:
    if not ordinary(registration, flow) or flow.key is None:
        return None
    transport = room.transports.get(flow.key)
    if transport is None or transport.local is None:
        return None
    nonce = None
    if data[8:12] == b"401 " and flow.phase == SENT and len(flow.nonces) == 1:
        nonce = flow.nonces[0]
    elif data[8:12] != b"200 " or flow.phase != IDLE or flow.registered_aors != (registration.plan.aor,):
        return None
    parts = _parts(data, branch, flow.contact, nonce)
    if parts is None:
        return None
    seen = seen_as(_via(data), transport.local)
    if seen is not None and seen != (transport.public or transport.local):
        return None
    form = Form(parts, data.count(b"\n"), transport.local, seen, None if nonce is None else nonce.terms)
    if room.quick is not None:
        form.quick = room.quick.form(parts)
    return form


def _parts(data: bytes, branch: bytes, contact: str, nonce: Nonce | None) -> tuple[Part, ...] | None:
    """What answers of the form of ``data`` consist of. ``None``: it is not so simple."""
    head, _, body = data.partition(b"\r\n\r\n")
    if body or len(data) > LONGEST:
        return None
    start, *lines = head.split(b"\r\n")
    if b"\r" in head.replace(b"\r\n", b"") or b"\n" in head.replace(b"\r\n", b""):
        return None
    parts: list[Part] = [start]
    wanted = {"via", "cseq", "contact" if nonce is None else "www-authenticate"}
    once = wanted | {"content-length"}
    seen: set[str] = set()
    for line in lines:
        spelling, colon, value = line.partition(b":")
        try:
            name = CANONICAL_NAMES[spelling]
        except KeyError:
            return None
        if not colon or name in seen or name in MEANING or name.startswith("proxy-"):
            return None
        of_value: list[Part] | None = [ANYTHING]
        if name in once:
            seen.add(name)
            of_value = _line(name, value, branch, contact, nonce)
        if of_value is None:
            return None
        parts += [b"\r\n" + spelling + colon, *of_value]
    return tuple(_joined([*parts, b"\r\n\r\n"])) if wanted <= seen else None


def _joined(parts: list[Part]) -> Iterator[Part]:
    """The same with what is next to each other in one."""
    for of_bytes, group in groupby(parts, lambda part: isinstance(part, bytes)):
        if of_bytes:
            yield b"".join(cast("Iterator[bytes]", group))
        else:
            yield from group


def _line(name: str, value: bytes, branch: bytes, contact: str, nonce: Nonce | None) -> list[Part] | None:
    """What the values of a header that is read consist of."""
    if name == "via":
        before, ours, after = value.partition(b";branch=" + branch)
        simple = ours and after[:1] in (b"", b";") and b"branch=" not in before + after
        if not simple or b"," in value or b'"' in value or b";keep=" in value or _is_branch(branch) is None:
            return None
        return [before + b";branch=", BRANCH, after]
    if name == "cseq":
        number = _is_cseq(value)
        return None if number is None else [number.group(1), CSEQ, b" REGISTER"]
    if name == "contact":
        return _contact(value, contact)
    if name == "www-authenticate" and nonce is not None:
        return _challenge(value, nonce)
    return [value]


def _contact(value: bytes, contact: str) -> list[Part] | None:
    """What Contact consists of when it has ours alone."""
    listed = _is_contact(value) if value.lower().count(b"expires") == 1 else None
    if listed is None or listed[2] != contact.encode():
        return None
    blanks, _, before, _, after = listed.groups()
    if not (_are_params(before) and _are_params(after)):
        return None
    if b"reg-id" in (before + after + b";").lower().replace(b";reg-id=1;", b";", 1):
        return None  # who offers outbound takes it for another flow's, who does not takes it for his own
    return [blanks + b"<", CONTACT, b">", *_params(before), b";expires=", EXPIRES, *_params(after)]


def _params(params: bytes) -> list[Part]:
    """Who has another instance has the same form all the same."""
    first, *others = _instances(params)
    parts: list[Part] = [first]
    for other in others:
        parts += [INSTANCE, other]
    return parts


def _challenge(value: bytes, nonce: Nonce) -> list[Part] | None:
    """What WWW-Authenticate consists of when it has one nonce."""
    parts: list[Part] = [value]
    for name, kind, given in ((b"nonce", NONCE, nonce.text), (b"opaque", OPAQUE, nonce.terms.opaque)):
        count = value.lower().count(name)
        if given is None and not count:
            continue
        text = name + b'="' + (given or "").encode("utf-8", "surrogateescape") + b'"'
        before, ours, _ = value.partition(text)
        if not given or not ours or before[-1:] not in (b" ", b",") or count != 1:
            return None
        at, part = next((at, part) for at, part in enumerate(parts) if isinstance(part, bytes) and text in part)
        before, _, after = part.partition(text)
        parts[at : at + 1] = [before + name + b'="', kind, b'"' + after]
    return parts


def _via(data: bytes) -> str:
    """The value of the only Via header."""
    for line in data.split(b"\r\n")[1:]:
        spelling, _, value = line.partition(b":")
        if CANONICAL_NAMES[spelling] == "via":
            return value.decode("utf-8", "surrogateescape").strip(" \t")
    return ""
