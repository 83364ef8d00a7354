"""Stored profiles, written as the daemon's own writer does, but many to a transaction."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from typing import Literal
from uuid import UUID

from sipprofile.profile import Profile, ServerParameters
from sipprofile.records import RESERVED_BLOCK, FlowRecord, PutProfile
from sipprofile.server.state import open_store

AT_ONCE = 1000
EXPIRES = 60  # seconds; the first refreshes come after half of it


def fill(
    state: Path, count: int, registrar: str, register: Literal["always", "on-demand"], expires: int = EXPIRES
) -> None:
    """Make a store with `count` profiles, each with a user name and a password of its own."""
    store = open_store(state)
    made = (_put(number, registrar, register, expires) for number in range(1, count + 1))
    while writes := list(islice(made, AT_ONCE)):
        store.commit(writes)
    store.close()


def _put(number: int, registrar: str, register: Literal["always", "on-demand"], expires: int) -> PutProfile:
    profile = Profile(
        id=number,
        name=f"line{number}",
        aor=f"sip:user{number}@bench.example",
        registrar=ServerParameters(uri=registrar, username=f"user{number}", password=f"secret{number}"),
        register=register,
        expires=expires,
        instance_id=str(UUID(int=random.getrandbits(128), version=4)),
        default=number == 1,
    )
    flow = FlowRecord(
        profile=number,
        call_id=f"{random.getrandbits(128):032x}",
        contact_token=f"{random.getrandbits(120):030x}",
        cseq_reserved=RESERVED_BLOCK,
    )
    return PutProfile(profile, 1, flows=(flow,))
