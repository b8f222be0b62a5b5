"""Progress on stderr: a bar where that is a terminal, and a line for each run of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sage.benchmark.exchange import Exchange

if TYPE_CHECKING:
    from rich.progress import Progress

    from sage.benchmark.sweep.outcome import Point
    from sage.benchmark.sweep.plan import Turn


def _bar(*, counts: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn() if counts else TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


@contextmanager
def progress(total: int, *, every: int = 1) -> Iterator[Callable[[Exchange], None]]:
    """Show how many answers have come and how long the rest will take.

    Args:
        total: answers that are expected.
        every: the bar moves once in so many answers.

    Yields:
        what is to be called with each answer.
    """
    with _bar(counts=True) as bar:
        task = bar.add_task("requests", total=total)
        answers = 0

        def answered(_: Exchange) -> None:
            nonlocal answers
            answers += 1
            if answers % every == 0:
                bar.advance(task, every)

        yield answered


class SweepProgress:
    """Shows how a sweep gets on, and how long the rest will take; entered, it draws.

    Args:
        axis: what is varied.
        unit: of its values.
        every: the bar moves once in so many answers.
    """

    def __init__(self, axis: str, unit: str, *, every: int = 1) -> None:
        self._axis = axis
        self._unit = unit
        self._every = every
        self._bar = _bar(counts=False)
        self._task = self._bar.add_task("", total=None)
        self._runs = 0
        self._share = 1.0
        self._answers = 0

    def __enter__(self) -> SweepProgress:
        """Begin to draw."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()

    def begins(self, turn: Turn, expected: int) -> None:
        """Take the run that begins, and about how many there will be in all."""
        self._answers = 0
        name = turn.policy or "policy in force"
        text = f"{name}, {self._axis} {turn.value:g}, seed {turn.seed}"
        self._bar.update(self._task, description=text, completed=self._runs, total=expected)

    def planned(self, requests: int) -> None:
        """Take how many requests the run that began has."""
        self._share = self._every / requests

    def answered(self, _: Exchange) -> None:
        """Take an answer."""
        self._answers += 1
        if self._answers % self._every == 0:
            self._bar.advance(self._task, self._share)

    def ended(self, turn: Turn, point: Point) -> None:
        """Take what a run gave."""
        self._runs += 1
        overall = point.overall
        self._bar.console.print(
            f"{point.policy or 'policy in force'} at {turn.value:g} {self._unit}, "
            f"seed {turn.seed}: {overall.attainment:.1%} in SLO, {overall.goodput:.2f} good/s"
            + ("" if point.valid else "; INVALID, the client was the bottleneck"),
            highlight=False,
        )
