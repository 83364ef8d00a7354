"""Kamailio behind a network that tests may change: it runs in a namespace of its own and listens at given addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .kamailio import Kamailio, Settings
from .namespace import Namespace


class DistantKamailio(Kamailio):
    """A Kamailio in ``namespace``; the first of ``addresses`` is its :attr:`host`."""

    def __init__(
        self, directory: Path, namespace: Namespace, addresses: Sequence[str], settings: Settings | None = None
    ) -> None:
        super().__init__(directory, settings, port=5060)
        self.host = addresses[0]
        self._namespace = namespace
        self._addresses = addresses

    def start(self) -> None:
        with self._namespace.inside():
            super().start()

    def call(self, method: str, *parameters: str, limit: float = 5.0) -> Any:
        with self._namespace.inside():
            return super().call(method, *parameters, limit=limit)

    def _configuration(self) -> str:
        lines = []
        for line in super()._configuration().splitlines():
            protocol = line.removeprefix("listen=").partition(":")[0]
            if line.startswith("listen=") and protocol in ("udp", "tcp"):
                for address in self._addresses:
                    host = f"[{address}]" if ":" in address else address
                    lines.append(f"listen={protocol}:{host}:{self.port}")
            else:
                lines.append(line)
        return "\n".join([*lines, ""])
