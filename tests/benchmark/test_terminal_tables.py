"""Tables on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from sage.benchmark.classes import INTERACTIVE_AND_BULK
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.report import show_run, terminal_table
from sage.benchmark.simulate.bench import SimulatedBench
from sage.benchmark.simulate.config import SimulationConfig


def test_a_run_fits_a_narrow_terminal() -> None:
    """80 columns hold every figure of every class, percentiles to P99.9 among them."""
    config = LLMBenchmarkConfig(classes=INTERACTIVE_AND_BULK, rate=500, requests=1500)
    run = SimulatedBench(config, SimulationConfig()).run()
    written = io.StringIO()
    show_run(run, Console(file=written, width=80))
    text = written.getvalue()
    assert "…" not in text
    assert "P99.9" in text
    for summary in run.summary.classes:
        line = next(
            line
            for line in text.splitlines()
            if line.split()[:3] == [summary.name, str(summary.issued), str(summary.answered)]
        )
        assert line.split()[-2] == f"{summary.goodput:.2f}"
        assert summary.e2e_ms is not None
        assert f"{summary.e2e_ms.p999:,.1f}" in text


def test_what_does_not_fit_is_folded_not_shortened() -> None:
    """However narrow the terminal, no digit is lost."""
    table = terminal_table("title", ("name", "figure"), words=1)
    table.add_row("interactive", "123456789.25")
    written = io.StringIO()
    Console(file=written, width=12).print(table)
    assert "…" not in written.getvalue()
    rows = [line.split() for line in written.getvalue().splitlines()]
    assert "".join(row[-1] for row in rows if row and row[-1][0].isdigit()) == "123456789.25"
