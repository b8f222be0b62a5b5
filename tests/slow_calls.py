"""A plain function that hangs on one of its records, with a timeout."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sage.dataflow.pipeline import Pipeline


def add_slow_calls(env: Pipeline) -> list[Any]:
    """Add three calls to a pipeline, the second too long; return the list of those that ended.

    Function and records are of no module's, so another process has them only by their code.
    """

    @dataclass
    class Wait:
        seconds: float

    def sleep(wait: Wait) -> Wait:
        if wait.seconds:
            time.sleep(wait.seconds)
        return wait

    out: list[Any] = []
    waits = env.from_collection([Wait(0), Wait(300), Wait(0)])
    waits.map(sleep, workers="process", timeout=0.5, on_error="dead_letter").sink(out)
    return out
