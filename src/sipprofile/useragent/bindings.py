"""Asking the registrar for all bindings of an address-of-record: a REGISTER without Contact (RFC 3261 §10.2.3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..registration import requests
from ..registration.line import Line, Way
from ..registration.profile_line import ProfileLine
from ..registration.registrations import Registrations
from ..registration.request import request_uri
from ..registration.requests import ClientRequest
from ..registration.targets import hop_of
from ..sip.dialog import Dialog
from ..sip.message import Response
from .draft import Draft
from .outgoing import Outgoing
from .owner import Owner

if TYPE_CHECKING:
    from .agent import UserAgent

LONGEST_WAIT = 32.0  # seconds for the registrar's rate


class _ToRegistrar:
    """The profile's line without Service-Route, which is not for REGISTER (RFC 3608 §5)."""

    __slots__ = ("_line", "profile")

    def __init__(self, line: ProfileLine) -> None:
        self._line = line
        self.profile = line.profile

    def way(self, room: Registrations, dialog: Dialog, now: float, size: int) -> Way | str:
        way = self._line.way(room, dialog, now, size)
        if isinstance(way, str):
            return way
        flow = room.flows[way.flow]
        plan = room.owner(flow).plan
        hop = hop_of(room, plan, way.key, flow.hop, now)
        dialog.target = request_uri(plan, hop)
        chosen = plan.hops[hop]
        if chosen.route is None:
            routes: tuple[str, ...] = ()
        else:
            routes = (f"<{plan.request_uri}>" if chosen.strict else chosen.route,)
        return Way(way.key, way.local, routes, way.contact, way.flow)

    def authorizations(self, room: Registrations, way: Way, uri: str, method: str, body: bytes) -> str:
        return self._line.authorizations(room, way, uri, method, body)

    def challenged(self, room: Registrations, way: Way, number: int, response: Response, now: float) -> str:
        return self._line.challenged(room, way, number, response, now)


def fetch_bindings(agent: UserAgent, owner: Owner, line: Line, now: float) -> Outgoing:
    """Ask for the bindings; the answer's Contacts are told with ``responded``.

    It is no part of the registration: its Call-ID is another, and nothing changes at the registrar. It waits for the
    registrar's rate as registrations do (``timeout`` when that takes too long). Raises ``not_registered`` or
    ``invalid_state``.
    """
    registration = agent.room.by_profile.get(line.profile) if isinstance(line, ProfileLine) else None
    if registration is None or not isinstance(line, ProfileLine):
        raise SipProfileError("not_registered")
    aor, bits = registration.plan.aor, agent.room.random.getrandbits
    dialog = Dialog(f"{bits(128):032x}", aor, f"{bits(64):016x}", aor, registration.plan.request_uri)
    way = line.way(agent.room, dialog, now, 0)
    if isinstance(way, str):
        raise SipProfileError("not_registered", reason=way)
    outgoing = Outgoing(
        dialog,
        "REGISTER",
        _ToRegistrar(line),
        partial(_heard, agent),
        number=agent.new_number(),
        owner=owner,
        draft=Draft("REGISTER"),
    )
    agent.outgoing[outgoing.number] = outgoing
    agent.room.call_at(now, partial(_send, agent, outgoing, registration.plan.registrar, now + LONGEST_WAIT))
    return outgoing


def _send(agent: UserAgent, outgoing: Outgoing, registrar: str, until: float, now: float) -> None:
    room = agent.room
    if agent.outgoing.get(outgoing.number) is not outgoing:
        return
    pacer = room.pacer(registrar, now)
    if not pacer.try_draw(now):
        if now >= until:
            _heard(agent, outgoing, "timeout", now)
        else:
            again = partial(_send, agent, outgoing, registrar, until)
            room.call_at(max(pacer.next_draw(now), now + 0.1), again)
        return
    code = requests.send(room, outgoing, now)
    if code:
        _heard(agent, outgoing, "not_registered" if code == "too_many" else code, now)


def _heard(agent: UserAgent, request: ClientRequest, result: Response | str, now: float) -> None:
    assert isinstance(request, Outgoing)
    if isinstance(result, Response):
        if result.status == 100:
            return
        request.status = result.status
    if isinstance(result, str) or result.status >= 200:
        agent.outgoing.pop(request.number, None)
    if request.abandoned:
        return
    if isinstance(result, str):
        request.owner.failed(request, result, now)
    else:
        request.owner.responded(request, result, None, now)
