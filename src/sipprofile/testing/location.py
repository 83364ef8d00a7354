"""The location service of the test registrar: who is bound where and until when (RFC 3261 §10.3)."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from sipprofile.sip.headers import NameAddr, parse_delta_seconds, parse_name_addr, split_list
from sipprofile.sip.message import Request
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.uri import Uri
from sipprofile.testing.faults import Faults
from sipprofile.testing.outbound import offers_outbound, same_flow

DEFAULT_EXPIRES = 3600  # seconds; RFC 3261 §10.2.1.1 leaves it to the registrar, §20.19 reads malformed ones so


class Refused(Exception):
    """A REGISTER that changes nothing: the status to answer, and the headers that belong to it."""

    def __init__(self, status: int, reason: str | None = None, *headers: tuple[str, str]) -> None:
        super().__init__(f"{status} {reason or ''}".rstrip())
        self.status = status
        self.reason = reason
        self.headers = headers


class Binding(msgspec.Struct, frozen=True, gc=False):
    """One binding of an address-of-record."""

    contact: str
    """The contact URI as the client wrote it."""
    call_id: str
    cseq: int
    expires_at: float
    """On the clock that `now` comes from."""
    received: tuple[str, int]
    """Where the REGISTER came from."""
    params: tuple[tuple[str, str | None], ...] = ()
    """The header parameters of the contact, expires excepted."""

    def value(self, expires: int | None) -> str:
        """The binding as a Contact value with that many seconds left, or none told."""
        params: dict[str, str | None] = dict(self.params)
        if expires is not None:
            params["expires"] = str(expires)
        return str(NameAddr("", self.contact, params))


@lru_cache(maxsize=4096)
def canonical_aor(uri: str) -> str:
    """The form under which an address-of-record is kept: no parameters, headers or password (§10.3 step 5).

    Raises SipSyntaxError.
    """
    aor = Uri.parse(uri)
    port = "" if aor.port is None else f":{aor.port}"
    return f"{aor.scheme}:{aor.user or ''}@{aor.host}{port}"


def requested_expires(contact: NameAddr | None, request: Request) -> int:
    """The wish in the contact's parameter, else in the Expires header, else the default (§10.3 step 7).

    What is malformed counts as the default (§20.19).
    """
    wish = contact.params.get("expires") if contact is not None else None
    if wish is None:
        wish = request.header("expires")
    try:
        return DEFAULT_EXPIRES if wish is None else parse_delta_seconds(wish)
    except SipSyntaxError:
        return DEFAULT_EXPIRES


class Location:
    """All bindings by address-of-record. Every request succeeds whole or changes nothing."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._bindings: dict[str, list[Binding]] = {}
        self._users: dict[str, str] = {}
        """By contact URI, the address-of-record it was bound to last."""

    def bindings(self, aor: str, now: float) -> list[Binding]:
        """The bindings that have not expired, the oldest first. `aor` is a canonical one."""
        found = self._bindings.get(aor)
        if found is None:
            return []
        if any(binding.expires_at <= now for binding in found):
            found = [binding for binding in found if binding.expires_at > now]
            self._replace(aor, found)
        return list(found)

    def bind(self, aor: str, binding: Binding, now: float) -> None:
        """Add a binding that no REGISTER asked for, or put it in the place of the one with its contact."""
        kept = [known for known in self.bindings(aor, now) if known.contact != binding.contact]
        self._replace(aor, [*kept, binding])

    def bound(self, contact: str, now: float) -> Binding | None:
        """The binding with this contact URI, as its client wrote it."""
        aor = self._users.get(contact)
        if aor is None:
            return None
        return next((binding for binding in self.bindings(aor, now) if binding.contact == contact), None)

    def addresses_of_record(self) -> list[str]:
        """Every address-of-record that has had a binding not known to be expired."""
        return list(self._bindings)

    def clear(self) -> None:
        """Forget every binding."""
        self._bindings.clear()
        self._users.clear()

    def register(self, aor: str, request: Request, source: tuple[str, int], now: float) -> list[Binding]:
        """Do what the Contact headers ask and return the bindings that a 200 lists (§10.3 steps 6 to 8).

        Raises Refused.
        """
        contacts = [value for line in request.headers("contact") for value in split_list(line)]
        current = self.bindings(aor, now)
        if "*" in contacts:
            self._remove_all(aor, contacts, current, request)
            return []
        cseq, _ = request.cseq()
        call_id = request.header("call-id") or ""
        listed = list(current)
        for value in contacts:
            try:
                contact = parse_name_addr(value)
                uri = Uri.parse(contact.uri)
            except SipSyntaxError:
                raise Refused(400, "Bad Contact") from None
            if self._faults.outbound and offers_outbound(request, contact.params):
                place = next((index for index, known in enumerate(listed) if same_flow(known, contact)), None)
            else:
                place = _find(listed, contact.uri, uri)
            if place is not None:
                known = listed[place]
                if known.call_id == call_id and cseq <= known.cseq:
                    raise Refused(500, "CSeq Out Of Order")
            granted = self._grant(requested_expires(contact, request))
            params = tuple((name, text) for name, text in contact.params.items() if name != "expires")
            binding = Binding(contact.uri, call_id, cseq, now + granted, source, params)
            if place is not None:
                listed[place] = binding
            else:
                listed.append(binding)
        kept = [binding for binding in listed if binding.expires_at > now]
        limit = self._faults.max_contacts
        if limit is not None and len(kept) > limit and len(kept) > len(current):
            raise Refused(self._faults.max_contacts_status, "Too Many Contacts")
        self._replace(aor, kept)
        return listed if self._faults.zero_grant else kept

    def _remove_all(self, aor: str, contacts: list[str], current: list[Binding], request: Request) -> None:
        if len(contacts) > 1 or request.header("expires") != "0":  # §10.3 step 6
            raise Refused(400, "Contact * Needs Expires 0 And No Other Contact")
        cseq, _ = request.cseq()
        call_id = request.header("call-id")
        if any(binding.call_id == call_id and cseq <= binding.cseq for binding in current):
            raise Refused(500, "CSeq Out Of Order")
        self._replace(aor, [])

    def _grant(self, wish: int) -> int:
        faults = self._faults
        if wish == 0 or faults.zero_grant:
            return 0
        if faults.too_brief is not None:
            raise Refused(423, None, *([("Min-Expires", faults.too_brief)] if faults.too_brief else []))
        if wish < faults.min_expires:
            raise Refused(423, None, ("Min-Expires", str(faults.min_expires)))
        granted = max(1, int(wish * faults.grant_fraction))
        return granted if faults.maximum_expires is None else min(granted, faults.maximum_expires)

    def _replace(self, aor: str, bindings: list[Binding]) -> None:
        for binding in self._bindings.get(aor, ()):
            if self._users.get(binding.contact) == aor:
                del self._users[binding.contact]
        self._users.update({binding.contact: aor for binding in bindings})
        if bindings:
            self._bindings[aor] = bindings
        else:
            self._bindings.pop(aor, None)


def _find(bindings: list[Binding], text: str, uri: Uri) -> int | None:
    """The place of the binding with an equivalent contact (§10.3 step 7, §19.1.4)."""
    for place, binding in enumerate(bindings):
        if binding.contact == text or uri.equivalent(Uri.parse(binding.contact)):
            return place
    return None
