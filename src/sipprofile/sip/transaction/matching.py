"""Which server transaction a request belongs to (RFC 3261 §17.2.3, §8.2.2.2)."""

from __future__ import annotations

from sipprofile.sip.dialog import tag_of
from sipprofile.sip.headers import Via
from sipprofile.sip.message import Request

MAGIC_COOKIE = "z9hG4bK"  # RFC 3261 §8.1.1.7


def transaction_key(request: Request, via: Via, method: str) -> str:
    """The transaction of ``request``, were its method ``method``: that of an ACK and of a CANCEL is found as INVITE.

    ``via`` is the top Via. A branch without the magic cookie is that of an RFC 2543 client: there the whole request
    counts. The To tag is left out, which such an ACK has and its INVITE has not. Raises MalformedMessage when there is
    no CSeq.
    """
    branch = via.params.get("branch") or ""
    if branch.startswith(MAGIC_COOKIE) and len(branch) > len(MAGIC_COOKIE):
        return f"{branch} {via.host}:{via.port} {method}"
    number, _ = request.cseq()
    tag = tag_of(request.header("from"))
    top = f"{via.transport} {via.host}:{via.port} {branch}"
    return f"\n{request.uri}\n{tag}\n{request.header('call-id')}\n{number}\n{top}\n{method}"
