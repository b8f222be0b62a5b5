"""Runs and comparisons, from a configuration to figures."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load, LoadResult
from sage.benchmark.policies import StrategyAdapter
from sage.benchmark.prompts import PromptText, built_in_text, file_text
from sage.benchmark.server_pages import ServerReport
from sage.benchmark.summary import Summary, summarise
from sage.benchmark.surroundings import Surroundings, surroundings
from sage.benchmark.target import Found
from sage.benchmark.verdict import Verdict, judge
from sage.benchmark.wire import RequestWriter
from sage.benchmark.workload import PlannedRequest, plan_requests
from sage.dataflow.gpu import GpuReading
from sage.errors import ConfigError, SageError
from sage.inference.gateway.target import parse_target

logger = logging.getLogger("sage.benchmark")

OnAnswer = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run.

    Attributes:
        policy: in force while it ran; None when the server does not say.
        seed: of its requests.
        round: which round of a comparison, from 1; 0 outside one.
        summary: the figures.
        verdict: the client's on itself.
        load: every exchange.
        simulated: whether its time was, so that no client had a part in it.
        servers: what each server says of it itself; empty in a simulation.
        gpus: of this machine, while it ran; empty where there is none.
    """

    policy: str | None
    seed: int
    round: int
    summary: Summary
    verdict: Verdict
    load: LoadResult = field(repr=False)
    simulated: bool = False
    servers: list[ServerReport] = field(default_factory=list)
    gpus: list[GpuReading] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether it was not broken off."""
        counts = self.summary.counts
        return not (counts.unsent or counts.interrupted)


def turns(config: BenchmarkConfig) -> Iterator[tuple[str, int, int]]:
    """Yield policy, seed and round of each run of a comparison, rounds numbered from 1.

    Raises:
        ConfigError: there are fewer than two policies.
    """
    policies = config.policies
    if len(policies) < 2:
        raise ConfigError("a comparison needs at least two policies, such as fifo,hybrid_slo")
    for number in range(config.rounds):
        shift = number % len(policies)
        for policy in (*policies[shift:], *policies[:shift]):
            yield policy, config.seed + number, number + 1


def single_policy(config: BenchmarkConfig) -> str | None:
    """Return the one policy of a run; None where the configuration names none.

    Raises:
        ConfigError: it names several.
    """
    policies = config.policies
    if len(policies) > 1:
        raise ConfigError(
            f"a run has one policy, not {', '.join(policies)}; `compare` takes several"
        )
    return policies[0] if policies else None


class Bench:
    """Measures one server with one workload.

    Args:
        config: validated.
        found: the server.
        on_answer: called with each answer that counts, for a progress display.
    """

    def __init__(
        self, config: BenchmarkConfig, found: Found, *, on_answer: OnAnswer | None = None
    ) -> None:
        self._config = config
        self._found = found
        self._on_answer = on_answer
        self._text: PromptText = file_text(Path(config.text)) if config.text else built_in_text()
        self._adapter = StrategyAdapter(found.url, api_key=found.api_key)
        # The engines may have served earlier benchmarks, whose prompts they still have cached.
        self._next_mark = secrets.randbelow(1 << 40)

    def run(self) -> Run:
        """Run once, under the policy named or else the one in force.

        Raises:
            SageError: the policy cannot be set, or not put back.
        """
        [run] = self.once()
        return run

    def once(self) -> Iterator[Run]:
        """Yield the one run of `run`, before the policy is put back, which may fail.

        Raises:
            SageError: as `run`.
        """
        policy = single_policy(self._config)
        with self._policies():
            yield self._measure(policy, self._config.seed, 0)

    def compare(self) -> Iterator[Run]:
        """Run each policy once a round, in turn, and yield each run; stops when one is broken off.

        All policies of a round get the same requests at the same moments, and each round begins
        with another policy, so that neither drift nor order favours one.

        Raises:
            SageError: as `run`.
        """
        planned = list(turns(self._config))
        with self._policies():
            for policy, seed, number in planned:
                run = self._measure(policy, seed, number)
                yield run
                if not run.complete:
                    return

    @contextlib.contextmanager
    def _policies(self) -> Iterator[None]:
        """Restore afterwards whatever policy is in force now, if any is to be set."""
        if not self._config.policies:
            yield
            return
        with self._adapter.restored():
            yield

    def _measure(self, policy: str | None, seed: int, number: int) -> Run:
        if policy is not None:
            self._adapter.apply(policy)
        else:
            with contextlib.suppress(SageError):
                policy = self._adapter.current()
        config = replace(self._config, seed=seed)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result, seen = runner.run(self._load(config))
        summary = summarise(result, config, self._found.models)
        return Run(
            policy,
            seed,
            number,
            summary,
            judge(result),
            result,
            servers=seen.servers,
            gpus=seen.gpus,
        )

    async def _load(self, config: BenchmarkConfig) -> tuple[LoadResult, Surroundings]:
        requests = plan_requests(config)
        if config.warmup_requests:
            await self._warm_up(config)
        users = config.users if config.arrival is ArrivalPattern.CLOSED else 0
        load = self._make_load(config, config.max_in_flight, self._on_answer)
        async with surroundings(self._found) as seen:
            with _stopped_by_interrupt(load):
                result = await load.run(requests, users=users, think_s=config.think_s)
        return result, seen

    async def _warm_up(self, config: BenchmarkConfig) -> None:
        warming = replace(
            config,
            # Other prompts than those measured, or the engine would answer these from its cache.
            seed=-1 - config.seed,
            requests=config.warmup_requests,
            trace=None,
            trace_start_s=0.0,
            turns="1",
            think="0",
            arrival=ArrivalPattern.CLOSED,
            max_in_flight=None,
        )
        requests: list[PlannedRequest] = plan_requests(warming)
        result = await self._make_load(config, None, None).run(requests, users=1)
        failed = [item for item in result.exchanges if item.failure is not None]
        if failed:
            logger.warning(
                "%d of %d warm-up requests failed, the first with: %s",
                len(failed),
                len(requests),
                failed[0].detail,
            )

    def _make_load(
        self, config: BenchmarkConfig, max_in_flight: int | None, on_answer: OnAnswer | None
    ) -> Load:
        target = parse_target(self._found.url)
        writer = RequestWriter(
            target,
            self._found.models,
            self._text,
            ignore_eos=config.ignore_eos,
            api_key=self._found.api_key,
            seed=config.seed,
            mark=self._next_mark,
        )
        self._next_mark += 1
        return Load(
            target,
            writer,
            timeout_s=config.timeout_s,
            max_in_flight=max_in_flight,
            on_answer=on_answer,
        )


@contextlib.contextmanager
def _stopped_by_interrupt(load: Load) -> Iterator[None]:
    """Ctrl-C ends the load, not the process: what was measured is still reported."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, load.stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
