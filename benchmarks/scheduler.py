"""How long the scheduler takes to decide: µs a decision, for every policy.

Two loads: an idle scheduler, where a request is submitted, dispatched and served at once; and
100,000 requests that wait for eight instances, where a first token (under policies that pace) and
an end (usage and finished, with all that is learned from them) let others start. Requests
come from many tenants and classes, some with deadlines and prefixes, and tokens are reported as
a gateway reports them. CPU time is taken, around the scheduler's calls alone.

Run it with a checkout's Python, or with that of the compiled wheel (``.venv-wheel/bin/python``); it
says which.
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import time

from _report import Report

from sage.inference.scheduling.decision import Dispatch
from sage.inference.scheduling.form import core_form
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.strategies import StrategyAdapter

BAR_US = 50.0
SLOS = (None, SLO(ttft_s=2.0), SLO(ttft_s=30.0), SLO(deadline_s=1e5), SLO(5.0, 0.1))


def requests(n: int) -> list[Request]:
    """Make ``n`` requests of mixed kinds, the same each time."""
    rng = random.Random(1)
    heads = [tuple(rng.getrandbits(60) for _ in range(8)) for _ in range(200)]
    return [
        Request(
            number,
            Kind.LLM,
            "m",
            number * 1e-5,
            rng.randint(20, 4000),
            priority=rng.choice((-10, 0, 0, 0, 10)),
            tenant=f"t{rng.randrange(50)}",
            slo=rng.choice(SLOS),
            prefix=rng.choice(heads) + tuple(rng.getrandbits(60) for _ in range(4)),
            cls=rng.choice(("chat", "bulk", "agent")),
        )
        for number in range(1, n + 1)
    ]


def scheduler(policy: str, slots: int) -> Scheduler:
    """Return a scheduler with eight instances."""
    core = Scheduler(policy, max_queued=10**9, seed=1)
    for number in range(8):
        core.instance_up(InstanceSpec(f"i{number}", Kind.LLM, ("m",), slots), 0.0)
    return core


def idle(policy: str, items: list[Request]) -> float:
    """Return µs a request that is submitted and served, with nothing waiting."""
    core = scheduler(policy, 64)
    start = time.process_time()
    for item in items:
        now = item.arrived
        core.submit(item, now)
        core.usage(item.id, item.prompt_tokens, 40, now)
        core.finished(item.id, now)
    return (time.process_time() - start) / len(items) * 1e6


def queued(policy: str, items: list[Request], ends: int) -> dict[str, float]:
    """Return µs a submission, and a decision, with all of ``items`` waiting."""
    core = scheduler(policy, 16)
    running: list[int] = []
    start = time.process_time()
    for item in items:
        running += [d.request_id for d in core.submit(item, item.arrived)]
    submit = (time.process_time() - start) / len(items) * 1e6
    waiting = core.counts().queued
    now = items[-1].arrived
    firsts, ended = [], []
    gc.collect()
    for _ in range(ends):
        number = running.pop(0)
        now += 0.002
        begun = time.process_time()
        decisions = core.first_token(number, now)
        between = time.process_time()
        core.usage(number, 500, 40, now)
        decisions += core.finished(number, now)
        ended.append(time.process_time() - between)
        firsts.append(between - begun)
        running += [d.request_id for d in decisions if isinstance(d, Dispatch)]
    ended.sort()
    return {
        "waiting": waiting,
        "submit_us": submit,
        "first_token_us": sum(firsts) / ends * 1e6,
        "end_us": sum(ended) / ends * 1e6,
        "end_p99_us": ended[math.ceil(0.99 * ends) - 1] * 1e6,
    }


def main() -> None:
    """Measure every policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=10_000)
    options = parser.parse_args()
    report = Report("scheduler", [])
    report.add("core", core_form(), f"core: {core_form()}")
    items = requests(options.waiting)
    slowest = 0.0
    for strategy in StrategyAdapter.list():
        figures = queued(strategy.name, items, options.decisions)
        figures["idle_us"] = idle(strategy.name, items[: options.decisions])
        slowest = max(slowest, figures["first_token_us"], figures["end_us"])
        report.add(
            strategy.name,
            figures,
            f"{strategy.name:19} with {figures['waiting']:,} waiting: {figures['end_us']:5.1f} µs "
            f"an end (P99 {figures['end_p99_us']:3.0f}), {figures['first_token_us']:4.1f} a first "
            f"token, {figures['submit_us']:4.1f} to submit; idle {figures['idle_us']:.1f} each",
        )
    report.add("bar_us", BAR_US, f"bar: {BAR_US} µs; slowest {slowest:.1f}")
    report.write()
    if slowest >= BAR_US:
        raise SystemExit("above the bar")


if __name__ == "__main__":
    main()
