"""Real counterparts as fixtures; where one is not installed its tests are skipped, in CI they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService

from .application import Application
from .kamailio import Kamailio, Settings
from .missing import cannot_run
from .namespace import Namespace, require_namespaces
from .sipp import Sipp
from .stored_profile import StoredProfile, alice

SHORT_TIMES = """
[sip]
bind = ['127.0.0.1']
[registration]
canary_interval = 1
backoff_base = 1
backoff_maximum = 2
resume_grace = 2
"""


def require(program: str | None, name: str, package: str) -> None:
    if program is not None:
        return
    cannot_run(f"{name} is not installed; `apt-get install {package}` brings it")


@pytest.fixture
def joined_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Two network namespaces joined by an Ethernet; they go with the test, after the processes in them."""
    require_namespaces()
    with Namespace() as near, Namespace() as far:
        near.link(far)
        yield near, far


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

        def start(scenario: str | Path, keys: Mapping[str, str], **more: Any) -> Sipp:
            directory = tmp_path / f"sipp-{len(list(tmp_path.iterdir()))}"
            return running.enter_context(Sipp(directory, scenario, keys, **more))

        yield start


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that waits shortly, for all tests of a file that do not end it."""
    service = RunningService(tmp_path_factory.mktemp("daemon"))
    service.configuration = SHORT_TIMES
    service.start()
    yield service
    service.kill()


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[RunningService]:
    """The same for one test, which may end it and start it again."""
    service = RunningService(tmp_path)
    service.configuration = SHORT_TIMES
    service.start()
    yield service
    service.kill()


@pytest.fixture
def add_alice(daemon: RunningService) -> Iterator[Callable[..., StoredProfile]]:
    """Stores Alice's profile at a Kamailio, with the given changes; it is removed after the test."""
    added: list[StoredProfile] = []

    def add(kamailio: Kamailio, **changes: Any) -> StoredProfile:
        added.append(StoredProfile(daemon, alice(kamailio, **changes)))
        return added[-1]

    yield add
    for profile in added:
        profile.discard()


@pytest.fixture
def start_application() -> Iterator[Callable[[RunningService, str], Application]]:
    """Starts a program that shares the named profile; it ends with the test."""
    with ExitStack() as running:
        yield lambda service, name: running.enter_context(Application(service.url, name))
