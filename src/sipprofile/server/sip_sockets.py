"""Opening the SIP sockets at the port of the last time: the registrars know our contacts by it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ..errors import SipProfileError
from ..net.transports import Transports
from ..store.store import Store

ACCEPT_AGAIN = 30.0  # seconds between tries to accept TCP connections at a port that is taken
PORT_KEY = "sip_port"  # in the store's meta table

Accept = Literal["required", "wanted", "no"]
"""Whether TCP connections must be accepted at the port of UDP."""


async def open_sockets(
    make: Callable[[int, Accept], Transports], store: Store, log: Any, bind: Sequence[str], port: int, accept: bool
) -> Transports:
    """What ``make`` makes for a port, started. Without a ``port`` it is the one of the last time. Raises
    ``address_in_use`` when a given port is taken, for UDP or (with ``accept``) for TCP.

    A port that was not given is kept even when TCP cannot have it: leases matter more than large requests.
    """
    stored = store.meta(PORT_KEY) or ""
    usable = stored.isascii() and stored.isdecimal() and len(stored) < 6 and int(stored) < 65536
    remembered = int(stored) if usable and not port else 0
    wish: Accept = ("required" if port else "wanted") if accept else "no"
    try:
        transports = await _started(make(port or remembered, wish))
    except OSError as error:
        if not remembered or error.errno != errno.EADDRINUSE:
            code = "address_in_use" if error.errno == errno.EADDRINUSE else "bad_configuration"
            where = f"{', '.join(bind)} port {port}"
            raise SipProfileError(code, f"SIP on {where}: {error.strerror or error}.", field="sip") from None
        log.warning("the SIP port is taken, another is used; leases are renewed", port=remembered)
        transports = await _started(make(0, wish))
    if transports.not_accepting:
        reason = transports.not_accepting
        log.warning("large SIP requests cannot come in: no TCP connections are accepted", reason=reason)
    if not port and transports.port != remembered:
        store.set_meta(PORT_KEY, str(transports.port))
    return transports


async def _started(transports: Transports) -> Transports:
    await transports.start()
    return transports


async def accept_later(transports: Transports, log: Any) -> None:
    """Try again until TCP connections are accepted."""
    while transports.not_accepting:
        await asyncio.sleep(ACCEPT_AGAIN)
        with contextlib.suppress(OSError):
            await transports.accept()
    log.info("SIP over TCP is accepted now")
