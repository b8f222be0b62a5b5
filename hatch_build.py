"""Compiles the scheduling core with mypyc when a wheel is built with SAGE_COMPILE=1."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INFERENCE = "src/sage/inference"
HOT = ("known_heads", "metrics", "usage")
"""Modules of the gateway that each request goes through and that wait for nothing."""

LEFT_OUT = ("__init__", "strategies", "form", "slo")
"""Modules that only list or load others, and what configuration reads the annotations of."""
NEEDS = ["mypy[mypyc]>=1.18", "setuptools>=70"]


class CompiledCore(BuildHookInterface):
    """Adds the compiled modules beside their sources, which Python then passes over.

    Only when asked: a plain build needs no C compiler and makes one wheel for every machine. A
    build that was asked and cannot compile fails, so that nobody gets the slower one unawares.
    """

    def dependencies(self) -> list[str]:
        """Return what compiling needs."""
        return NEEDS if _asked() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel hold what came of it."""
        if not _asked() or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for module in compile_core(Path(self.root), Path(self._folder.name)):
            inside = module.relative_to(self._folder.name)
            build_data["force_include"][str(module)] = str(inside)

    def finalize(self, *_: Any) -> None:
        """Remove what was compiled."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _asked() -> bool:
    return os.environ.get("SAGE_COMPILE") == "1"


def compile_core(root: Path, folder: Path, *, level: str = "3") -> list[Path]:
    """Compile the core's modules into a folder; return the extension modules, in their packages.

    Args:
        root: of the project.
        folder: where the modules go, an empty one.
        level: of the C compiler's optimisation; less of it compiles faster.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    core, gateway = root / INFERENCE / "scheduling", root / INFERENCE / "gateway"
    sources = [path for path in sorted(core.rglob("*.py")) if path.stem not in LEFT_OUT]
    sources += [gateway / f"{name}.py" for name in HOT]
    back = Path.cwd()
    # mypyc names modules by where they lie from here.
    os.chdir(root / "src")
    try:
        names = [str(path.relative_to(root / "src")) for path in sources]
        # What the core does not need, such as what `sage` offers users, is not there to be checked.
        options = [
            "--config-file=",
            "--cache-dir=/dev/null",
            "--follow-imports=silent",
            "--ignore-missing-imports",
        ]
        with tempfile.TemporaryDirectory() as scratch:
            modules = mypycify([*options, *names], opt_level=level, target_dir=scratch)
            command = build_ext(Distribution({"ext_modules": modules}))
            command.build_temp, command.build_lib = scratch, str(folder)
            command.ensure_finalized()
            command.run()
    finally:
        os.chdir(back)
    return [path for path in sorted(folder.rglob("*")) if path.suffix in (".so", ".pyd")]
