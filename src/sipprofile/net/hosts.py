"""Names that this machine knows without DNS: /etc/hosts (hosts(5)) and localhost (RFC 6761 §6.3)."""

from __future__ import annotations

import os

from sipprofile.net.addresses import ipv4_first, is_numeric

HOSTS_FILE = "/etc/hosts"
MAXIMUM_SIZE = 4 << 20  # bytes read
_LOOPBACK = ("127.0.0.1", "::1")


class WatchedFile:
    """Tells whether a file is another than at the last look."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._signature: tuple[int, int, int] | None = (-1, -1, -1)

    def has_changed(self) -> bool:
        """True at the first call and after each change, removal included."""
        try:
            status = os.stat(self.path)
        except OSError:
            signature = None
        else:
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
        changed = signature != self._signature
        self._signature = signature
        return changed


class Hosts:
    """The hosts file, read again whenever it has changed."""

    def __init__(self) -> None:
        self._file = WatchedFile(HOSTS_FILE)
        self._addresses: dict[str, tuple[str, ...]] = {}

    def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of a name in lower case, empty when it is not known here."""
        if self._file.has_changed():
            self._addresses = _read(self._file.path)
        found = self._addresses.get(host, ())
        if not found and (host == "localhost" or host.endswith(".localhost")):
            return _LOOPBACK
        return found


def _read(path: str) -> dict[str, tuple[str, ...]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MAXIMUM_SIZE)
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if is_numeric(address):
            for name in names:
                found.setdefault(name.lower().rstrip("."), []).append(address)
    return {name: ipv4_first(addresses) for name, addresses in found.items()}
