"""The compiled quick path of the core, where there is one; everything that it does is done in Python otherwise."""

from __future__ import annotations

from typing import Any

from .. import __version__

module: Any
"""``sipprofile._native``, or None: not compiled, of another version, or turned off by whoever set it so."""

try:
    from .. import _native as module
except ImportError:
    module = None
else:
    if module.VERSION.partition("+")[0] != __version__:
        module = None


def usable() -> bool:
    return module is not None
