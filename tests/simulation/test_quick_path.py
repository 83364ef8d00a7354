"""With the compiled quick path and without it, the same happens: each message, row, event and reply, in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from sipprofile.registration import native
from sipprofile.service.effects import Effect
from sipprofile.service.service import Service
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.run import simulate
from sipprofile.testing.simulation.sharing.run import share

pytestmark = pytest.mark.skipif(native.module is None, reason="the quick path is not compiled, or turned off")

FIRST_LONG_SEED = 30_001
CHUNK = 25
LONG = range(FIRST_LONG_SEED, FIRST_LONG_SEED + 4 * CHUNK, CHUNK)
usual = partial(simulate, usual=True)


class Watched:
    """One way of doing it, and what it has come to."""

    def __init__(self, patch: pytest.MonkeyPatch, module: Any) -> None:
        self.answers = 0
        """To REGISTER requests, that came in."""
        self.taken = 0
        """Of them, those that the quick path has dealt with."""
        self.module = module
        self.effects = hashlib.sha256()
        take, received = Service.take, Computer._received

        def taking(service: Service) -> list[Effect]:
            effects = take(service)
            for effect in effects:
                self.effects.update(repr(type(effect)).encode())
                self.effects.update(msgspec.msgpack.encode(effect, enc_hook=lambda other: type(other).__name__))
            return effects

        def receiving(computer: Computer, data: bytes, *arguments: Any) -> None:
            self.answers += data.startswith(b"SIP/2.0 ") and b" REGISTER\r\n" in data
            received(computer, data, *arguments)

        patch.setattr(Service, "take", taking)
        patch.setattr(Computer, "_received", receiving)
        patch.setattr(native, "module", None if module is None else self)
        patch.setattr("sipprofile.registration.plain.FIRST_MISSES", 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def answered(self, *arguments: Any) -> bool:
        taken = bool(self.module.answered(*arguments))
        self.taken += taken
        return taken


def both_ways(run: Callable[[int], Any], seed: int) -> tuple[int, int]:
    """How many answers to REGISTER came in, and how many of them the quick path has dealt with."""
    found = []
    for module in (native.module, None):
        with pytest.MonkeyPatch.context() as patch:
            watched = Watched(patch, module)
            found.append((run(seed), watched.effects.hexdigest(), watched.answers))
            if module is not None:
                taken = watched.taken
    assert found[0] == found[1]
    return found[0][2], taken


@pytest.mark.parametrize(("run", "seed"), [(usual, 1), (usual, 2), (simulate, 3), (share, 4)])
def test_the_same_happens(run: Callable[[int], Any], seed: int) -> None:
    answers, taken = both_ways(run, seed)
    assert taken > 0
    if run is usual:
        assert taken > answers / 3


@pytest.mark.long
@pytest.mark.parametrize("first", LONG)
@pytest.mark.parametrize("run", [usual, simulate, share])
def test_it_does_with_many_seeds(run: Callable[[int], Any], first: int) -> None:
    for seed in range(first, first + CHUNK):
        both_ways(run, seed)
