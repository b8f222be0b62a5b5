"""Does the runs that a sweep asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sage.benchmark.run import Run
from sage.benchmark.sweep.outcome import Outcome, Point, figures_of
from sage.benchmark.sweep.plan import Sweep, Turn
from sage.errors import SageError


class Watcher(Protocol):
    """Who is told how a sweep gets on."""

    def begins(self, turn: Turn, expected: int) -> None:
        """Take the run that begins, and about how many there will be in all."""

    def ended(self, turn: Turn, point: Point) -> None:
        """Take what a run gave."""


def drive(
    sweep: Sweep, run: Callable[[Turn], Run], watcher: Watcher
) -> tuple[Outcome, SageError | None]:
    """Do the runs until none is left, or one is broken off.

    Returns:
        What was found, and the error that ended it before its time.

    Args:
        sweep: which runs.
        run: does one.
        watcher: told before and after each.

    Raises:
        SageError: as the first ``run`` does; there is nothing yet that is worth keeping.
    """
    broken: SageError | None = None
    try:
        while (turn := sweep.next()) is not None:
            watcher.begins(turn, sweep.expected())
            measured = run(turn)
            if not measured.complete:
                break
            classes = {item.name: figures_of(item) for item in measured.summary.classes}
            valid = measured.verdict.valid
            point = sweep.tell(classes, policy=measured.policy, valid=valid)
            watcher.ended(turn, point)
    except KeyboardInterrupt:
        # A live run takes Ctrl-C itself and is then incomplete; this is one between two runs, or
        # in simulated time. What was measured before is still worth having.
        pass
    except SageError as error:
        broken = error
    outcome = sweep.outcome()
    if broken is not None and not outcome.points:
        raise broken
    return outcome, broken
