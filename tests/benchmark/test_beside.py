"""What a terminal shows of a run beside its tables."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from sage.benchmark.beside import show_beside
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.load import LoadResult
from sage.benchmark.run import Run
from sage.benchmark.server_pages import ServerReport
from sage.benchmark.summary import summarise
from sage.benchmark.verdict import judge
from sage.dataflow.gpu import GpuReading
from tests.benchmark.exchanges import exchange


def _shown(**beside: Any) -> str:
    exchanges = [exchange(index, index / 10, e2e=0.1) for index in range(200)]
    load = LoadResult(exchanges, 0, 0.0, 0.1, 10.0, [])
    summary = summarise(load, LLMBenchmarkConfig())
    out = io.StringIO()
    run = Run("fifo", 0, 0, summary, judge(load), load, **beside)
    show_beside(run, Console(file=out, width=120))
    return out.getvalue()


def test_a_run_says_how_sure_it_is() -> None:
    """And nothing of what there is not."""
    (line,) = _shown().splitlines()
    assert line.startswith("95% intervals of this run: 98.2% to 100.0% in SLO, ")


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    """And an engine's page that cannot be read is named."""
    shown = _shown(
        gpus=[
            GpuReading(0, "H200", 3 * 2**30, 9 * 2**30, 0.5, 4, 300.0),
            GpuReading(1, "old", None, None, None, 4),
        ],
        servers=[
            ServerReport("target", "http://a/metrics", problem="answers 404"),
            ServerReport("llm-1", "http://b/metrics", problem="answers 404"),
        ],
    )
    assert "GPU 0, H200: 50% busy, 300 W, 3.0 GiB at most" in shown
    assert "GPU 1, old: tells nothing" in shown
    assert "no metrics of llm-1: http://b/metrics answers 404" in shown
