"""A service that is broken on purpose is found out, in the words of the promise that it breaks."""

from __future__ import annotations

import pytest
from mutations import MUTATIONS, Mutation
from noticed import check


@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if each.quick], ids=lambda each: each.name)
def test_some_every_time(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if not each.quick], ids=lambda each: each.name)
def test_and_all_the_others(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)
