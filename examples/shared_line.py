"""One of any number of programs that share a profile: python examples/shared_line.py PROFILE [APP_ID]

The service is found in SIPPROFILE_URL, or at its usual place. Ctrl-C gives the profile back.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import sipprofile


async def share(profile: str, app: str) -> None:
    """Use the profile until interrupted, and print what happens to it."""
    async with sipprofile.use(profile, app=app) as line:
        print(f"uses {line.profile.name}: {line.profile.aor} is {line.profile.status}", flush=True)
        async for event in line.events():
            lease = f", lease {left:.0f} s" if (left := line.profile.lease_left) is not None else ""
            print(f"told: {event.event}: {line.profile.status}{lease}, users {line.profile.users}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(share(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "com.example.shared-line"))
    print("left", flush=True)
