"""Measure a workload and write the results."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.benchmark.commands.progress import progress
from sage.benchmark.commands.targets import check_output, check_target, live_target
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.simulate.options import build_simulation, split_options
from sage.errors import SageError

if TYPE_CHECKING:
    from rich.console import Console

    from sage.benchmark.bounds import Standing
    from sage.benchmark.report import Origin
    from sage.benchmark.run import Bench, Run
    from sage.benchmark.simulate.bench import SimulatedBench
    from sage.benchmark.target import Found

    Runs = tuple[list[Run], SageError | None]

INTERRUPTED = 130
INVALID = 7  # no SageError's code, so that scripts can tell a run that counts from one that doesn't
# They end by thousands a second: a bar that moved for each would take most of the time.
SIMULATED_EVERY = 1000


def measure(
    config: BenchmarkConfig,
    options: dict[str, Any],
    *,
    comparing: bool = False,
    bounds: bool = False,
) -> int:
    """Measure, report, and return the exit code.

    Args:
        config: validated.
        options: the command's flags about target, results and simulated engines.
        comparing: whether the configuration's policies take turns.
        bounds: whether a simulated run is set beside what could be reached.

    Raises:
        SageError: flags contradict, or there is nothing to measure.
    """
    from sage.benchmark.run import Bench

    check_target(config, options)
    check_output(options["output"], options["reports"])
    origin = make_origin(options["api_key"])
    if bounds:
        from sage.benchmark.bounds import check_bounded

        check_bounded(config)
    standing = None
    if options["simulate"]:
        found, (runs, error) = _simulate(config, options, comparing)
        if bounds and runs[0].complete:
            standing = _stand(config, options, runs[0])
    else:
        with live_target(config, options) as found:
            runs, error = _runs(config, partial(Bench, config, found), comparing)
    code = _report(
        config, found, origin, runs, options=options, comparing=comparing, standing=standing
    )
    if error is not None:
        raise error
    return code


def make_origin(api_key: str | None) -> Origin:
    """Return this command line, without the key, and the present moment."""
    from sage.benchmark.report import Origin

    arguments = [item.replace(api_key, "…") if api_key else item for item in sys.argv[1:]]
    command = shlex.join(["sage-cp-bench", *arguments])
    return Origin(command, dt.datetime.now(dt.UTC).isoformat("T", "seconds"))


def _simulate(
    config: BenchmarkConfig, options: dict[str, Any], comparing: bool
) -> tuple[Found, Runs]:
    from sage.benchmark.simulate.bench import SimulatedBench

    simulation = build_simulation(config, split_options(options)[0])
    make = partial(SimulatedBench, config, simulation)
    return make().found, _runs(config, make, comparing, every=SIMULATED_EVERY)


def _stand(config: BenchmarkConfig, options: dict[str, Any], run: Run) -> Standing:
    """Set a run beside the reference and the bound, with a line on the way there."""
    from rich.console import Console

    from sage.benchmark.bounds import Reference, stand

    simulation = build_simulation(config, split_options(options)[0])
    simulation = replace(simulation, policy=run.policy or simulation.policy)
    with Console(stderr=True).status("looking for the best plan") as status:

        def tell(best: Reference) -> None:
            status.update(f"plan {best.tries}: the best has {best.good} in SLO")

        return stand(run.load.exchanges, config, simulation, on_try=tell)


def _runs(
    config: BenchmarkConfig,
    make: Callable[..., Bench | SimulatedBench],
    comparing: bool,
    *,
    every: int = 1,
) -> Runs:
    """Measure, with a progress bar, and return the runs and what ended them before their time.

    An interrupted run is the last.
    """
    from sage.benchmark.workload import plan_requests

    total = len(plan_requests(config)) * _expected(config, comparing)
    runs: list[Run] = []
    broken: SageError | None = None
    with progress(total, every=every) as answered:
        bench = make(on_answer=answered)
        try:
            # Extended one by one, so that what came before an interrupt or an error is kept.
            runs.extend(bench.compare() if comparing else bench.once())
        except KeyboardInterrupt:
            # Between two runs; inside one it ends that run, which is then in the list.
            if not runs:
                raise
        except SageError as error:
            # Such as a gateway that has died: what it answered before is reported first.
            if not runs:
                raise
            broken = error
    return runs, broken


def _expected(config: BenchmarkConfig, comparing: bool) -> int:
    return config.rounds * len(config.policies) if comparing else 1


def _report(
    config: BenchmarkConfig,
    found: Found,
    origin: Origin,
    runs: Sequence[Run],
    *,
    options: dict[str, Any],
    comparing: bool,
    standing: Standing | None,
) -> int:
    from rich.console import Console

    from sage.benchmark.comparison import compare_runs
    from sage.benchmark.report import document, show_comparison, show_run, show_verdict

    console = Console()
    comparison = compare_runs(runs, config.policies) if comparing else None
    if comparison is None:
        show_run(runs[0], console)
    else:
        show_comparison(comparison, console)
        for one in runs:
            if not one.verdict.valid:
                show_verdict(one, console)
    if standing is not None:
        console.print(standing.describe(), highlight=False)
    console.print(f"target {found.url}; seed {config.seed}; {origin.command}", highlight=False)
    if options["output"] or options["reports"]:
        result = document(config, found, origin, runs, comparison, raw=options["raw"])
        if standing is not None:
            result["bounds"] = standing.as_dict()
        write_results(result, options, console)
    if len(runs) < _expected(config, comparing) or not runs[-1].complete:
        return INTERRUPTED
    return 0 if all(one.verdict.valid for one in runs) else INVALID


def write_results(result: dict[str, Any], options: Mapping[str, Any], console: Console) -> None:
    """Write a document as JSON and as each report that was asked for, and say so."""
    from sage.benchmark.report import encode

    data = encode(result)
    output: Path | None = options["output"]
    if output is not None:
        output.write_bytes(data)
        console.print(f"results written to {output}", highlight=False)
    write_reports(options["reports"], data, output.name if output else "results", console)


def write_reports(paths: Sequence[Path], data: bytes, name: str, console: Console) -> None:
    """Write each report that was asked for.

    Args:
        paths: of the reports, each of the form that its name ends in.
        data: the results as JSON.
        name: of the results, as a heading.
        console: is told of each.
    """
    if not paths:
        return
    from sage.benchmark.visualize.files import write_report
    from sage.benchmark.visualize.recorded import read_results

    recorded = read_results(data, name)
    for path in paths:
        write_report(path, [recorded])
        console.print(f"report written to {path}", highlight=False)
