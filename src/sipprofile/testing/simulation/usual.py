"""What most registrations are like: over UDP, at an address that does not change, without a NAT, many at a time.

Short ways, compiled or not, are for those. Among what the seeds have otherwise they are taken seldom.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.operator import new_document
from sipprofile.testing.simulation.sites import NUMERIC

PROFILES = 50
T2 = 64.0  # seconds: who answers that often has not been silent, and wakes nobody


def usual_document(chosen: random.Random, user: str) -> dict[str, Any]:
    """A profile of the account ``user``."""
    document = new_document(chosen, user)
    host = document["aor"].partition("@")[2]
    document["registrar"]["uri"] = f"sip:{NUMERIC[host]}"
    return {name: value for name, value in document.items() if name not in ("headers", "proxies")}


def usual_settings(settings: ServiceSettings) -> ServiceSettings:
    """``settings`` with which a few dozen profiles are as busy as thousands."""
    return msgspec.structs.replace(settings, registration=msgspec.structs.replace(settings.registration, t2=T2))
