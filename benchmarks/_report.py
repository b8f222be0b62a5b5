"""What every benchmark prints and writes: machine, versions, command, figures."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sage.benchmark import machine as benchmark_machine

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Describe this machine: processor, cores this process may use, memory, system."""
    here = benchmark_machine.machine()
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": here["cpu"],
        # A benchmark may be pinned, which the machine's own count does not show.
        "cores": len(affinity(0)) if affinity else here["cores"],
        "memory_gib": here["memory_gib"],
        "system": here["system"],
        "python": platform.python_version(),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: importlib.metadata.version(name) for name in packages}


class Report:
    """Collects the figures of one benchmark, prints them as they come, and writes the JSON.

    Args:
        name: the file's stem under ``benchmarks/results``.
        packages: whose versions to name.
    """

    def __init__(self, name: str, packages: Sequence[str]) -> None:
        self._path = RESULTS / f"{name}.json"
        # An absolute path would name one person's machine.
        arguments = [
            str(Path(sys.argv[0]).resolve().relative_to(RESULTS.parents[1])),
            *sys.argv[1:],
        ]
        self._data: dict[str, Any] = {
            "command": shlex.join(["python", *arguments]),
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "machine": machine(),
            "versions": versions(["sage-stack", *packages]),
            "figures": {},
        }
        print(f"$ {self._data['command']}")
        print("  ".join(f"{key}: {value}" for key, value in self._data["machine"].items()))
        print("  ".join(f"{key} {value}" for key, value in self._data["versions"].items()))

    def add(self, name: str, value: Any, text: str) -> None:
        """Record a figure and print it as one line.

        Args:
            name: key in the JSON.
            value: the figure, or a dict of figures, unrounded.
            text: the line for a reader.
        """
        self._data["figures"][name] = value
        print(text, flush=True)

    def write(self) -> None:
        """Write the JSON file."""
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(self._data, indent=2) + "\n", encoding="utf-8")
        print(f"written: {self._path.relative_to(RESULTS.parents[1])}")

    def keep(self, names: Sequence[str]) -> None:
        """Take figures over from the file that is there, which another run has put into it."""
        if self._path.exists():
            data = json.loads(self._path.read_text(encoding="utf-8"))
            figures = data["figures"]
            self._data["figures"] |= {name: figures[name] for name in names if name in figures}

    def update(self, names: Sequence[str]) -> None:
        """Put some of the figures into the file of an earlier run, with the command they are of."""
        data = json.loads(self._path.read_text(encoding="utf-8"))
        for name in names:
            figures = {
                **self._data["figures"][name],
                "command": self._data["command"],
                "date": self._data["date"],
            }
            data["figures"][name] = figures
        self._path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        print(f"updated: {self._path.relative_to(RESULTS.parents[1])}")
