"""Random graphs that are stopped at random moments and go on give what a plain evaluation gives."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_random_graphs import INPUT, MOST, Pair, Program, Records, check_counts, programs, same

from sage.dataflow import JobHandle, JobResult, LocalEnvironment, SourceFunction, Stream
from sage.dataflow.workers import Workers

PATIENCE = 20.0


@dataclass
class Until:
    """How far the sources of one run go before they wait for its end; None for all the way.

    A job that runs in the thread of its source is stopped by it.
    """

    limit: int | None
    env: LocalEnvironment

    def reached(self, given: int) -> bool:
        """Say whether a source is to wait that has given some records in this run."""
        if self.limit is None or given < self.limit:
            return False
        if self.env.config.workers is Workers.INLINE:
            assert self.env.last_job is not None
            self.env.last_job._runtime.stop()
        return True


class Places(SourceFunction):
    """Gives the records of a list, from a place that it knows."""

    def __init__(self, records: list[int], until: Until) -> None:
        super().__init__()
        self.records, self.until = records, until
        self.next = self.given = 0

    def offset(self) -> int:
        return self.next

    def seek(self, offset: int) -> None:
        self.next = offset

    def execute(self) -> int | None:
        if self.until.reached(self.given):
            return None
        if self.next == len(self.records):
            raise StopIteration
        self.next += 1
        self.given += 1
        return self.records[self.next - 1]


def passing(records: list[int], until: Until, passed: int) -> Iterator[int | None]:
    """Give the records of a list; those given in earlier runs are passed over."""
    for number, record in enumerate(records):
        while until.reached(number - passed):
            yield None
        yield record


def build(
    env: LocalEnvironment,
    program: Program,
    streams: list[Stream],
    outputs: list[Records],
    shift: int,
) -> None:
    """Build a program, with other parallelism for each ``shift``."""
    for step, read, other, number in program:
        parallelism = (number + shift - 1) % 3 + 1
        inputs = [streams[index].map(same, workers="thread") for index in (read, other)]
        if isinstance(step, Pair):
            streams.append(step.build(inputs[0], inputs[1], parallelism))
        else:
            inputs[1].sink(same)
            streams.append(step.build(inputs[0], parallelism))
    for stream, output in zip(streams, outputs, strict=True):
        stream.sink(output.append)


def plainly(program: Program, sources: list[Records]) -> tuple[list[Records], Counter[int]]:
    """Evaluate a program over lists; return its streams' records, and its dead letters'."""
    plain = list(sources)
    dead: Counter[int] = Counter()
    for step, read, other, _ in program:
        if isinstance(step, Pair):
            plain.append(step.plain(plain[read], plain[other]))
        else:
            plain.append(step.plain(plain[read]))
            dead.update(step.dead(plain[read]))
        assume(len(plain[-1]) <= MOST)
    return plain, dead


def stop_after(job: JobHandle, delay: float) -> JobResult:
    """Stop a job at a moment of its own."""
    try:
        job.poll(delay)
        return job.stop(timeout=PATIENCE)
    finally:
        job.cancel(PATIENCE)


configs = st.sampled_from(
    [
        {"workers": "inline", "batch_size": 2},
        {"workers": "thread"},
        {"workers": "thread", "batch_size": 2, "channel_capacity": 2},
    ]
)


@given(
    program=programs(6, 3),
    first=INPUT,
    second=INPUT,
    stops=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    shifts=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    delay=st.sampled_from([0, 0.001, 0.004, 0.02]),
    workers=st.lists(configs, min_size=4, max_size=4),
    interval=st.sampled_from([0.001, 1000]),
)
@settings(max_examples=40, deadline=None)
def test_stopped_and_resumed(
    program: Program,
    first: list[int],
    second: list[int],
    stops: list[int],
    shifts: list[int],
    delay: float,
    workers: list[dict[str, Any]],
    interval: float,
) -> None:
    """Each record once over all runs, whatever each runs on, and however parallel it is."""
    outputs: list[Records] = [[] for _ in range(2 + len(program))]
    plain, dead = plainly(program, [first, second])
    letters: Counter[int] = Counter()
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = {"dir": Path(folder), "interval": interval}
        for limit, shift, config in zip([*stops, None], shifts, workers, strict=False):
            env = LocalEnvironment(config={"checkpoint": checkpoint, **config})
            until = Until(limit, env)
            streams = [
                env.from_source(Places(first, until), name="places"),
                env.from_source(
                    lambda until=until, passed=passed: passing(second, until, passed),
                    name="passing",
                ),
            ]
            build(env, program, streams, outputs, shift)
            if limit is None or config["workers"] == "inline":
                result = env.submit(autostop=True, resume="latest")
            else:
                result = stop_after(env.submit(resume="latest"), delay)
            letters.update(letter.record for letter in result.dead_letters)
            # In one thread, the other source may have given fewer.
            passed = result.operator("passing").records_out
    assert [Counter(output) for output in outputs] == [Counter(records) for records in plain]
    assert letters == dead
    check_counts(env._graph.nodes, result)
    assert result.operator("places").records_out == len(first)
    assert result.operator("passing").records_out == len(second)
