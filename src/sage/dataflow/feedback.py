"""Where a feedback loop begins."""

from __future__ import annotations

from typing import Any

from sage.dataflow.control import Probe
from sage.dataflow.plan import Stage
from sage.errors import DataflowError


class Feedback:
    """Passes on what comes back."""

    def execute(self, record: Any) -> Any:
        """Return the record."""
        return record


class LoopWatch:
    """Finds out when a loop is empty: when a probe has gone round and no record came before it.

    Args:
        stage: at which the loop begins.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._turn = 0
        self._quiet = False

    def probe(self) -> Probe:
        """Return the probe to send next."""
        self._turn += 1
        self._quiet = True
        return Probe(self._stage.id, self._turn, self._stage.loop)

    def came(self) -> None:
        """Take note of records that came back."""
        self._quiet = False

    @property
    def empty(self) -> bool:
        """Whether the loop has ended, the probe being back."""
        return self._quiet

    def refusal(self) -> DataflowError:
        """Return the error of records that come back after the end."""
        name = self._stage.nodes[0].name
        return DataflowError(
            f"records came back to from_future({name!r}) after its loop had ended: an operator in "
            "it keeps them until its input ends, by flush() or reduce(emit='end'); put that "
            "operator behind the loop"
        )
