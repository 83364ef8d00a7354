"""The transports of all flows: who waits for one, uses it or lives on it; an unused connection is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import keepalive
from .actions import CloseTransport, TransportKey
from .registration import Flow

if TYPE_CHECKING:
    from .registrations import Registrations

FLOW_FAILED = frozenset(("keepalive_lost", "nat_binding_changed"))
"""What a keepalive finds out: nothing that the registrar sends reaches us any more, on UDP too (RFC 5626 §4.4)."""


UNLIMITED = 1 << 30


class Transport:
    """What is known about one transport: its local address once it is open, and who waits for or uses it."""

    __slots__ = (
        "active",
        "bound",
        "heads",
        "heads_show",
        "kept_until",
        "key",
        "limit",
        "local",
        "moved_at",
        "moves",
        "one_contact",
        "public",
        "waiting",
    )

    def __init__(self, key: TransportKey) -> None:
        self.key = key
        """One object for all flows that use it."""
        self.local: tuple[str, int] | None = None
        self.public: tuple[str, int] | None = None
        """How the target sees us, when that is not ``local``; see :mod:`~sipprofile.registration.nat`."""
        self.moves = 0
        """How often in a row ``public`` has changed."""
        self.moved_at = 0.0
        self.one_contact = False
        """The registrar does not take a new Contact together with the removal of the old one."""
        self.limit = UNLIMITED
        """The largest request that goes this way, in bytes; see :mod:`~sipprofile.registration.size`."""
        self.waiting: set[int] = set()
        """Flows that wait for it, or for a token or the disk before they use it."""
        self.active: set[int] = set()
        """Flows with a request on the wire."""
        self.bound: set[int] = set()
        """Flows whose binding lives on this connection (never for UDP, where nothing can close)."""
        self.kept_until = 0.0
        """It is not closed before, though nobody uses it."""
        self.heads: dict[str, bytes] = {}
        """Everything before the branch of a REGISTER, by request URI: the same for all profiles."""
        self.heads_show: tuple[str, int] | None = None
        """The local address in :attr:`heads`."""


def unbind(room: Registrations, flow: Flow) -> None:
    """``flow`` has no binding on its connection any more; an unused connection is closed."""
    keepalive.release(room, flow)
    key = flow.bound
    flow.bound = None
    flow.bound_local = None
    if key is None or key.protocol == "udp":
        return
    transport = room.transports.get(key)
    if transport is not None:
        transport.bound.discard(flow.id)
        close_unused(room, key, transport)


def close_unused(room: Registrations, key: TransportKey, transport: Transport) -> None:
    """Close a connection that nobody uses."""
    if key.protocol != "udp" and not (transport.bound or transport.active or transport.waiting or transport.kept_until):
        del room.transports[key]
        room.act(CloseTransport(key))
