"""The step of an installation that compiles the core's quick path where that can be done, see native/build.py."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeHook(BuildHookInterface):
    """Into the wheel, which then is for one Python and platform, or beside the package of an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        native = runpy.run_path(str(Path(self.root, "native/build.py")))
        editable = version == "editable"
        self._temporary = tempfile.TemporaryDirectory()
        try:
            path = native["build"](native["PACKAGE"] if editable else Path(self._temporary.name))
        except (native["NotCompiled"], OSError) as reason:
            self.app.display_warning(f"sipprofile: {native['WITHOUT']} {reason}")
            return
        self.app.display_info(f"sipprofile: {native['COMPILED']}")
        if not editable:
            build_data["force_include"][str(path)] = f"sipprofile/{path.name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._temporary.cleanup()
