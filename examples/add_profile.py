"""Store a profile, as an administrator's program does: python examples/add_profile.py NAME AOR REGISTRAR

The password comes from the environment (SIP_PASSWORD), never from the command line.
"""

from __future__ import annotations

import os
import sys

from sipprofile import ServerParameters, SipProfileError, sync


def add(name: str, aor: str, registrar: str) -> int:
    """Create and save it; an error says which value is wrong and what to do."""
    with sync.Sip("com.example.admin") as sip, sync.ManagedProfileRegistry(sip) as registry:
        profile = registry.create("ietf")
        profile.name, profile.aor = name, aor
        profile.registrar = ServerParameters(uri=registrar, password=os.environ.get("SIP_PASSWORD"))
        try:
            warnings = registry.save(profile)
        except SipProfileError as error:
            print(error, file=sys.stderr)
            return 1
        for warning in warnings:
            print(f"note: {warning.detail}")
        print(f"{profile.name} has the id {profile.id}")
        return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(add(*sys.argv[1:]))
