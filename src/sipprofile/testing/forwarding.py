"""The stateless proxy in front of the registrar: an OPTIONS goes on to the bindings (RFC 3261 §16.11)."""

from __future__ import annotations

from collections import OrderedDict

from ..sip.message import Request, Response

MAXIMUM_FORWARDED = 1000
"""Requests whose sender is remembered for the answer."""


class Forwarding:
    """Requests passed on, and the way back for their responses."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._senders: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def onward(self, request: Request, contact: str, branch: str, transport: str, sender: tuple[str, int]) -> bytes:
        """``request`` for ``contact``, with a Via of our own."""
        self._senders[branch] = sender
        if len(self._senders) > MAXIMUM_FORWARDED:
            self._senders.popitem(last=False)
        lines = [f"{request.method} {contact} SIP/2.0"]
        lines.append(f"Via: SIP/2.0/{transport} {self._host};branch={branch};rport")
        lines += [f"{name}: {value}" for name, value in request.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + request.body

    def back(self, response: Response) -> tuple[bytes, tuple[str, int]] | None:
        """``response`` without our Via, and whom it is for; ``None`` when it is for us."""
        sender = self._senders.get(response.branch() or "")
        if sender is None:
            return None
        lines, ours = [response.start_line], True
        for name, value in response.items():
            if ours and name.lower() in ("via", "v"):
                ours = False
                continue
            lines.append(f"{name}: {value}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + response.body, sender
