"""The user agent of all profiles: its transactions and dialogs, and what their parts share (RFC 3261 §6).

What is done with them is in the functions of this package, which take it as their first argument. Nothing here performs
I/O: time comes in as ``now`` (CLOCK_BOOTTIME, seconds), timers and randomness are those of the registrations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..registration.line import Line
from ..registration.profile_line import ProfileLine
from ..registration.registrations import Registrations
from . import answering, inviting
from .incoming import Incoming
from .leg import Leg
from .notifier import Notifiers
from .outgoing import Outgoing
from .publication import Publications
from .server_transactions import ServerTransactions
from .subscription import Subscriptions


class UserAgent:
    """The tables. ``deliver`` is given each request outside of dialogs that somebody should answer."""

    def __init__(
        self,
        room: Registrations,
        deliver: Callable[[Incoming, float], None],
        secret: bytes,
        *,
        answers: int = 200,
        requests: int = 10_000,
    ) -> None:
        """``answers``: how many requests a second that nobody wants are answered; ``requests``: how many others."""
        self.room = room
        self.deliver = deliver
        self.secret = secret
        """Makes To tags that nobody can guess."""
        self.incoming: dict[int, Incoming] = {}
        self.outgoing: dict[int, Outgoing] = {}
        self.legs: dict[int, Leg] = {}
        self.legs_by_dialog: dict[tuple[str, str, str], Leg] = {}
        """By Call-ID, local tag, remote tag."""
        self.local_lines: dict[int, Line] = {}
        """The bridges' lines, by the port that their programs send to; see :class:`~..registration.actions.Listen`."""
        self.server = ServerTransactions(
            room,
            self.incoming.get,
            answers,
            requests,
            partial(answering.trying, self),
            partial(answering.late, self),
            partial(inviting.rung, self),
        )
        self.profile_lines: dict[int, ProfileLine] = {}
        self.subscriptions = Subscriptions()
        self.publications = Publications()
        self.notifiers = Notifiers()

    def new_number(self) -> int:
        """A number for a transaction or a dialog."""
        return self.room.requests.new_number()

    def transactions(self) -> dict[str, int]:
        """How many there are by side, with those that only absorb retransmissions."""
        requests = self.room.requests
        return {"server": len(self.server.by_key), "client": len(requests.outstanding) + len(requests.refusals)}
