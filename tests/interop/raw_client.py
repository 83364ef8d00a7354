"""A client of one socket that sends exactly the REGISTER a test describes; it keeps only CSeq and nonce."""

from __future__ import annotations

import itertools
import socket
from types import TracebackType
from typing import Self

from sipprofile.sip import digest
from sipprofile.sip.message import Response, build_request, parse

ANSWER_LIMIT = 2.0  # seconds
_branches = itertools.count(1)


class RawClient:
    """Registers `user` of `domain` at a registrar on 127.0.0.1:`port`, over UDP or one TCP connection."""

    def __init__(self, port: int, user: str = "alice", *, domain: str = "example.test", transport: str = "UDP") -> None:
        self.aor = f"sip:{user}@{domain}"
        self.user = user
        self.uri = f"sip:{domain}"
        self.cseq = 0
        self.call_id = f"{user}-{next(_branches)}@127.0.0.1"
        self.challenge: digest.Challenge | None = None
        self.nonce_count = 0
        self._transport = transport
        kind = socket.SOCK_STREAM if transport == "TCP" else socket.SOCK_DGRAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.settimeout(ANSWER_LIMIT)
        self._socket.connect(("127.0.0.1", port))
        self.port = int(self._socket.getsockname()[1])
        self.contact = f"<sip:{user}@127.0.0.1:{self.port}>"

    def request(self, method: str, *headers: tuple[str, str], branch: str | None = None) -> Response:
        """Sends one request under the next CSeq and returns the answer. Raises TimeoutError without one."""
        self.cseq += 1
        return self._exchange(method, headers, branch or f"z9hG4bK-raw-{next(_branches)}")

    def send(self, data: bytes) -> None:
        """Sends these bytes as they are."""
        self._socket.send(data)

    def register(self, password: str | None = None, *, expires: int = 300, contact: str | None = None) -> Response:
        """One REGISTER; with a password it answers the last challenge met, under the next nonce count."""
        headers = [("Contact", contact or self.contact), ("Expires", str(expires))]
        if password is not None:
            headers.append(("Authorization", self._authorization(password)))
        return self.request("REGISTER", *headers)

    def _authorization(self, password: str) -> str:
        assert self.challenge is not None, "a challenge comes first"
        self.nonce_count += 1
        ha1 = digest.ha1(self.challenge.algorithm, self.user, self.challenge.realm, password)
        return digest.authorization(
            self.challenge,
            username=self.user,
            ha1=ha1,
            method="REGISTER",
            uri=self.uri,
            nonce_count=self.nonce_count,
            cnonce="0a4f113b",
        )

    def _exchange(self, method: str, headers: tuple[tuple[str, str], ...], branch: str) -> Response:
        via = f"SIP/2.0/{self._transport} 127.0.0.1:{self.port};branch={branch};rport"
        common = [
            ("Via", via),
            ("Max-Forwards", "70"),
            ("From", f"<{self.aor}>;tag=raw"),
            ("To", f"<{self.aor}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
        ]
        self._socket.send(build_request(method, self.uri, [*common, *headers]))
        answer = parse(self._receive())
        assert isinstance(answer, Response)
        assert answer.branch() == branch
        assert answer.cseq() == (self.cseq, method)
        challenges = digest.parse_challenges(answer.headers("www-authenticate"), proxy=False)
        if challenges:
            self.challenge, self.nonce_count = challenges[0], 0
        return answer

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        while self._transport == "TCP" and b"\r\n\r\n" not in data:  # no answer here has a body
            data += self._socket.recv(65536)
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
