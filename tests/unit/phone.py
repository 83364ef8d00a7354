"""A user agent that registers at the test registrar."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from sipprofile.sip import digest
from sipprofile.sip.headers import parse_name_addr, split_list
from sipprofile.sip.message import Response, build_request, parse
from sipprofile.testing.registrar import Faults, Registrar

AOR = "sip:alice@example.test"
CONTACT = "<sip:t1@192.0.2.10:5060>"
SOURCE = ("192.0.2.10", 5060)
URI = "sip:example.test"


class Phone:
    """A user agent that sends one REGISTER at a time to a registrar and reads the answer."""

    def __init__(self, registrar: Registrar, username: str = "alice", password: str = "wonder") -> None:
        self.registrar = registrar
        self.username = username
        self.password = password
        self.call_id = f"call-{username}"
        self.cseq = 0
        self.branches = 0
        self.challenge: digest.Challenge | None = None
        self.nonce_count = 0
        self.sent = b""

    def send(
        self,
        contacts: Sequence[str] = (CONTACT,),
        *,
        now: float = 0.0,
        headers: Sequence[tuple[str, str]] = (),
        aor: str = AOR,
        uri: str = URI,
        digest_uri: str | None = None,
        nonce_count: int | None = None,
        cseq: int | None = None,
        via: str = "SIP/2.0/UDP 192.0.2.10:5060;rport",
        method: str = "REGISTER",
    ) -> Response:
        """One request; credentials are put in when a challenge is known."""
        self.cseq = self.cseq + 1 if cseq is None else cseq
        self.branches += 1
        lines = [
            ("Via", f"{via};branch=z9hG4bK{self.branches}"),
            ("Max-Forwards", "70"),
            ("From", f"<{aor}>;tag=1"),
            ("To", f"<{aor}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
            *[("Contact", contact) for contact in contacts],
            *headers,
        ]
        if self.challenge is not None:
            self.nonce_count = self.nonce_count + 1 if nonce_count is None else nonce_count
            name = "Proxy-Authorization" if self.challenge.proxy else "Authorization"
            value = digest.authorization(
                self.challenge,
                username=self.username,
                ha1=digest.ha1(self.challenge.algorithm, self.username, self.challenge.realm, self.password),
                method=method,
                uri=digest_uri or uri,
                nonce_count=self.nonce_count,
                cnonce="0a4f113b",
            )
            lines.append((name, value))
        self.sent = build_request(method, uri, lines)
        return final(self.registrar.receive(self.sent, SOURCE, now))

    def learn(self, response: Response) -> None:
        """Take the strongest challenge for the registrar's realm."""
        found = challenges(response)
        self.challenge = digest.strongest([one for one in found if one.realm == self.registrar.realm])
        self.nonce_count = 0

    def register(self, contacts: Sequence[str] = (CONTACT,), **options: Any) -> Response:
        """A REGISTER with credentials, in one round trip more when they are not known yet or stale."""
        response = self.send(contacts, **options)
        if response.status in (401, 407):
            self.learn(response)
            response = self.send(contacts, **options)
        return response


def final(replies: list[Any]) -> Response:
    response = parse(replies[-1].data)
    assert isinstance(response, Response)
    return response


def challenges(response: Response) -> list[digest.Challenge]:
    return digest.parse_challenges(response.headers("www-authenticate"), False) + digest.parse_challenges(
        response.headers("proxy-authenticate"), True
    )


def contacts_of(response: Response) -> dict[str, str | None]:
    """Contact URI to its expires, in the order of the response."""
    values = [parse_name_addr(v) for line in response.headers("contact") for v in split_list(line)]
    return {value.uri: value.params.get("expires") for value in values}


@pytest.fixture
def registrar() -> Registrar:
    return Registrar(users={"alice": "wonder", "bob": "builder"}, random=random.Random(1))


@pytest.fixture
def phone(registrar: Registrar) -> Phone:
    return Phone(registrar)


@pytest.fixture
def open_registrar() -> Registrar:
    """One that asks nobody for credentials."""
    return Registrar(users={"alice": ""}, random=random.Random(1), faults=Faults(algorithms=()))


@pytest.fixture
def open_phone(open_registrar: Registrar) -> Phone:
    return Phone(open_registrar)
