"""How sure a run's figures are, and what was seen beside it, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sage.benchmark.run import Run
from sage.dataflow.gpu import GpuReading

if TYPE_CHECKING:
    from rich.console import Console


def show_beside(run: Run, console: Console) -> None:
    """Print a line for each thing there is to say."""
    for line in _lines(run):
        console.print(line, highlight=False)


def _lines(run: Run) -> Iterator[str]:
    intervals = run.summary.overall.intervals
    share, rate = intervals.get("attainment"), intervals.get("goodput")
    if share is not None and rate is not None:
        yield (
            f"95% intervals of this run: {share.low:.1%} to {share.high:.1%} in SLO, "
            f"{rate.low:.2f} to {rate.high:.2f} good/s"
        )
    yield from map(_of_gpu, run.gpus)
    for server in run.servers:
        # A target without such a page is common; an engine listed without one is worth a word.
        if server.problem and len(run.servers) > 1:
            yield f"no metrics of {server.name}: {server.url} {server.problem}"


def _of_gpu(gpu: GpuReading) -> str:
    busy, power, memory = gpu.utilisation_mean, gpu.power_mean, gpu.memory_peak
    parts = (
        "" if busy is None else f"{busy:.0%} busy",
        "" if power is None else f"{power:.0f} W",
        "" if memory is None else f"{memory / 2**30:.1f} GiB at most",
    )
    return f"GPU {gpu.index}, {gpu.name}: {', '.join(filter(None, parts)) or 'tells nothing'}"
