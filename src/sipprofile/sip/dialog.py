"""A dialog, or the beginning of one (RFC 3261 §12, RFC 6665 §4.4.1)."""

from __future__ import annotations

from copy import copy

import msgspec

from sipprofile.sip.headers import MAXIMUM_CSEQ, parse_name_addr, split_list
from sipprofile.sip.message import MalformedMessage, Message, Request, Response
from sipprofile.sip.syntax import SipSyntaxError, is_token
from sipprofile.sip.uri import Uri

MAXIMUM_ROUTES = 32  # entries of a Record-Route that are taken; more leads to no dialog that works


class Dialog(msgspec.Struct, gc=False):
    """The state of RFC 3261 §12.1.2. A request that begins a dialog, or needs none, has no remote tag yet."""

    call_id: str
    local_uri: str
    local_tag: str
    remote_uri: str
    target: str
    """The remote target, where the next request goes; at first the request URI."""
    remote_tag: str = ""
    local_cseq: int = 0
    remote_cseq: int = -1
    route_set: tuple[str, ...] = ()
    local_name: str = ""
    """Our display name as it stands in From, quoted where it has to be."""
    flow: int = 0
    """The path that its requests take (RFC 5626 §5.3), 0 = none has been chosen yet."""

    @classmethod
    def called(cls, request: Request, local_tag: str) -> Dialog:
        """The dialog that an answer with ``local_tag`` makes, as the side sees it that was called (§12.1.1).

        Raises SipSyntaxError for a From or To, MalformedMessage for a CSeq that cannot be read.
        """
        caller = parse_name_addr(request.header("from") or "")
        dialog = cls(
            call_id=request.header("call-id") or "",
            local_uri=parse_name_addr(request.header("to") or "").uri,
            local_tag=local_tag,
            remote_uri=caller.uri,
            target=caller.uri,  # until its Contact is read
            remote_tag=caller.params.get("tag") or "",
            remote_cseq=request.cseq()[0],
            route_set=_routes(request),
        )
        dialog._renew_target(request)
        return dialog

    @property
    def established(self) -> bool:
        """Whether the other side has given its tag."""
        return self.remote_tag != ""

    @property
    def from_value(self) -> str:
        """The From of our requests."""
        name = f"{self.local_name} " if self.local_name else ""
        return f"{name}<{self.local_uri}>;tag={self.local_tag}"

    @property
    def to_value(self) -> str:
        """The To of our requests."""
        return f"<{self.remote_uri}>" + (f";tag={self.remote_tag}" if self.remote_tag else "")

    def next_cseq(self) -> int:
        """The number of the next request."""
        self.local_cseq += 1
        return self.local_cseq

    def answered(self, response: Response) -> None:
        """A 2xx: it establishes the dialog, or renews the remote target (§12.1.2, §12.2.1.2)."""
        tag = tag_of(response.header("to"))
        if not self.remote_tag and tag:
            self.remote_tag = tag
            self.route_set = tuple(reversed(_routes(response)))
        self._renew_target(response)

    def branched(self, response: Response) -> Dialog:
        """The dialog that a response to the request makes: one for each branch of a fork (RFC 3261 §12.1.2)."""
        dialog = copy(self)
        dialog.remote_tag = ""
        dialog.answered(response)
        return dialog

    def confirmed(self, response: Response) -> None:
        """The 2xx to the INVITE of an early dialog: its route set is computed anew (RFC 3261 §13.2.2.4)."""
        self.route_set = tuple(reversed(_routes(response)))
        self._renew_target(response)

    def requested(self, request: Request) -> None:
        """A request inside the dialog; the first may establish it, before the 2xx does (RFC 6665 §4.1.2.4)."""
        if not self.remote_tag:
            self.remote_tag = tag_of(request.header("from"))
            self.route_set = _routes(request)
        self._renew_target(request)

    def contains(self, request: Request) -> bool:
        """Whether ``request`` belongs to this dialog, or establishes it."""
        if request.header("call-id") != self.call_id or tag_of(request.header("to")) != self.local_tag:
            return False
        tag = tag_of(request.header("from"))
        return bool(tag) and self.remote_tag in ("", tag)

    def is_next(self, request: Request) -> bool | None:
        """True for a CSeq that goes forward, None for the same one again, False for one that goes back (§12.2.2)."""
        try:
            number, _ = request.cseq()
        except MalformedMessage:
            return False
        if number == self.remote_cseq:
            return None
        if number < self.remote_cseq:
            return False
        self.remote_cseq = min(number, MAXIMUM_CSEQ)
        return True

    def _renew_target(self, message: Message) -> None:
        for line in message.headers("contact"):
            for value in split_list(line):
                try:
                    uri = parse_name_addr(value).uri
                    Uri.parse(uri)
                except SipSyntaxError:
                    continue
                self.target = uri
                return


def tag_of(value: str | None) -> str:
    """The tag of a From or To, empty when there is none that can be read."""
    if value is None:
        return ""
    _, bracket, params = value.partition(">")
    if '"' not in value:  # what nearly all look like
        if bracket and not params:
            return ""
        if params.startswith(";tag=") and is_token(params[5:]):
            return params[5:]
    try:
        return parse_name_addr(value).params.get("tag") or ""
    except SipSyntaxError:
        return ""


def routed(target: str, routes: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The Request-URI and the Route values of a request to ``target`` by way of ``routes`` (RFC 3261 §12.2.1.1).

    A first route without ``lr`` is a strict router: it becomes the Request-URI, and the target the last route.
    """
    if not routes:
        return target, ()
    try:
        first = Uri.parse(parse_name_addr(routes[0]).uri)
    except SipSyntaxError:
        return target, routes
    if first.has_param("lr"):
        return target, routes
    params = tuple(item for item in first.params if item[0] != "method")
    plain = Uri(first.scheme, first.user, first.password, first.host, first.port, params)
    return str(plain), (*routes[1:], f"<{target}>")


def _routes(message: Message) -> tuple[str, ...]:
    routes = [value for line in message.headers("record-route") for value in split_list(line)]
    return tuple(route for route in routes[:MAXIMUM_ROUTES] if route.isprintable())
