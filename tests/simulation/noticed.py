"""Whether the simulation notices what a mutation breaks."""

from __future__ import annotations

import pytest
from mutations import Mutation

from sipprofile.registration import native
from sipprofile.testing.simulation.promise import Promise, Violation


def found_by(mutation: Mutation) -> list[Promise | None]:
    """The promises that seeds found broken, until it is the one that must be."""
    found: list[Promise | None] = []
    for seed in range(1, mutation.seeds + 1):
        try:
            mutation.run(seed)
        except Violation as violation:
            found.append(violation.promise)
            if mutation.promise in (None, violation.promise):
                break
    return found


def check(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "module", None)
    mutation.breaks(monkeypatch)
    found = found_by(mutation)
    assert found, f"none of {mutation.seeds} seeds noticed it"
    assert mutation.promise in (None, found[-1]), f"found, but as {found}"
