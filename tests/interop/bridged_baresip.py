"""baresip behind a bridge, with the configuration of docs/recipes/baresip.md: its ports alone are the test's own."""

from __future__ import annotations

import re
import time
from pathlib import Path

from .baresip import ANSWER_LIMIT, Baresip

RECIPE = Path(__file__).parents[2] / "docs" / "recipes" / "baresip.md"


class BridgedBaresip(Baresip):
    """A phone that registers at the bridge at `bridge_port`."""

    def __init__(self, directory: Path, bridge_port: int) -> None:
        account = _recipe("<sip:").replace(":5080>", f":{bridge_port}>")
        self._prepare(directory, account, f"sip:bob@127.0.0.1:{bridge_port}")
        self._listen = _recipe("sip_listen").replace(":5062", f":{self.port}")

    def wait_until_registered(self) -> None:
        """Returns when it says so."""
        deadline = time.monotonic() + 2 * ANSWER_LIMIT
        while "200 OK () [1 binding]" not in self.shown():
            assert time.monotonic() < deadline, self.shown()[-2000:]
            time.sleep(0.02)


def _recipe(begin: str) -> str:
    """The block of the recipe that begins like this."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", RECIPE.read_text(), re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if block.startswith(begin)).strip()
