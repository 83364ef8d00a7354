"""Answers text messages that come to a profile: python examples/bot.py PROFILE

It claims MESSAGE; every other request is left to other programs. The service is found in SIPPROFILE_URL, or at its
usual place. Ctrl-C gives the profile back.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import sipprofile


async def answer(profile: str) -> None:
    """Take each message, and send one back that repeats it."""
    async with sipprofile.use(profile, app="com.example.bot", claims=["MESSAGE"]) as line:
        print(f"answers messages to {line.profile.aor}", flush=True)
        async for request in line.requests():
            await request.respond(200)
            print(f"{request.from_uri}: {request.text}", flush=True)
            try:
                response = await line.message(request.from_uri, f"You said: {request.text}", timeout=35)
                print(f"answered: {response.status} {response.reason}", flush=True)
            except sipprofile.SipProfileError as error:  # the sender may be gone; the next one is not
                print(f"not answered: {error}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(answer(sys.argv[1]))
        except sipprofile.SipProfileError as error:  # somebody else has claimed it, no such profile, no service
            sys.exit(str(error))
