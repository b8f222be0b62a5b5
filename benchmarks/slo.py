"""What an SLO policy is worth on real engines: hybrid_slo against first come, round robin.

Two llama.cpp engines of different speed and an embedding engine stand behind ``sage gateway``. A
short ramp shows the knee, the rate at which the engines are full; then both policies get the same
load past it, in pairs of runs with the same moments and sizes, first one, then the other, and the
other way round in the next pair. The rate is set pair by pair, from what the engines have just
shown that they can do. Policies are switched through the management route and read back.
Every request issued counts: one that fails, is refused or comes too late has missed.

    python benchmarks/slo.py            measures, and writes benchmarks/results/slo.json (9 minutes)
    python benchmarks/slo.py --page     writes docs/benchmarks/slo.md from that file
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import time
from dataclasses import asdict
from typing import Any

import uvloop
from _fleet import CHAT_MODEL, EMBEDDING_MODEL, Fleet, Shape, fleet
from _report import Report
from _slo_page import write_page
from _traffic import Mix, offer
from _verdicts import Run, compared, outcomes, run_of

from sage.benchmark.classes import ALL, TrafficClass
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load, LoadResult
from sage.benchmark.policies import StrategyAdapter
from sage.benchmark.prompts import built_in_text
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import PlannedRequest
from sage.inference.gateway.target import parse_target

PACKAGES = ("xllamacpp", "onnxruntime", "tokenizers", "uvicorn", "uvloop")
ENDS = ("done", "failed", "cancelled", "rejected")
TIMEOUT_S = 90.0


class Bench:
    """Sends offers to one fleet under one policy after the other.

    Args:
        target: the fleet.
        mix: the traffic.
    """

    def __init__(self, target: Fleet, mix: Mix) -> None:
        self._fleet = target
        self._mix = mix
        self._adapter = StrategyAdapter(target.url)
        self._text = built_in_text()
        self._sent = 0

    def send(
        self,
        policy: str,
        *,
        rate: float,
        seconds: float,
        seed: int,
        ramp_from: float | None = None,
        users: int = 0,
    ) -> tuple[list[PlannedRequest], LoadResult]:
        """Send one offer under a policy, and wait for the last answer.

        Args:
            policy: to put in force.
            rate: as `offer` has it, and the three after it.
            seconds: likewise.
            seed: likewise.
            ramp_from: likewise.
            users: so many send the requests one after another, whenever they are due; 0 for an
                open loop.

        Raises:
            SystemExit: another policy was in force afterwards, or the gateway counted otherwise.
        """
        self._sent += 1
        offered = offer(
            self._mix, rate=rate, seconds=seconds, seed=seed, text=self._sent, ramp_from=ramp_from
        )
        before = self._fleet.drained()["requests"]
        self._adapter.apply(policy)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(self._load(offered, users))
        after = self._fleet.drained()["requests"]
        if (found := self._adapter.current()) != policy:
            raise SystemExit(f"{policy} was put in force, but {found} is")
        _check_sums(result, {key: after[key] - before[key] for key in ("received", *ENDS)})
        return offered, result

    async def _load(self, offered: list[PlannedRequest], users: int) -> LoadResult:
        target = parse_target(self._fleet.url)
        models = Models(CHAT_MODEL, EMBEDDING_MODEL)
        writer = RequestWriter(target, models, self._text, ignore_eos=True)
        return await Load(target, writer, timeout_s=TIMEOUT_S).run(offered, users=users)


def _check_sums(result: LoadResult, counted: dict[str, int]) -> None:
    """Hold what the client saw against what the gateway counted."""
    if counted["received"] != sum(counted[end] for end in ENDS):
        raise SystemExit(f"the gateway's sums do not agree: {counted}")
    answered = sum(e.failure is None for e in result.exchanges)
    if (counted["received"], counted["done"]) != (len(result.exchanges), answered):
        raise SystemExit(
            f"{len(result.exchanges)} requests were issued and {answered} answered, "
            f"but the gateway counted {counted}"
        )


def capacity(bench: Bench, policy: str, slots: int, seed: int) -> float:
    """Keep more users than slots busy for a few seconds; return the requests/s of all classes."""
    _, result = bench.send(policy, rate=20.0, seconds=3.0, seed=seed, users=slots + 2)
    busy = _Busy(result, slots)
    return busy.rate(next(filter(busy.full, busy.moments)), max(filter(busy.full, busy.moments)))


def find_knee(
    bench: Bench, policy: str, slots: int, rough: float, seconds: float
) -> tuple[float, list[dict[str, float | None]]]:
    """Raise the rate from a third to twice the rough capacity, and again if that was too low.

    Returns the knee, in requests per second of all classes together, and the ramp in steps: what
    was offered, and what became of it. The knee is the rate at which LLM requests end while all
    slots of the LLM engines are taken, over the LLM share of the traffic.

    Raises:
        SystemExit: three times the engines were not full for a quarter of the ramp.
    """
    for top in (2 * rough, 3 * rough, 4 * rough):
        _, result = bench.send(policy, rate=top, seconds=seconds, seed=0, ramp_from=rough / 3)
        if (knee := _knee_of(result, slots, seconds)) is not None:
            return knee, _steps(result, seconds)
    raise SystemExit(f"{top:.1f} requests/s do not fill these engines")


def _knee_of(result: LoadResult, slots: int, seconds: float) -> float | None:
    busy = _Busy(result, slots)
    idle = [moment for moment in busy.moments if not busy.full(moment)]
    begin = max((moment for moment in idle if moment <= seconds), default=0.0)
    if seconds - begin < seconds / 4:
        return None
    return busy.rate(begin, next((moment for moment in idle if moment > seconds), busy.moments[-1]))


class _Busy:
    """When the slots of the LLM engines were all taken, and how fast requests ended then.

    Attributes:
        moments: tenths of a second from the load's start to its end.
    """

    def __init__(self, result: LoadResult, slots: int) -> None:
        llm = [e for e in result.exchanges if e.request.traffic is TrafficClass.CHAT]
        self._arrivals = sorted(e.intended - result.began for e in llm)
        self._ends = sorted(e.ended - result.began for e in llm)
        self._slots = slots
        self._all = len(result.exchanges) / len(llm)
        self.moments = [tenth / 10 for tenth in range(int(self._ends[-1] * 10) + 1)]

    def full(self, at: float) -> bool:
        """Whether at least as many LLM requests were under way as there are slots."""
        return bisect.bisect(self._arrivals, at) - bisect.bisect(self._ends, at) >= self._slots

    def rate(self, begin: float, end: float) -> float:
        """Return the requests/s of all classes that go with the LLM requests that ended."""
        served = bisect.bisect(self._ends, end) - bisect.bisect(self._ends, begin)
        return served / (end - begin) * self._all


def _steps(result: LoadResult, seconds: float) -> list[dict[str, float | None]]:
    width = seconds / 6
    steps: list[dict[str, float | None]] = []
    for number in range(6):
        begin, end = number * width, (number + 1) * width

        def within(moment: float, begin: float = begin, end: float = end) -> bool:
            return begin <= moment - result.began < end

        due = [e for e in result.exchanges if within(e.intended)]
        chat = (
            outcomes([e.request for e in due], _only(result, due))[1].get("chat") if due else None
        )
        steps.append(
            {
                "offered_per_s": len(due) / width,
                "answered_per_s": sum(within(e.ended) for e in result.exchanges) / width,
                "chat_ttft_p50_ms": chat.ttft_ms[0] if chat and chat.ttft_ms else None,
                "chat_attainment": chat.attainment if chat and chat.issued else None,
            }
        )
    return steps


def _only(result: LoadResult, exchanges: list[Exchange]) -> LoadResult:
    return LoadResult(exchanges, 0, result.began, result.cpu_s, result.wall_s, result.beats)


def measure(options: argparse.Namespace) -> None:
    """Find the knee, run the pairs, and write the results."""
    report = Report("slo", PACKAGES)
    shape, mix = Shape(slow_share=options.slow_share), Mix()
    began = time.monotonic()
    report.add("shape", asdict(shape), f"engines: {shape}")
    report.add("mix", asdict(mix), f"traffic: {mix}")
    report.add("load", options.load, f"load: {options.load} times the capacity")
    with fleet(shape) as running:
        bench = Bench(running, mix)
        _ramp(report, bench, shape, options)
        runs = _pairs(bench, 2 * shape.slots, options)
        learned = running.metrics()["scheduler"]["instances"]
    report.add("runs", [run.as_dict() for run in runs], f"{len(runs)} runs")
    latencies = {name: learned[name]["latency"] for name in learned}
    report.add("learned", latencies, f"learned of the engines: {latencies}")
    _compare(report, runs, options)
    took = time.monotonic() - began
    report.add("took_s", took, f"in {took:.0f} s")
    report.write()
    if not all(run.valid for run in runs):
        raise SystemExit("the client did not keep up in every run, so nothing is concluded")


def _ramp(report: Report, bench: Bench, shape: Shape, options: argparse.Namespace) -> None:
    slots, policy = 2 * shape.slots, options.baseline
    rough = capacity(bench, policy, slots, seed=-1)
    knee, steps = find_knee(bench, policy, slots, rough, options.ramp_seconds)
    figures = {"knee_per_s": knee, "capacity_before_per_s": rough, "steps": steps}
    report.add("ramp", figures, f"knee: {knee:.2f} requests/s of all classes together")
    for step in steps:
        known = ((name, value) for name, value in step.items() if value is not None)
        print("  " + "  ".join(f"{name} {value:.2f}" for name, value in known))


def _pairs(bench: Bench, slots: int, options: argparse.Namespace) -> list[Run]:
    runs = []
    for pair in range(1, options.pairs + 1):
        order = (options.baseline, options.policy)
        # Found anew for each pair: other work on the machine may come and go.
        rate = options.load * capacity(bench, options.baseline, slots, seed=-1 - pair)
        for policy in order if pair % 2 else order[::-1]:
            offered, result = bench.send(policy, rate=rate, seconds=options.seconds, seed=pair)
            run = run_of(policy, pair, rate, offered, result)
            runs.append(run)
            shares = "  ".join(
                f"{name} {found.attainment:6.1%} of {found.issued}"
                for name, found in run.outcomes.items()
            )
            print(f"  pair {pair} {policy:12} {rate:5.2f}/s {shares}  {run.instances}", end="")
            print(f"  {run.left_waiting} left when the last was due", run.reason, flush=True)
    return runs


def _compare(report: Report, runs: list[Run], options: argparse.Namespace) -> None:
    table = compared(runs, options.baseline, options.policy)
    report.add("comparison", table, f"{options.policy} against {options.baseline}, paired:")
    for name, figures in table.items():
        print(f"  {name:10} {_line(figures['attainment'], options, 100, '%')}")
    goodput: dict[str, Any] = table[ALL]["goodput"]
    print(f"  goodput    {_line(goodput, options, 1, '/s')}")


def _line(figure: dict[str, Any], options: argparse.Namespace, scale: float, unit: str) -> str:
    before, after = figure[options.baseline] * scale, figure[options.policy] * scale
    mean, low, high = (figure[name] * scale for name in ("mean", "low", "high"))
    return (
        f"{before:6.2f}{unit} -> {after:6.2f}{unit}  {mean:+.2f} "
        f"(95%: {low:+.2f} to {high:+.2f})  {figure['verdict']}"
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="write the page, measure nothing")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=25.0, help="of arrivals in each run")
    parser.add_argument("--load", type=float, default=1.3, help="offered, in multiples of the knee")
    parser.add_argument("--ramp-seconds", type=float, default=24.0)
    parser.add_argument("--slow-share", type=float, default=0.5, help="of a core, for slow's cap")
    parser.add_argument("--baseline", default="round_robin")
    parser.add_argument("--policy", default="hybrid_slo")
    return parser.parse_args()


def main() -> None:
    """Measure, or write the page."""
    options = parse()
    if options.page:
        write_page()
    else:
        measure(options)


if __name__ == "__main__":
    main()
