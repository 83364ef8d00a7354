"""Real counterparts as fixtures; where one is not installed its tests are skipped, in CI they fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .kamailio import Kamailio, Settings
from .sipp import Sipp


def require(program: str | None, name: str, package: str) -> None:
    if program is not None:
        return
    sentence = f"{name} is not installed; `apt-get install {package}` brings it"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture
def start_kamailio(tmp_path: Path) -> Iterator[Callable[..., Kamailio]]:
    """Starts a Kamailio with the given fields of kamailio.Settings; it ends with the test."""
    require(Kamailio.program(), "kamailio", "kamailio")
    with ExitStack() as running:

        def start(**settings: Any) -> Kamailio:
            directory = tmp_path / f"kamailio-{len(list(tmp_path.iterdir()))}"
            return running.enter_context(Kamailio(directory, Settings(**settings)))

        yield start


@pytest.fixture
def kamailio(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    """A Kamailio that knows alice with the password 'secret'."""
    return start_kamailio()


@pytest.fixture
def start_sipp(tmp_path: Path) -> Iterator[Callable[..., Sipp]]:
    """Starts SIPp with a scenario of scenarios/ and its keys; it ends with the test."""
    require(Sipp.program(), "sipp", "sip-tester")
    with ExitStack() as running:

        def start(scenario: str, keys: Mapping[str, str], *, limit: int = 60) -> Sipp:
            directory = tmp_path / f"sipp-{len(list(tmp_path.iterdir()))}"
            return running.enter_context(Sipp(directory, scenario, keys, limit=limit))

        yield start
