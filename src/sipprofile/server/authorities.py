"""aiohttp reads the certificate authorities of the machine when it is imported, for clients: 50 ms and 2 MB.

The service is a server. What verifies here makes a context of its own (``net.tls``, ``webhook_client``); with aiohttp's
it would trust nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

FILE = "SSL_CERT_FILE"  # SSL_CTX_set_default_verify_paths(3)


@contextmanager
def unread() -> Iterator[None]:
    """While aiohttp is imported, the file of the authorities is an empty one."""
    before = os.environ.get(FILE)
    os.environ[FILE] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[FILE]
        else:
            os.environ[FILE] = before
