"""The effects that concern the SIP transports."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

from ..net.transports import Transports
from ..registration.actions import CloseTransport, Listen, OpenTransport, Probe, Send, StopListening, TransportKey
from ..service.service import Service


class TransportEffects:
    """Performs them; what is told of them comes through ``hear``. Without ``transports`` nothing happens."""

    def __init__(self, service: Service, log: Any, hear: Callable[..., bool]) -> None:
        self.transports: Transports | None = None
        self._service = service
        self._log = log
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._registers: dict[TransportKey, list[bytes]] = {}

    def send(self, effect: Send) -> None:
        """Send; a REGISTER over UDP waits for :meth:`send_registers`, because many together cost much less."""
        key = effect.key
        if key.protocol == "udp" and effect.data[:9] == b"REGISTER ":
            self._registers.setdefault(key, []).append(effect.data)
        elif self.transports is not None:
            self.transports.send(key, effect.data)

    def send_registers(self) -> None:
        """Send those that wait."""
        waiting, self._registers = self._registers, {}
        if self.transports is not None:
            for key, messages in waiting.items():
                self.transports.send_many(key, messages)

    def open(self, effect: OpenTransport) -> None:
        """Open a transport."""
        if self.transports is not None:
            self.transports.open(effect.key)

    def close(self, effect: CloseTransport) -> None:
        """Close a transport."""
        if self.transports is not None:
            self.transports.close(effect.key)

    def probe(self, effect: Probe) -> None:
        """See from where a target would be reached."""
        if self.transports is not None:
            self._hear(self._service.transport_probed, effect.key, *self.transports.probe(effect.key))

    def listen(self, effect: Listen) -> None:
        """Open a socket for a local program."""
        if self.transports is None:
            return
        try:
            port = self.transports.listen(effect.host, effect.port)
        except OSError as error:
            reason = error.strerror or str(error)
            self._log.warning("no socket for a local program", profile=effect.profile, port=effect.port, reason=reason)
            code = "address_in_use" if error.errno == errno.EADDRINUSE else "address_lost"
            self._loop.call_soon(self._hear, self._service.not_listening, effect.profile, code)
        else:
            self._loop.call_soon(self._hear, self._service.listening, effect.profile, port)

    def stop_listening(self, effect: StopListening) -> None:
        """Close it."""
        if self.transports is not None:
            self.transports.stop_listening(effect.port)
