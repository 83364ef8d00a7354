"""Sharing that is broken on purpose is found out, in the words of the promise that it breaks."""

from __future__ import annotations

import pytest
from mutations import Mutation
from noticed import check
from sharing_mutations import SHARING


@pytest.mark.parametrize("mutation", [each for each in SHARING if each.quick], ids=lambda each: each.name)
def test_some_every_time(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("mutation", [each for each in SHARING if not each.quick], ids=lambda each: each.name)
def test_and_all_the_others(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)
