"""A program that answers the calls of a profile and leaves its messages unanswered: `python answering.py URL NAME`.

It says `ready`, then the method of each request.
"""

from __future__ import annotations

import asyncio
import sys

import sipprofile
from sipprofile.testing.peer import SDP


async def main(url: str, name: str) -> None:
    async with sipprofile.use(name, url=url, timeout=10, claims=["INVITE", "MESSAGE"]) as line:
        requests = (await line.connection()).requests()
        print("ready", flush=True)
        async for request in requests:
            if request.method == "INVITE":
                await request.accept(body=SDP)
            print(request.method, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
