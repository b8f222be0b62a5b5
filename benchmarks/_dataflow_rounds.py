"""Contestants that take turns, each turn in a process of its own.

A script of contestants ends with ``serve({name: function})``; each function runs once, or a few
times, and returns its figures. A fresh process for each turn spreads what depends on where the
memory happens to lie over both sides of a comparison.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
Figures = dict[str, float]


@dataclass(frozen=True)
class Contestant:
    """One that is measured.

    Attributes:
        script: file under ``benchmarks`` that serves it.
        name: its name in there.
        python: that runs it.
        rounds: takes part in no more than so many; None for all.
    """

    script: str
    name: str
    python: Path = Path(sys.executable)
    rounds: int | None = None

    def turn(self, arguments: tuple[str, ...] = ()) -> Figures:
        """Run it once and return its figures.

        Raises:
            SystemExit: it failed; with the end of what it wrote.
        """
        return self.ended(self.started(arguments))

    def started(self, arguments: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Begin a turn."""
        command = [str(self.python), str(FOLDER / self.script), self.name, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ended(self, process: subprocess.Popen[str]) -> Figures:
        """Wait for the end of a turn and return its figures.

        Raises:
            SystemExit: it failed; with the end of what it wrote.
        """
        output, errors = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.script} {self.name} failed: {errors[-2000:]}")
        figures: Figures = json.loads(output.splitlines()[-1])
        return figures


def serve(contestants: Mapping[str, Callable[..., Figures]]) -> None:
    """Run the contestant that the command line names and print its figures."""
    print(json.dumps(contestants[sys.argv[1]](*sys.argv[2:])))


def alternate(
    contestants: Mapping[str, Contestant], rounds: int, arguments: tuple[str, ...] = ()
) -> dict[str, list[Figures]]:
    """Let contestants take turns; every other round goes the other way round.

    Returns:
        each one's figures, by round.
    """
    found: dict[str, list[Figures]] = {name: [] for name in contestants}
    for number in range(rounds):
        order = list(contestants.items())
        for name, contestant in order if number % 2 == 0 else reversed(order):
            if contestant.rounds is None or number < contestant.rounds:
                found[name].append(contestant.turn(arguments))
    return found


def side_by_side(
    first: Contestant, second: Contestant, rounds: int, arguments: tuple[str, ...] = ()
) -> tuple[list[Figures], list[Figures]]:
    """Let two contestants run at once, a core each, which they change with every round.

    For turns of minutes: the machine is faster in one minute than in the next, by more than two
    that are nearly equal differ.

    Returns:
        each one's figures, by round.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    found: tuple[list[Figures], list[Figures]] = ([], [])
    for _ in range(rounds):
        processes = []
        for contestant, core in zip((first, second), cores, strict=True):
            process = contestant.started(arguments)
            os.sched_setaffinity(process.pid, {core})
            processes.append(process)
        for contestant, process, figures in zip((first, second), processes, found, strict=True):
            figures.append(contestant.ended(process))
        cores.reverse()
    return found


def spread(values: list[float]) -> Figures:
    """Return the median of some values, with the lowest and the highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def ratios(ours: list[Figures], theirs: list[Figures], figure: str) -> Figures:
    """Return our figure over theirs of the same round."""
    # One that takes part in fewer rounds was in the first ones.
    return spread([a[figure] / b[figure] for a, b in zip(ours, theirs, strict=False)])


def shown(ratio: Figures) -> str:
    """Return a ratio as text."""
    return f"{ratio['median']:.2f} × ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
