"""Stores to begin with, made once in a process and copied for every simulation."""

from __future__ import annotations

import functools
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from sipprofile.profile import Profile, decode
from sipprofile.records import ConfigurationWrite, FlowRecord, PutProfile
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store
from sipprofile.testing.simulation.operator import new_document

VARIANTS = 4


class Template:
    """A store with profiles that nobody has used yet, and their passwords by account."""

    def __init__(
        self,
        profiles: int,
        variant: int,
        document_of: Callable[[random.Random, str], dict[str, Any]] = new_document,
    ) -> None:
        """``document_of`` makes the profile of a user."""
        self.keys = KeyRing.generate()
        self.accounts: dict[str, str] = {}
        self._directory = tempfile.TemporaryDirectory(prefix="sipprofile-simulation-")
        self._path = Path(self._directory.name) / "template.db"
        chosen = random.Random(f"template {profiles} {variant}")
        store = Store.open(self._path, self.keys, synchronous="OFF")
        writes: list[ConfigurationWrite] = []
        for number in range(1, profiles + 1):
            document = document_of(chosen, f"user{number}")
            self.accounts[f"user{number}"] = document["registrar"]["password"]
            writes.append(PutProfile(_profile(number, document, chosen), 1, "", (_flow(number, chosen),)))
        store.commit(writes)
        self.records = list(store.load())
        store.close()

    def copy(self, path: Path) -> None:
        """A store of one's own."""
        shutil.copyfile(self._path, path)


@functools.cache
def template(
    profiles: int, variant: int, document_of: Callable[[random.Random, str], dict[str, Any]] = new_document
) -> Template:
    """The template with so many profiles."""
    return Template(profiles, variant, document_of)


def _profile(number: int, document: dict[str, Any], chosen: random.Random) -> Profile:
    profile = decode(document)
    instance = f"{chosen.getrandbits(128):032x}"
    return msgspec.structs.replace(
        profile,
        id=number,
        instance_id=f"{instance[:8]}-{instance[8:12]}-4{instance[13:16]}-8{instance[17:20]}-{instance[20:]}",
        default=number == 1,
    )


def _flow(number: int, chosen: random.Random) -> FlowRecord:
    return FlowRecord(
        profile=number,
        call_id=f"{chosen.getrandbits(128):032x}",
        contact_token=f"{chosen.getrandbits(120):030x}",
        cseq_reserved=256,
    )
