"""A SIP registrar without I/O for tests, demonstrations and simulations (RFC 3261 §10.3), and a proxy (§16)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sipprofile.sip.dialog import tag_of
from sipprofile.sip.headers import parse_name_addr, parse_via, split_list
from sipprofile.sip.message import (
    MalformedMessage,
    Request,
    Response,
    build_request,
    build_response,
    parse,
    validate_request,
)
from sipprofile.sip.stun import is_stun
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.uri import Uri
from sipprofile.testing.authentication import Authentication, Verdict
from sipprofile.testing.faults import Faults
from sipprofile.testing.forwarding import Address, Forwarding, Target, address_of, routes_beyond
from sipprofile.testing.listing import headers_of
from sipprofile.testing.location import Binding, Location, Refused, canonical_aor, requested_expires
from sipprofile.testing.outbound import offers_outbound
from sipprofile.testing.reply import Reply, on_the_way
from sipprofile.testing.retransmissions import Answer, Retransmissions
from sipprofile.testing.stun import binding_response

__all__ = ["Binding", "Faults", "Registrar", "Reply", "Seen"]

MAXIMUM_LOG = 100_000


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One request that reached the registrar, and what it answered."""

    now: float
    method: str
    aor: str
    """Canonical, or '' when it could not be read."""
    call_id: str
    cseq: int
    contact: str
    """The URI of the first contact, '*', or ''."""
    expires: int | None
    """The wish for the first contact, None without contact."""
    authorized: bool
    status: int
    """The final status answered, 0 when nothing was."""
    retransmission: bool = False


