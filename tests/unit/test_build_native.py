"""The compiled quick path: made whole or not at all, and used only when it is of the sources that are there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

import sipprofile
from interop.missing import cannot_run
from sipprofile.registration import native, quick, registrations
from sipprofile.server import quick_path
from sipprofile.server.native_sources import version_of

ROOT = Path(__file__).parents[2]
STUB = """
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "sipprofile._native"};
PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    PyModule_AddStringConstant(module, "VERSION", SIPPROFILE_VERSION);
    return module;
}
"""


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """native/build.py, with the sources of a module that says its version and nothing else."""
    if shutil.which("cc") is None:
        cannot_run("there is no C compiler; `apt-get install gcc libc6-dev` brings one")
    for name in ("SIPPROFILE_NATIVE", "CC", "CFLAGS", "LDFLAGS"):
        monkeypatch.delenv(name, raising=False)
    module = loaded("native_build", ROOT / "native/build.py")
    sources = tmp_path / "native"
    sources.mkdir()
    (sources / "module.c").write_text(STUB)
    monkeypatch.setattr(module, "SOURCES", sources)
    return module


class TestTheBuild:
    def test_the_module_says_of_what_it_is(self, builder: Any, tmp_path: Path) -> None:
        path = builder.build(tmp_path / "built")
        assert os.listdir(path.parent) == [builder.FILE_NAME]
        module = loaded("elsewhere._native", path)
        assert version_of(sipprofile.__version__, builder.SOURCES) == module.VERSION
        assert module.VERSION.startswith(f"{sipprofile.__version__}+")

    def test_the_same_sources_are_not_compiled_again(
        self, builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = builder.build(tmp_path)
        monkeypatch.setenv("CC", "false")
        assert builder.build(tmp_path) == path

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("CC", "no-such-compiler", "no C compiler (no-such-compiler)"),
            ("CC", "false", "false ended with 1"),
            ("CFLAGS", "-DSIPPROFILE_VERSION=)", "cc ended with 1"),
            ("SIPPROFILE_NATIVE", "0", "SIPPROFILE_NATIVE=0"),
        ],
    )
    def test_what_cannot_be_compiled_leaves_nothing_and_says_why(
        self, builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
    ) -> None:
        built = tmp_path / "built"
        builder.build(built)
        (builder.SOURCES / "module.c").write_text(STUB + "/* changed */")
        monkeypatch.setenv(name, value)
        with pytest.raises(builder.NotCompiled) as refused:
            builder.build(built)
        assert reason in str(refused.value)
        assert os.listdir(built) == []

    def test_where_python_has_no_headers_the_package_is_named(
        self, builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(builder.sysconfig, "get_path", lambda name: str(tmp_path))
        with pytest.raises(builder.NotCompiled, match=r"Python\.h is not in .*python3-dev"):
            builder.build(tmp_path / "built")


class TestTheModuleThatIsUsed:
    def imported(self, monkeypatch: pytest.MonkeyPatch, version: str) -> Any:
        """What registration/native.py makes of a compiled module of this version."""
        monkeypatch.setattr(sipprofile, "_native", SimpleNamespace(VERSION=version), raising=False)
        names = {"__name__": "sipprofile.registration.native", "__package__": "sipprofile.registration"}
        path = ROOT / "src/sipprofile/registration/native.py"
        exec(compile(path.read_text(), str(path), "exec"), names)
        return names["module"]

    def test_it_is_of_this_release(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.imported(monkeypatch, f"{sipprofile.__version__}+0123456789ab") is not None
        assert self.imported(monkeypatch, "0.0.0+0123456789ab") is None

    @pytest.fixture
    def current(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        monkeypatch.delenv("SIPPROFILE_NATIVE", raising=False)
        module = SimpleNamespace(VERSION=version_of(sipprofile.__version__, ROOT / "native"))
        monkeypatch.setattr(native, "module", module)
        monkeypatch.setattr(quick_path, "SOURCES", ROOT / "native")
        return module

    def test_it_is_of_the_sources_of_the_checkout(self, current: SimpleNamespace) -> None:
        assert quick_path.choose() is None
        assert native.usable()
        current.VERSION = f"{sipprofile.__version__}+0123456789ab"
        assert "other sources" in (quick_path.choose() or "")
        assert not native.usable()

    def test_the_environment_turns_it_off(self, current: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SIPPROFILE_NATIVE", "0")
        assert quick_path.choose() == "SIPPROFILE_NATIVE=0"
        assert not native.usable()

    def test_it_fits_the_rest_of_the_core(self, current: SimpleNamespace) -> None:
        current.bind = Mock(side_effect=TypeError("<class 'Flow'> has no slot lease"))
        quick.bind(registrations.Registrations)
        assert current.bind.called
        assert not native.usable()

    def test_the_tests_run_with_it(self) -> None:
        if os.environ.get("SIPPROFILE_NATIVE") != "0" and not native.usable():
            cannot_run(f"the quick path is not compiled for {sys.executable}; `make native` says why")
