"""Whether this process uses the compiled quick path of the core."""

from __future__ import annotations

import os
from pathlib import Path

from .. import __version__
from ..registration import native
from .native_sources import version_of

SWITCH = "SIPPROFILE_NATIVE"
"""In the environment: ``0`` turns it off."""

SOURCES = Path(__file__).parents[3] / "native"


def refusal() -> str | None:
    """Why a quick path that is there must not be used: one sentence, or None.

    In a checkout it may be of other sources than those that are there. An installation has no sources.
    """
    if native.module is None:
        return None
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH}=0"
    if (SOURCES / "module.c").exists() and version_of(__version__, SOURCES) != native.module.VERSION:
        return "it is of other sources than native/ has; scripts/build-native compiles it"
    return None


def choose() -> str | None:
    """Turn it off when it must not be used, and say why; to be called before a service is made."""
    reason = refusal()
    if reason is not None:
        native.module = None
    return reason
