"""A user at the same provider, outside of the service: a scripted SIP peer that registers and proves who it is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from kamailio import DOMAIN, Kamailio
from promise import DidNotHappen

from sipprofile.sip.dialog import Dialog
from sipprofile.sip.message import Request
from sipprofile.testing.peer_server import SipPeerServer

SUMMARY = "application/simple-message-summary"


@contextlib.asynccontextmanager
async def outsider(user: str, password: str, kamailio: Kamailio) -> AsyncIterator[SipPeerServer]:
    """Somebody who is registered while the block runs. Raises DidNotHappen when that is refused."""
    aor = f"sip:{user}@{DOMAIN}"
    next_hop = ("127.0.0.1", kamailio.port)
    async with SipPeerServer(user, aor=aor, next_hop=next_hop, credentials=(user, password)) as peer:
        dialog = Dialog(f"registration-of-{user}", aor, "registration", aor, f"sip:{DOMAIN}")
        contact = [("Contact", f"<{peer.uri}>"), ("Expires", "3600")]
        response = await peer.send("REGISTER", dialog=dialog, headers=contact)
        if response.status != 200:
            raise DidNotHappen(f"{user} is registered: {response.status} {response.reason}")
        yield peer


class Mailbox:
    """The mailbox that ``peer`` keeps: whoever subscribes hears how many messages wait (RFC 3842)."""

    def __init__(self, peer: SipPeerServer) -> None:
        self.peer = peer

    async def tell(self, waiting: int, state: str = "active;expires=3600") -> int:
        """A NOTIFY to the last subscriber; the result is the status of its answer."""
        summary = f"Messages-Waiting: {'yes' if waiting else 'no'}\r\nVoice-Message: {waiting}/0\r\n"
        response = await self.peer.send(
            "NOTIFY",
            dialog=self.peer.peer.dialogs[-1],
            headers=[("Event", "message-summary"), ("Subscription-State", state)],
            body=summary.encode(),
            content_type=SUMMARY,
        )
        return response.status

    async def end(self, waiting: int) -> int:
        """The last NOTIFY to a subscriber who has unsubscribed (RFC 6665 §4.4.1)."""
        status = await self.tell(waiting, "terminated;reason=timeout")
        self.peer.peer.dialogs.pop()
        return status


def user_of(request: Request) -> str:
    """The address in From."""
    return (request.header("from") or "").partition("<")[2].partition(">")[0]


def text_of(request: Request) -> str:
    """The body."""
    return request.body.decode(errors="replace")
