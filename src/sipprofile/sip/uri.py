"""SIP and SIPS URIs: parsing, building and comparison (RFC 3261 §19.1)."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

import msgspec

from sipprofile.sip.syntax import SipSyntaxError, excerpt, parse_host_port

_UNRESERVED = r"A-Za-z0-9\-_.!~*'()"
_ESCAPED = "%[0-9A-Fa-f]{2}"
_user = re.compile(rf"(?:[{_UNRESERVED}&=+$,;?/]|{_ESCAPED})+").fullmatch
_password = re.compile(rf"(?:[{_UNRESERVED}&=+$,]|{_ESCAPED})*").fullmatch
_parameter = re.compile(rf"(?:[{_UNRESERVED}\[\]/:&+$]|{_ESCAPED})+").fullmatch
_header = re.compile(rf"(?:[{_UNRESERVED}\[\]/?:+$]|{_ESCAPED})*").fullmatch
_not_parameter_text = re.compile(rf"[^{_UNRESERVED}\[\]/:&+$]")
_escape_sequence = re.compile("%([0-9A-Fa-f]{2})")
_unreserved_character = re.compile(f"[{_UNRESERVED}]").fullmatch

# A parameter that decides where or how a request goes never matches its absence (RFC 3261 §19.1.4).
_NEVER_IGNORED = frozenset({"user", "ttl", "method", "maddr", "transport"})


class Uri(msgspec.Struct, frozen=True, gc=False):
    """A SIP or SIPS URI (RFC 3261 §19.1.1), its parts as written but for the case of host and names.

    `==` compares the parts; `equivalent` compares as §19.1.4 says.
    """

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int | None = None
    params: tuple[tuple[str, str | None], ...] = ()
    headers: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Read a URI. Raises SipSyntaxError with a sentence that names the bad part, never a password."""
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or scheme not in ("sip", "sips"):
            raise SipSyntaxError(f"the URI must begin with 'sip:' or 'sips:', not with {excerpt(scheme)}")
        user: str | None = None
        password: str | None = None
        userinfo, at, after = rest.partition("@")
        if at:
            if "@" in after:
                raise SipSyntaxError("the URI has more than one '@'; write %40 in the user or password")
            rest = after
            user, colon, secret = userinfo.partition(":")
            if _user(user) is None:
                raise SipSyntaxError(f"the user part {excerpt(user)} is empty or needs %-escapes")
            if colon:
                if _password(secret) is None:
                    raise SipSyntaxError("the password in the URI needs %-escapes")
                password = secret
        rest, question, headers = rest.partition("?")
        address, semicolon, parameters = rest.partition(";")
        if address != address.strip():
            raise SipSyntaxError(f"white space around the host in {excerpt(address)} is not allowed")
        host, port = parse_host_port(address)
        params = _parse_params(parameters) if semicolon else ()
        if question:
            _check_headers(headers)
        return cls(scheme, user, password, host, port, params, headers)

    def __str__(self) -> str:
        parts = [self.scheme, ":"]
        if self.user is not None:
            parts.append(self.user)
            if self.password is not None:
                parts += (":", self.password)
            parts.append("@")
        parts.append(self.host)
        if self.port is not None:
            parts.append(f":{self.port}")
        for name, value in self.params:
            parts.append(f";{name}" if value is None else f";{name}={value}")
        if self.headers:
            parts += ("?", self.headers)
        return "".join(parts)

    def __repr__(self) -> str:
        shown = self if self.password is None else msgspec.structs.replace(self, password="...")
        return f"Uri({str(shown)!r})"

    def param(self, name: str) -> str | None:
        """The value of a parameter, '' when it is there without one, None when it is absent."""
        for key, value in self.params:
            if key == name:
                return value or ""
        return None

    def has_param(self, name: str) -> bool:
        """True when the parameter is there, with a value or without."""
        return any(key == name for key, _ in self.params)

    def with_params(self, **params: str | None) -> Uri:
        """This URI with parameters added or replaced; None is a parameter without value.

        Characters a parameter cannot hold are escaped.
        """
        given = {_escape(name).lower(): None if v is None else _escape(v) for name, v in params.items()}
        kept = tuple((name, given.pop(name) if name in given else value) for name, value in self.params)
        return msgspec.structs.replace(self, params=kept + tuple(given.items()))

    def without_params_and_headers(self) -> Uri:
        """Scheme, user, password, host and port alone."""
        return msgspec.structs.replace(self, params=(), headers="")

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case ('udp', 'tcp', 'tls', ...), None when not given."""
        return (self.param("transport") or "").lower() or None

    def equivalent(self, other: Uri) -> bool:
        """True when both name the same resource by RFC 3261 §19.1.4.

        A default is not equal to its absence: port 5060 or transport=udp in one URI only is a difference.
        """
        if self.scheme != other.scheme or self.port != other.port:
            return False
        if _normal(self.user) != _normal(other.user) or _normal(self.password) != _normal(other.password):
            return False
        if self.host != other.host and not _same_ipv6(self.host, other.host):
            return False
        return self._same_params(other) and _header_set(self.headers) == _header_set(other.headers)

    def _same_params(self, other: Uri) -> bool:
        ours = {_folded(name): _folded(value) for name, value in self.params}
        theirs = {_folded(name): _folded(value) for name, value in other.params}
        if any(theirs[name] != ours[name] for name in ours.keys() & theirs.keys()):
            return False
        return not ((ours.keys() ^ theirs.keys()) & _NEVER_IGNORED)


def user_of(uri: str) -> str | None:
    """The user part of a URI that is known to be one, None when it has none."""
    userinfo, at, _ = uri.partition("@")
    return userinfo.split(":", 2)[1] if at else None


def _parse_params(text: str) -> tuple[tuple[str, str | None], ...]:
    params: dict[str, str | None] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        name = name.lower()
        if _parameter(name) is None or (equals and _parameter(value) is None):
            raise SipSyntaxError(f"the URI parameter {excerpt(part)} is empty or needs %-escapes")
        if name in params:
            raise SipSyntaxError(f"the URI parameter {excerpt(name)} is given twice; keep one")
        params[name] = value if equals else None
    return tuple(params.items())


def _check_headers(text: str) -> None:
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        if not name or not equals or _header(name) is None or _header(value) is None:
            raise SipSyntaxError(f"the URI header {excerpt(part)} is not name=value with %-escapes")


def _escape(text: str) -> str:
    return _not_parameter_text.sub(lambda found: "".join(f"%{b:02X}" for b in found[0].encode()), text)


def _unescape_unreserved(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _unreserved_character(character) else found[0].upper()


def _normal(text: str | None) -> str | None:
    """`text` with the escapes undone that make no difference (RFC 3261 §19.1.4)."""
    if text is None or "%" not in text:
        return text
    return _escape_sequence.sub(_unescape_unreserved, text)


def _folded(text: str | None) -> str:
    return (_normal(text) or "").lower()


def _same_ipv6(one: str, other: str) -> bool:
    if one[0] != "[" or other[0] != "[":
        return False
    return IPv6Address(one[1:-1]) == IPv6Address(other[1:-1])


def _header_set(headers: str) -> list[str]:
    return sorted(_folded(part) for part in headers.split("&")) if headers else []
