"""What profile instances cost an application, beside the settings and states that they show.

Run as `python -m benchmarks.instances SOCKET`; prints the bytes of one.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc

from sipprofile import ProfileRegistry, Sip


async def cost(url: str) -> float:
    """Bytes per instance of everything the client library keeps, without the records as they came."""
    async with Sip("com.example.benchmark", url=url) as sip, ProfileRegistry(sip) as registry:
        (await registry.profile(1)).close()
        tracemalloc.start()
        profiles = await registry.profiles()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        records = sum(sys.getsizeof(registry.records.record(profile.id)) for profile in profiles)
        return (kept - records - sys.getsizeof(profiles)) / len(profiles)


if __name__ == "__main__":
    print(asyncio.run(cost(f"unix:{sys.argv[1]}")))
