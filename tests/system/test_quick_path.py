"""The daemon says whether the compiled quick path is used, and the environment turns it off."""

from __future__ import annotations

import pytest

from sipprofile.registration import native

from .conftest import RunningService


@pytest.mark.parametrize(("environment", "used"), [({}, native.usable()), ({"SIPPROFILE_NATIVE": "0"}, False)])
def test_it_is_told_in_the_log_and_in_the_status(
    service: RunningService, environment: dict[str, str], used: bool
) -> None:
    service.environment |= environment
    service.start()
    assert service.request("GET", "/v1/status").document["native"] is used
    (ready,) = [line for line in service.lines() if line["event"] == "ready"]
    assert ready["native"] is used
