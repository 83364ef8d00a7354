"""A provider on your own machine, to follow docs/tutorial.md: python examples/shared-line/provider.py [PORT]

It is a Kamailio that knows alice and bob, and a voicemail: a text to sip:voicemail@example.test is one more message in
alice's mailbox. Nothing leaves 127.0.0.1. Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))

from kamailio import Kamailio, NotInstalled
from outsider import Mailbox, outsider

PASSWORD = "secret"
FOREVER = float("inf")


async def provide(port: int) -> None:
    """Until interrupted."""
    passwords = {"alice": PASSWORD, "bob": PASSWORD, "voicemail": secrets.token_hex(8)}
    with tempfile.TemporaryDirectory(prefix="provider-") as directory:
        async with (
            Kamailio.running(Path(directory), passwords, say, port) as kamailio,
            outsider("voicemail", passwords["voicemail"], kamailio) as peer,
        ):
            say(f"is at {kamailio.uri}: sip:alice@example.test and sip:bob@example.test, password {PASSWORD}")
            mailbox, waiting = Mailbox(peer), 0
            requests = peer.peer.requests
            while True:
                await peer.until(lambda: bool(requests), FOREVER)
                request = requests.pop(0)
                if request.method == "MESSAGE":
                    waiting += 1
                if request.method == "SUBSCRIBE" and request.header("expires") == "0":
                    await mailbox.end(waiting)
                elif request.method in ("MESSAGE", "SUBSCRIBE") and peer.peer.dialogs:
                    await mailbox.tell(waiting)


def say(line: str) -> None:
    """One line."""
    print(f"provider: {line}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(provide(int(sys.argv[1]) if len(sys.argv) > 1 else 5070))
        except (NotInstalled, RuntimeError) as error:
            sys.exit(str(error))
