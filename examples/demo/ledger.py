"""What the registrar sees, counted and told: the demonstration believes nobody else."""

from __future__ import annotations

from urllib.parse import urlsplit

from narration import Narration

from sipprofile.testing.registrar import Seen
from sipprofile.testing.server import RegistrarServer


class Ledger:
    """Follows the registrar's log."""

    def __init__(self, server: RegistrarServer, aor: str, narration: Narration) -> None:
        self._server = server
        self._aor = aor
        self._narration = narration
        self._read = 0
        self._bound = False
        self.registrations = 0
        self.refreshes = 0
        self.requests = 0

    @property
    def bindings(self) -> int:
        """How many bindings the address-of-record has now."""
        return len(self._server.bindings(self._aor))

    def follow(self) -> None:
        """Tell what has come since the last call."""
        log = self._server.registrar.log
        while self._read < len(log):
            seen = log[self._read]
            self._read += 1
            if seen.method == "REGISTER" and not seen.retransmission:
                self.requests += 1
                self._narration.say("registrar", self._told(seen))

    def _told(self, seen: Seen) -> str:
        begin = f"REGISTER (CSeq {seen.cseq}) → {seen.status}"
        if seen.status in (401, 407):
            return f"{begin}: asks for a password"
        if seen.status != 200:
            return begin
        if seen.expires == 0:
            self._bound = False
            return f"{begin}: binding gone"
        bindings = self._server.bindings(self._aor)
        lease = max((binding.expires_at for binding in bindings), default=0.0) - self._server.now
        if self._bound:
            self.refreshes += 1
            return f"{begin}: refreshed, lease {lease:.0f} s, one round trip"
        self._bound = True
        self.registrations += 1
        where = urlsplit(seen.contact.replace("sip:", "sip://", 1)).netloc.rpartition("@")[2]
        return f"{begin}: registered at {where}, lease {lease:.0f} s, bindings: {len(bindings)}"
