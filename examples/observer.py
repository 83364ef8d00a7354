"""The shape of the original API, with an observer: python examples/observer.py [SECONDS]

It enables the default profile, waits until it is registered, and tells what happens for some seconds.
"""

from __future__ import annotations

import asyncio
import sys

from sipprofile import Event, ProfileRegistry, RegistrationFailed, ServiceEvent, Sip


class Observer:
    """What the original called MSIPProfileRegistryObserver; any method may be left out."""

    def profile_registry_event(self, event: Event) -> None:
        """The profile's values have been renewed before this is called."""
        print(f"{event.name}: {event.event}", flush=True)

    def profile_registry_error(self, event: Event, error: RegistrationFailed) -> None:
        """The service goes on trying; nothing has to be done here."""
        print(f"{event.name}: {error.reason.text} Next try at {error.next_try}.", flush=True)

    def service_event(self, event: ServiceEvent) -> None:
        """The library connects again by itself."""
        print(event.event, flush=True)


async def main(seconds: float) -> None:
    """Use the default profile for some seconds."""
    async with Sip("com.example.observer") as sip, ProfileRegistry(sip, observer=Observer()) as registry:
        profile = await registry.default_profile()
        await registry.enable(profile)
        await registry.wait_registered(profile, timeout=10)
        print(f"{profile.aor} is registered as {profile.registered_contact}", flush=True)
        await asyncio.sleep(seconds)
        await registry.disable(profile)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
