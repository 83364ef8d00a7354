"""What the compiled quick path is made from, in a word; native/build.py runs this file by itself."""

from __future__ import annotations

import hashlib
from pathlib import Path


def version_of(release: str, sources: Path) -> str:
    """``0.1.0+`` and a short hash of what is in the directory ``sources``."""
    found = hashlib.sha256()
    for path in sorted(path for path in sources.iterdir() if path.suffix in (".c", ".h", ".py")):
        content = path.read_bytes()
        found.update(f"{path.name} {len(content)}\n".encode() + content)
    return f"{release}+{found.hexdigest()[:12]}"
