"""One REGISTER on the wire: a non-INVITE client transaction (RFC 3261 §17.1.2), timers E and F on the flow itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Plan
from . import bearer, nat, size
from .challenge import authorizations, cnonce_of, drop_used_up
from .changes import sent_as
from .options import offered
from .registration import DEREGISTER, REMOVE_OLD, RESERVING, SENT, Flow, Registration
from .request import contact_uri, head, middle, own_contact, reg_id, request_uri
from .state import store
from .transport import Transport

if TYPE_CHECKING:
    from .registrations import Registrations

RESERVE_LIMIT = 5.0  # seconds after which a reservation of CSeq numbers is asked for again
RESERVE_AHEAD = 32  # CSeq numbers left when the next block is asked for
HEADS_KEPT = 1000


def transmit(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Send the request that the flow's purpose asks for; the CSeq number it uses is reserved on disk before.

    A ghost's row is gone or is its successor's, so it reserves nothing: it needs few numbers, and never again.
    """
    if room.quick is not None and room.quick.transmit(room, registration, flow, now):
        return
    plan, rare = registration.plan, flow.rare
    leaves = flow.purpose == DEREGISTER and flow.lease_end > 0 and not rare.leaving
    if (leaves or flow.cseq >= flow.cseq_reserved) and not registration.ghost:
        flow.phase = RESERVING
        flow.ends_at = now + RESERVE_LIMIT
        room.arm(flow, flow.ends_at)
        store(room, registration, flow)
        return
    if plan.token_source is not None and not bearer.ready(room, registration, flow, now):
        return
    assert flow.key is not None
    transport = room.transports[flow.key]
    assert transport.local is not None
    flow.cseq += 1
    if flow.cseq_reserved - flow.cseq == RESERVE_AHEAD:
        store(room, registration, flow)
    prepared = _prepared(room, registration, flow, transport, now)
    rare = flow.rare
    uri = rare.redirect_uri or (request_uri(plan, rare.hop) if rare.hop or plan.hops[0].strict else plan.request_uri)
    if flow.nonces:
        drop_used_up(flow)
    credentials = authorizations(flow, uri, cnonce_of(room)) if flow.nonces else ""
    if rare.bearer is not None:
        credentials += bearer.authorizations(room, registration, flow)
    if flow.purpose == REMOVE_OLD:
        expires = ""
    else:
        expires = f"Expires: {0 if flow.purpose == DEREGISTER else asked(registration, flow)}\r\n"
    flow.branch = branch = f"z9hG4bK{flow.id:x}.{room.random.getrandbits(64):016x}"
    # A realm goes back as it came, hence the surrogates.
    last = f"{flow.cseq} REGISTER\r\n{expires}{credentials}Content-Length: 0\r\n\r\n".encode("utf-8", "surrogateescape")
    flow.outstanding = head_of(plan, uri, transport) + branch.encode() + prepared + last
    way: Transport | None = transport
    if len(flow.outstanding) > transport.limit:
        way = size.carrier_of(room, flow, transport, now)
    if way is not None:
        put(room, flow, way, now)


def put(room: Registrations, flow: Flow, way: Transport, now: float) -> None:
    """Put the flow's request on the wire, by the transport of its target or by the connection that carries it."""
    key, t1 = way.key, room.settings.t1
    flow.phase = SENT
    flow.sent_at = now
    flow.interval = t1
    flow.retransmitted = False
    flow.ends_at = now + 64 * t1  # timer F
    flow.retransmit_at = at = now + t1 if key.protocol == "udp" else 0.0
    identity = flow.id
    way.waiting.discard(identity)
    if not way.waiting:
        way.waiting.clear()  # gives back the memory of the most there have ever been
    way.active.add(identity)
    if flow.rare.carrier is not None and flow.key is not None:
        target = room.transports[flow.key]
        target.waiting.discard(identity)
        target.active.add(identity)
    room.register_sent += 1
    room.send(key, flow.outstanding)
    room.arm(flow, at or flow.ends_at)


def asked(registration: Registration, flow: Flow) -> int:
    """The lease to ask for: the profile's, or what a 423 demanded."""
    return max(registration.plan.expires, flow.rare.minimum_expires)


def _prepared(room: Registrations, registration: Registration, flow: Flow, transport: Transport, now: float) -> bytes:
    """The constant part, with the Contact that the purpose is about."""
    plan = registration.plan
    assert flow.key is not None
    old = _removals(flow) if flow.rare.old_contact and not flow.rare.outbound else ()
    if flow.purpose == REMOVE_OLD:
        return _middle(room, plan, flow, old)
    if flow.purpose == DEREGISTER and flow.contact:
        return _middle(room, plan, flow, (f"{own_contact(plan, flow.contact, reg_id(plan, flow))};expires=0", *old))
    local = transport.local
    shown = local if transport.public is None else nat.shown(registration, flow, transport)
    assert shown is not None
    if not flow.middle or flow.local != local or flow.shown != shown:
        contact = contact_uri(plan, flow.key, shown)
        if contact != flow.contact:
            if not flow.rare.old_contact and (flow.lease_end > 0 or flow.rare.unknown_until > now):
                flow.old_contact = flow.contact
            flow.contact = contact
        removed: tuple[str, ...] = ()
        if flow.rare.old_contact:  # a learned address may change back: nothing is set and removed in one request
            flow.old_contact = " ".join(uri for uri in flow.rare.old_contact.split() if uri != contact)
            # With outbound it is replaced by its reg-id, and that URI may be another flow's by now.
            if nat.replaces(flow, transport) and not flow.rare.outbound:
                removed = _removals(flow)
        flow.middle = _middle(room, plan, flow, (own_contact(plan, contact, reg_id(plan, flow)), *removed))
        flow.local = local
        flow.shown = shown
        if flow.planned is not plan:
            flow.planned = plan
            flow.carried = sent_as(plan)
    return flow.middle


def _removals(flow: Flow) -> tuple[str, ...]:
    return tuple(f"<{uri}>;expires=0" for uri in flow.old_contact.split())


def _middle(room: Registrations, plan: Plan, flow: Flow, contacts: tuple[str, ...]) -> bytes:
    hop = flow.rare.redirect or plan.hops[flow.rare.hop]
    call_id = flow.call_id
    tag = f"{call_id[:12]}{flow.id:x}"
    return middle(plan, hop, call_id, tag, contacts, room.settings.user_agent, offered(plan, flow))


def head_of(plan: Plan, uri: str, transport: Transport) -> bytes:
    key, local = transport.key, transport.local
    assert local is not None
    if plan.contact_uri is not None:  # a flow that nobody calls us on is not kept alive
        return head(uri, key, local, keep="")
    if transport.heads_show is not local:
        transport.heads = {}
        transport.heads_show = local
    known = transport.heads.get(uri)
    if known is None:
        if len(transport.heads) >= HEADS_KEPT:
            transport.heads = {}
        known = transport.heads[uri] = head(uri, key, local)
    return known


def end_transaction(room: Registrations, flow: Flow) -> None:
    """The transaction is over, one way or another; a later answer finds nobody."""
    if flow.rare.carrier is not None:
        size.leave(room, flow)
    flow.branch = ""
    flow.outstanding = b""
    flow.retransmit_at = 0.0
    flow.ends_at = 0.0
    if flow.key is not None:
        transport = room.transports.get(flow.key)
        if transport is not None:
            transport.active.discard(flow.id)
            if not transport.active:
                transport.active.clear()  # gives back the memory of the most there have ever been
