"""Watches the mailbox of a profile (message waiting, RFC 3842): python examples/mwi.py PROFILE [MAILBOX_URI]

It holds a subscription at the profile's own address, or at the mailbox's, which the service renews. The service is
found in SIPPROFILE_URL, or at its usual place. Ctrl-C ends the subscription and gives the profile back.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import sipprofile


async def watch(profile: str, mailbox: str | None) -> None:
    """Print what the mailbox says, until the subscription ends."""
    async with (
        sipprofile.use(profile, app="com.example.mwi") as line,
        await line.subscribe("message-summary", mailbox) as subscription,
    ):
        print(f"watches the mailbox of {line.profile.aor}", flush=True)
        async for notification in subscription:
            summary = dict(row.split(": ", 1) for row in notification.text.splitlines() if ": " in row)
            waiting, voice = (summary.get(name, "not said") for name in ("Messages-Waiting", "Voice-Message"))
            print(f"waiting: {waiting}, voice messages (new/old): {voice}", flush=True)
        print(f"ended: {subscription.reason.text}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(watch(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None))
        except sipprofile.SipProfileError as error:  # the mailbox refuses, no such profile, no service
            sys.exit(str(error))
