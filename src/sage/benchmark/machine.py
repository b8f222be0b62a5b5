"""Where a run was made, so that it can be made again."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = ("sage-stack", "uvloop", "httptools", "msgspec", "uvicorn", "xllamacpp", "onnxruntime")


def machine() -> dict[str, str | int | float]:
    """Return processor, cores, memory and system."""
    return {
        "cpu": _cpu(Path("/proc/cpuinfo")),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return Python's version and those of the packages that matter and are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in lines.splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
