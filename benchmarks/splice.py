"""Put a text into a page, between two comments that name it. ``python -m benchmarks.splice PAGE NAME FILE``."""

from __future__ import annotations

import sys
from pathlib import Path


def splice(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->`. Raises ValueError unless each is there once."""
    written = page.read_text(encoding="utf-8")
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if written.count(first) != 1 or written.count(last) != 1 or written.index(first) > written.index(last):
        raise ValueError(f"{page} needs the lines {first.strip()} and {last}, once each and in this order")
    before, _, rest = written.partition(first)
    after = rest[rest.index(last) :]
    page.write_text(f"{before}{first}\n{text.strip()}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    splice(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text(encoding="utf-8"))
