"""How well-known registrars write their 401 and 200 to REGISTER."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from sipprofile.sip.message import Request

Format = Callable[[Request, str, int | None], bytes]
"""From the request, a nonce and the seconds granted (``None``: what was asked for) to the answer."""


def written(
    request: Request,
    via: str,
    challenge: str,
    contact: str,
    *further: str,
    grant: int | None = None,
    unauthorized: str = "Unauthorized",
    always: bool = False,
) -> bytes:
    """The answer with ``via`` behind our own, and in ``contact`` the URI, the expiry and the other parameters."""
    own = request.header("via") or ""
    lines = [via.format(own=own.replace(";rport", ";rport=5060", 1), plain=own.replace(";rport", "", 1))]
    lines += [f"{name}: {request.header(name.lower())}" for name in ("From", "To", "Call-ID", "CSeq")]
    lines[2] += f";tag={len(challenge):x}.{request.header('call-id')}"
    if request.header("authorization") is None and not always:
        start = f"SIP/2.0 401 {unauthorized}"
        lines.append(f"WWW-Authenticate: Digest {challenge}")
    else:
        start = "SIP/2.0 200 OK"
        expires = request.header("expires") if grant is None else grant
        for value in request.headers("contact"):
            uri, _, params = value.partition(">")
            lines.append("Contact: " + contact.format(uri=uri + ">", expires=expires, params=params))
        lines += [line.format(expires=expires) for line in further if "{expires}" in line]
    lines += [line for line in further if "{expires}" not in line]
    return "\r\n".join([start, *lines, "Content-Length: 0", "", ""]).encode("utf-8", "surrogateescape")


def kamailio(request: Request, nonce: str, grant: int | None = None) -> bytes:
    return written(
        request,
        "Via: {own}",
        f'realm="example.test", nonce="{nonce}", qop="auth"',
        '{uri};expires={expires};received="sip:198.51.100.1:5060"{params}',
        "Server: kamailio (5.7.4 (x86_64/linux))",
        grant=grant,
    )


def opensips(request: Request, nonce: str, grant: int | None = None) -> bytes:
    return written(
        request,
        "Via: {own};received=198.51.100.1",
        f'realm="example.test", nonce="{nonce}"',
        "{uri};expires={expires}",
        "Server: OpenSIPS (3.4.3 (x86_64/linux))",
        grant=grant,
    )


def asterisk(request: Request, nonce: str, grant: int | None = None) -> bytes:
    opaque = f"{zlib.crc32(nonce.encode()):08x}"
    return written(
        request,
        "Via: {own};received=198.51.100.1",
        f'realm="asterisk",nonce="1700000000/{nonce}",opaque="{opaque}",algorithm=MD5,qop="auth"',
        "{uri};expires={expires}",
        "Date: Tue, 14 Nov 2023 22:13:20 GMT",
        "Expires: {expires}",
        "Server: Asterisk PBX 20.5.0",
        grant=grant,
    )


def freeswitch(request: Request, nonce: str, grant: int | None = None) -> bytes:
    return written(
        request,
        "Via: {own}",
        f'realm="example.test", nonce="{nonce}", algorithm=MD5, qop="auth"',
        "{uri}{params};expires={expires}",
        "Date: Tue, 14 Nov 2023 22:13:20 GMT",
        "User-Agent: FreeSWITCH-mod_sofia/1.10.10-release",
        "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY, PUBLISH, SUBSCRIBE",
        "Supported: timer, path, replaces",
        grant=grant,
    )


def echoing(request: Request, nonce: str, grant: int | None = None) -> bytes:
    """As short as it can be."""
    return written(
        request,
        "Via: {plain}",
        f'realm="example.test", nonce="{nonce}"',
        "{uri}{params};expires={expires}",
        grant=grant,
    )


FORMATS: list[Format] = [kamailio, opensips, asterisk, freeswitch, echoing]