class Registrar:
    """A registrar for any domain whose users are `users` (username to password), and a proxy between them.

    A user may bind the address-of-record whose user part is the username, or the username's part before '@'.
    Other requests than REGISTER go on: to the bindings of the address-of-record they are for, to the binding or the
    numeric address that is their Request-URI (which is how requests in dialogs come), or along their Route values. What
    went on is in `passed`.

    What `users` and `faults` contain may be changed at any time. Nothing here reads a clock: `now` is any
    rising number of seconds, and all randomness is that of `random`.
    """

    def __init__(
        self,
        realm: str = "example.test",
        users: Mapping[str, str] | None = None,
        *,
        random: random.Random,
        faults: Faults | None = None,
    ) -> None:
        self.realm: Final = realm
        self.users: Final = dict(users or {})
        self.faults: Final = Faults() if faults is None else faults
        self.log: deque[Seen] = deque(maxlen=MAXIMUM_LOG)
        self.responses: deque[Response] = deque(maxlen=MAXIMUM_LOG)
        """Responses to what `request` made."""
        self._random = random
        self._location = Location(self.faults)
        self._authentication = Authentication(realm, self.users, random, self.faults)
        self._proxy: Authentication | None = None
        self._retransmissions = Retransmissions()
        self._callers: Authentication | None = None
        self._forwarding = Forwarding(realm, self._token)
        self.passed: Final = self._forwarding.passed
        """The last requests and responses that went on, oldest first."""

    @property
    def address(self) -> Address | None:
        """Where it listens. With it known, it stays in the path of the dialogs between others (RFC 3261 §16.6)."""
        return self._forwarding.address

    @address.setter
    def address(self, address: Address | None) -> None:
        self._forwarding.address = address

    @property
    def record_route(self) -> bool:
        """False: later requests of a dialog name each other's contacts, and come here only over the sender's flow."""
        return self._forwarding.record_route

    @record_route.setter
    def record_route(self, wanted: bool) -> None:
        self._forwarding.record_route = wanted

    def receive(self, data: bytes, source: tuple[str, int], now: float) -> list[Reply]:
        """Take one datagram, or one message of a stream, and return what to send."""
        faults = self.faults
        if faults.drop and self._random.random() < faults.drop:
            return []
        if is_stun(data):
            answers = faults.flow_timer is not None and not faults.silent
            return [Reply(binding_response(data, source), source)] if answers else []
        if not data.strip(b"\r\n"):
            ping = data == b"\r\n\r\n" and not faults.silent
            return [Reply(b"\r\n", source)] if ping else []  # RFC 5626 §3.5.1
        try:
            message = parse(data)
        except MalformedMessage:
            return []
        if isinstance(message, Response):
            back = self._forwarding.back(message)
            if back is None:
                self.responses.append(message)
                return []
            return back
        refusal = None
        if message.method != "REGISTER" and not faults.silent:
            try:
                replies = self._forwarded(message, source, now)
            except Refused as raised:
                replies, refusal = [], raised
            if replies or message.method == "ACK":
                return replies
        return on_the_way(self._answer_once(message, source, now, refusal), faults, self._random)

    def bindings(self, aor: str, now: float) -> list[Binding]:
        """The bindings of an address-of-record, the oldest first. Raises SipSyntaxError."""
        return self._location.bindings(canonical_aor(aor), now)

    def bind(self, aor: str, contact: str, destination: Address, now: float, *, expires: int = 3600) -> None:
        """Have requests for `aor` go to `contact` at an address too, as if it had registered. Raises SipSyntaxError."""
        Uri.parse(contact)
        self._location.bind(canonical_aor(aor), Binding(contact, self._token(), 1, now + expires, destination), now)

    def all_bindings(self, now: float) -> dict[str, list[Binding]]:
        """Every address-of-record that has bindings, in its canonical form."""
        found = {aor: self._location.bindings(aor, now) for aor in self._location.addresses_of_record()}
        return {aor: bindings for aor, bindings in found.items() if bindings}

    def request(
        self,
        aor: str,
        method: str,
        now: float,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> list[Reply]:
        """Build a request to each binding of `aor`, sent to where its REGISTER came from.

        The Request-URI is the contact (RFC 3261 §16.6). Responses are collected in `responses`.
        """
        replies = []
        for binding in self.bindings(aor, now):
            transport = (Uri.parse(binding.contact).transport or "udp").upper()
            lines = [
                ("Via", f"SIP/2.0/{transport} {self.realm};branch=z9hG4bK{self._token()};rport"),
                ("Max-Forwards", "70"),
                ("From", f"<sip:caller@{self.realm}>;tag={self._token()}"),
                ("To", f"<{aor}>"),
                ("Call-ID", f"{self._token()}@{self.realm}"),
                ("CSeq", f"1 {method}"),
                *headers,
            ]
            replies.append(Reply(build_request(method, binding.contact, lines, body), binding.received))
        return replies

    def _forwarded(self, request: Request, source: Address, now: float) -> list[Reply]:
        """A request on its way to others; empty when it is for nobody but us. Raises Refused."""
        forwarding = self._forwarding
        routes = routes_beyond(request, forwarding.address)
        if forwarding.knows(request, source):
            return forwarding.onward(request, (), routes, source)
        if request.method == "CANCEL" or (
            request.method == "ACK" and self._retransmissions.acknowledges(request, source, now)
        ):
            return []
        targets = self._targets(request, routes, now)
        if targets:
            if request.header("max-forwards") == "0":
                raise Refused(483)  # §16.3 step 3
            self._check_caller(request, now)
            return forwarding.onward(request, targets, routes, source)
        return []

    def _targets(self, request: Request, routes: Sequence[str], now: float) -> list[Target]:
        """Where a request goes (RFC 3261 §16.5): the next route, a binding, the bindings of a user, or an address."""
        if (request.header("event") or "").partition(";")[0].strip() == "reg":  # RFC 3680: for the registrar
            return []
        uri = request.uri
        if routes:
            next_hop = address_of(routes[0])
            return [] if next_hop is None else [Target(uri, next_hop)]
        binding = self._location.bound(uri, now)
        if binding is not None:
            return [Target(uri, binding.received)]
        try:
            bindings = self.bindings(uri, now) if Uri.parse(uri).user is not None else []
        except SipSyntaxError:
            return []
        if bindings:
            return [Target(binding.contact, binding.received) for binding in bindings]
        own, address = self._forwarding.address, address_of(uri)
        return [] if address is None or own is None or address == own else [Target(uri, address)]

    def _check_caller(self, request: Request, now: float) -> None:
        """Our users prove who they are, when the faults say so (RFC 3261 §22.3). Raises Refused."""
        if not self.faults.challenge_requests or request.method == "ACK" or tag_of(request.header("to")):
            return
        try:
            caller = Uri.parse(parse_name_addr(request.header("from") or "").uri).user
        except SipSyntaxError:
            return
        if caller is None or not self._is_known(caller):
            return
        if self._callers is None:
            self._callers = Authentication(self.realm, self.users, self._random, self.faults, proxy=True)
        verdict, username = self._callers.judge(request, now)
        if verdict is not Verdict.RIGHT:
            raise Refused(407, None, *self._callers.challenges(now, stale=verdict is Verdict.STALE))
        if caller not in (username, username.partition("@")[0]):
            raise Refused(403)

    def restart(self, now: float) -> None:
        """Forget bindings, nonces and transactions, as a registrar without a database does."""
        self._location.clear()
        self.forget_nonces()
        self._retransmissions.clear()

    def forget_nonces(self) -> None:
        """Accept none of the nonces given so far."""
        self._authentication.clear()
        self._proxy = self._callers = None

    def _token(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def _answer_once(self, request: Request, source: Address, now: float, refusal: Refused | None) -> list[Reply]:
        """Answer a retransmission with the bytes of the first answer (RFC 3261 §17.2.2)."""
        try:
            cseq, _ = request.cseq()
        except MalformedMessage:
            cseq = 0
        kept = None if self.faults.silent else self._retransmissions.find(request, cseq, source, now)
        if kept is not None:
            self._see(request, now, cseq, kept.status, authorized=False, retransmission=True)
            return kept.replies
        replies, status, authorized = self._answer(request, source, now, refusal)
        self._see(request, now, cseq, status, authorized=authorized, retransmission=False)
        self._retransmissions.keep(request, cseq, source, Answer(status, replies), now)
        return replies

    def _answer(
        self, request: Request, source: Address, now: float, refusal: Refused | None
    ) -> tuple[list[Reply], int, bool]:
        faults = self.faults
        if faults.silent:
            return [], 0, False
        authorized = False
        reason: str | None = None
        headers: Sequence[tuple[str, str]] = ()
        try:
            validate_request(request)
            self._apply_faults_to_everything(request)
            if request.method == "REGISTER":
                self._check_require(request)
                aor = canonical_aor(parse_name_addr(request.header("to") or "").uri)
                self._authenticate(request, aor, now)
                authorized = True
                status, headers = 200, self._register(aor, request, source, now)
            elif refusal is not None:
                raise refusal
            elif request.method == "OPTIONS":
                status = 480 if Uri.parse(request.uri).user in self.users else 200  # one with bindings went on to them
            elif request.method == "CANCEL":
                status = 481  # one for a request that we know went on
            elif (user := Uri.parse(request.uri).user) and "reg" not in (request.header("event") or ""):
                status = 480 if self._is_known(user) else 404
            else:
                status, headers = 405, [("Allow", "REGISTER, OPTIONS")]
        except MalformedMessage as error:
            status, reason = error.status or 400, str(error)
        except SipSyntaxError as error:
            status, reason = 400, str(error)
        except Refused as refusal:
            status, reason, headers = refusal.status, refusal.reason, refusal.headers
        if faults.retry_after is not None and status >= 400 and status not in (401, 407):
            headers = [*headers, ("Retry-After", str(faults.retry_after))]
        destination = _response_destination(request, source)
        replies = []
        if faults.trying or faults.trying_only:
            trying = build_response(request, 100, to_tag="", source=source)
            replies.append(Reply(trying, destination))
        if faults.trying_only:
            return replies, 0, authorized
        data = build_response(request, status, reason, to_tag=self._token(), source=source, headers=headers)
        replies.append(Reply(data, destination, faults.answer_delay))
        return replies, status, authorized

    def _apply_faults_to_everything(self, request: Request) -> None:
        faults = self.faults
        offered = [tag for line in request.headers("supported") for tag in split_list(line)]
        if refused := [tag for tag in offered if tag in faults.unsupported]:
            raise Refused(420, None, ("Unsupported", ", ".join(refused)))
        if missing := [tag for tag in faults.required if tag not in offered]:
            raise Refused(421, None, ("Require", ", ".join(missing)))
        if faults.status is not None:
            raise Refused(faults.status, faults.reason)
        if faults.redirect is not None:
            raise Refused(faults.redirect_status, None, ("Contact", faults.redirect))

    def _check_require(self, request: Request) -> None:
        """RFC 3261 §10.3 step 2: no extension is supported here."""
        required = [tag for line in request.headers("require") for tag in split_list(line)]
        if required:
            raise Refused(420, None, ("Unsupported", ", ".join(required)))

    def _authenticate(self, request: Request, aor: str, now: float) -> None:
        """RFC 3261 §10.3 steps 3 to 5. Raises Refused."""
        user = aor.partition(":")[2].rpartition("@")[0]
        if self.faults.first_realm is not None:
            self._pass_proxy(self.faults.first_realm, request, now)
        if self.faults.algorithms:
            verdict, username = self._authentication.judge(request, now)
            if verdict is Verdict.WRONG_URI:
                raise Refused(400, "Digest URI Is Not The Request-URI")  # RFC 7616 §3.4.6
            if verdict is not Verdict.RIGHT:
                status = 407 if self.faults.proxy_challenge else 401
                stale = verdict is Verdict.STALE
                raise Refused(status, None, *self._authentication.challenges(now, stale=stale))
            if username in self.faults.reject_users:
                raise Refused(403)
            if user not in (username, username.partition("@")[0]):
                raise Refused(404 if not self._is_known(user) else 403)
        elif not self._is_known(user):
            raise Refused(404)

    def _pass_proxy(self, realm: str, request: Request, now: float) -> None:
        """The proxy in front has a realm of its own (RFC 3261 §22.3). Raises Refused."""
        proxy = self._proxy
        if proxy is None or proxy.realm != realm:
            proxy = self._proxy = Authentication(realm, self.users, self._random, self.faults, proxy=True)
        verdict, _ = proxy.judge(request, now)
        if verdict is not Verdict.RIGHT:
            raise Refused(407, None, *proxy.challenges(now, stale=verdict is Verdict.STALE))

    def _is_known(self, user: str) -> bool:
        return user in self.users or any(name.partition("@")[0] == user for name in self.users)

    def _register(self, aor: str, request: Request, source: tuple[str, int], now: float) -> list[tuple[str, str]]:
        """RFC 3261 §10.3 steps 6 to 8: the headers of the 200. Raises Refused."""
        faults = self.faults
        contacts = [parse_name_addr(value) for value in split_list(request.header("contact") or "") if value != "*"]
        offered = any(offers_outbound(request, contact.params) for contact in contacts)
        if offered and faults.first_hop_lacks_outbound:
            raise Refused(439, "First Hop Lacks Outbound Support")
        listed = self._location.register(aor, request, source, now)
        return headers_of(listed, aor, request, now, faults, outbound=offered and faults.outbound)

    def _see(
        self,
        request: Request,
        now: float,
        cseq: int,
        status: int,
        *,
        authorized: bool,
        retransmission: bool,
    ) -> None:
        contact, expires, aor = "", None, ""
        try:
            aor = canonical_aor(parse_name_addr(request.header("to") or "").uri)
            values = split_list(request.header("contact") or "")
            if values:
                first = parse_name_addr(values[0])
                contact, expires = first.uri, requested_expires(first, request)
        except SipSyntaxError:
            pass  # what can be read is logged; the answer told the sender
        call_id = request.header("call-id") or ""
        self.log.append(
            Seen(now, request.method, aor, call_id, cseq, contact, expires, authorized, status, retransmission)
        )


def _response_destination(request: Request, source: tuple[str, int]) -> tuple[str, int]:
    """To the source, or on UDP without rport to the sent-by port (RFC 3261 §18.2.2, RFC 3581 §4)."""
    line = request.header("via") or ""
    if "rport" in line:
        return source
    try:
        via = parse_via(split_list(line)[0])
    except (SipSyntaxError, IndexError):
        return source
    return (source[0], via.port or 5060) if via.transport == "UDP" else source
