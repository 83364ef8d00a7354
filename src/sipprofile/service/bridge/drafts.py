"""What a request outside of dialogs becomes on the other side of a bridge."""

from __future__ import annotations

import msgspec

from ...sip.message import Request
from ...useragent.draft import Draft
from . import mapping
from .dialogs import Peer
from .mapping import Side


def to_program(side: Side, request: Request, forwards: int, registered: bool, peer: Peer) -> Draft:
    """A request of the provider for the program. Its To, with the number that was dialled, stays as it is."""
    return Draft(
        request.method,
        mapping.request_uri(side, request, registered),
        to=mapping.address(request.header("to")),
        identity=mapping.address(request.header("from")) or f"sip:anonymous@{mapping.ANONYMOUS}",
        display_name=mapping.display_name(request),
        headers=mapping.to_program(side, request, peer),
        body=request.body,
        content_type=request.header("content-type"),
        manual=True,
        max_forwards=forwards,
    )


def to_provider(side: Side, request: Request, forwards: int, peer: Peer) -> list[Draft]:
    """A request of the program for the provider: as each identity that it asks for, in order, and then as the AOR."""
    to = mapping.address(request.header("to"))
    draft = Draft(
        request.method,
        mapping.outward(side, request.uri),
        to=None if to is None else mapping.outward(side, to),
        display_name=mapping.display_name(request),
        anonymous=mapping.is_anonymous(request),
        headers=mapping.to_provider(side, request, peer),
        body=request.body,
        content_type=request.header("content-type"),
        manual=True,
        max_forwards=forwards,
    )
    wanted = [msgspec.structs.replace(draft, identity=identity) for identity in mapping.identities(side, request)]
    return [*wanted, draft]
