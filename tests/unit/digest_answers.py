"""Answers to challenges, and whether they are right."""

from __future__ import annotations

import hashlib

from sipprofile.sip.digest import (
    Challenge,
    authorization,
    ha1,
    parse_challenges,
    verify,
)


def challenge(value: str) -> Challenge:
    (only,) = parse_challenges([value], proxy=False)
    return only


def parameters(value: str) -> dict[str, str]:
    """The parameters of simple credentials, values as written."""
    assert value.startswith("Digest ")
    return dict(part.split("=", 1) for part in value.removeprefix("Digest ").split(", "))


def answer(value: str, *, username: str, password: str, method: str, uri: str, cnonce: str, body: bytes = b"") -> str:
    given = challenge(value)
    return authorization(
        given,
        username=username,
        ha1=ha1(given.algorithm, username, given.realm, password),
        method=method,
        uri=uri,
        nonce_count=1,
        cnonce=cnonce,
        body=body,
    )


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def accepts(value: str, password: str, *, method: str = "REGISTER", body: bytes = b"") -> bool:
    def stored(username: str, realm: str, algorithm: str) -> str | None:
        return ha1(algorithm, username, realm, password)

    return verify(value, method=method, ha1=stored, body=body) is not None
