"""Where the torture messages of RFC 4475 are: in SIPPROFILE_CORPUS, or beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

CORPUS = Path(
    os.environ.get("SIPPROFILE_CORPUS") or Path(__file__).resolve().parents[2].parent / "shared" / "corpus" / "rfc4475"
)
