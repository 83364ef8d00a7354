"""What a test needs and this machine lacks: skipped with a clear word, in CI a failure."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def cannot_run(sentence: str) -> NoReturn:
    """End the test; ``sentence`` says what is missing and what brings it."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)
