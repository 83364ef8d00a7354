"""Kamailio as an edge proxy between the service and a registrar (RFC 5626 §5): it adds Path with its flow token."""

from __future__ import annotations

from pathlib import Path

from .kamailio import Kamailio

EDGE_TEMPLATE = Path(__file__).with_name("edge.cfg")
KEY = "of the tests, for flow tokens"  # the same over restarts, so that tokens stay good


class Edge(Kamailio):
    """An edge proxy in front of `registrar`; without `outbound` its Path has no `ob`, as that of an older proxy."""

    def __init__(self, directory: Path, registrar: Kamailio, *, outbound: bool = True) -> None:
        super().__init__(directory)
        self._registrar = registrar
        self._outbound = outbound

    def _configuration(self) -> str:
        load = 'loadmodule "outbound.so"\n' + f'modparam("outbound", "flow_token_secret", "{KEY}")'
        text = EDGE_TEMPLATE.read_text()
        for name, value in {
            "port": str(self.port),
            "rpc_socket": str(self._run / "rpc"),
            "registrar": str(self._registrar.port),
            "load_outbound": load if self._outbound else "",
        }.items():
            text = text.replace(f"@{name}@", value)
        return text
