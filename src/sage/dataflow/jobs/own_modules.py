"""The modules that a script brings along, which no other machine has."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any


@contextmanager
def own_modules_by_value(cloudpickle: Any) -> Iterator[None]:
    """Have what comes from the script's own modules pickled whole within the block.

    By default that holds for the main module alone; a class or function of another module is
    pickled as its name, for whoever has that module.

    Args:
        cloudpickle: the package.
    """
    before = set(cloudpickle.list_registry_pickle_by_value())
    mine = [module for module in own_modules() if module.__name__ not in before]
    for module in mine:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in mine:
            cloudpickle.unregister_pickle_by_value(module)


def own_modules() -> list[ModuleType]:
    """Return the loaded modules that lie in the script's folder or below, SAGE's own left out."""
    folders = _script_folders()
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name != "__main__"
        and name.partition(".")[0] != "sage"
        and getattr(module, "__name__", None) == name
        and (file := _file(module)) is not None
        and any(file.is_relative_to(folder) for folder in folders)
        and not _is_installed(file)
    ]


def _script_folders() -> list[Path]:
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None:  # typed into an interpreter or a notebook
        return [Path.cwd()]
    folders = [Path(file).absolute().parent]
    if getattr(main, "__spec__", None) is not None:  # python -m: modules are found from here
        folders.append(Path.cwd())
    return folders


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if isinstance(file, str) else None


def _is_installed(file: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(file.parts):
        return True
    return any(
        file.is_relative_to(folder)
        for name, folder in sysconfig.get_paths().items()
        if name in ("stdlib", "platstdlib")
    )
