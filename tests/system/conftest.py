"""A daemon for every test, and one for tests that change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from running_service import RunningService

__all__ = ["RunningService"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service that is not started yet."""
    service = RunningService(tmp_path)
    yield service
    service.kill()


@pytest.fixture
def daemon(service: RunningService) -> RunningService:
    """A service that is ready."""
    service.start()
    return service


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that is ready, for tests that leave it as it is."""
    service = RunningService(tmp_path_factory.mktemp("shared"))
    service.start()
    yield service
    service.kill()
