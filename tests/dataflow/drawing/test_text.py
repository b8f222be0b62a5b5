"""The plan as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.dataflow import LocalEnvironment, MapFunction
from sage.dataflow.remote_environment import RemoteEnvironment
from sage.errors import ConfigError


class Compute(MapFunction):
    """Runs in worker processes."""

    def execute(self, data: int) -> int:
        return data


async def ask(record: int) -> int:
    return record


def test_a_newcomer_sees_it_all() -> None:
    """Stages, where they run, what each operator is, channels, capacities and keys."""
    env = LocalEnvironment("words", config={"channel_capacity": 1000})
    numbers = env.from_source(iter([1]), name="numbers")
    numbers.map(ask, name="ask", concurrency=8, ordered=False).map(
        Compute, workers="process", parallelism=3, name="compute"
    ).sink(print, name="out")
    numbers.keyby(str, name="by_text").reduce(max, parallelism=2, name="largest").sink(
        print, name="largest_out"
    )
    assert env.explain().splitlines() == [
        "words: 7 operators in 7 stages; those of a stage run as one",
        "stage 0: numbers",
        "  runs in 1 thread",
        "  │ numbers  source, may wait",
        "  ├─ channel → stage 1, room for 1,000 records",
        "  └─ channel → stage 4, room for 1,000 records",
        "stage 1: ask",
        "  runs in 1 thread",
        "  │ ask  map, async, 8 in flight, as they are done",
        "  └─ channel → stage 2, room for 1,000 records, shared by its 3 replicas",
        "stage 2 ×3 in processes: compute",
        "  runs in 3 processes",
        "  │ compute  map",
        "  └─ channel → stage 3, room for 1,000 records",
        "stage 3: out",
        "  runs in 1 thread",
        "  │ out  sink",
        "stage 4: by_text",
        "  runs in 1 thread",
        "  │ by_text  keyby",
        "  └─ channels by key → stage 5, one for each of its 2 replicas, room for 1,000 records",
        "stage 5 ×2: largest",
        "  runs in 2 threads",
        "  │ largest  flatmap, keyed",
        "  └─ channel → stage 6, room for 1,000 records",
        "stage 6: largest_out",
        "  runs in 1 thread",
        "  │ largest_out  sink",
    ]


def test_inline() -> None:
    """In the caller's thread there are no channels."""
    env = LocalEnvironment("one", config={"workers": "inline"})
    env.from_collection([1]).map(str, parallelism=2).sink(print)
    text = env.explain()
    assert "  runs in the caller's thread, 2 replicas" in text
    assert "  └─ directly → stage 1" in text
    assert "channel" not in text


def test_a_loop() -> None:
    """What closes a loop is told from what goes on."""
    env = LocalEnvironment("loop")
    again = env.from_future("again")
    ways = env.from_collection([1]).union(again).split(lambda x: "back" if x < 3 else "on")
    ways["back"].map(lambda x: x + 1, name="more").fill_future(again)
    ways["on"].sink(print)
    assert "  └─ channel → stage 0, no bound, back to where its loop begins" in env.explain()


@pytest.mark.parametrize("format_", ["text", "mermaid", "svg"])
def test_written_to_a_file(format_: str) -> None:
    """path= writes what is returned."""
    env = LocalEnvironment()
    env.from_collection([1]).sink(print, name="输出")
    drawing = env.explain(format_, path="plan")  # type: ignore[arg-type]
    assert Path("plan").read_text(encoding="utf-8") == drawing + "\n"


def test_an_unknown_format() -> None:
    """It is an error that names those there are."""
    env = LocalEnvironment()
    env.from_collection([1]).sink(print)
    with pytest.raises(ConfigError, match=r"explain\(format=…\) is 'png'; choose one of 'text'"):
        env.explain("png")  # type: ignore[arg-type]


def test_on_ray_stages_are_actors() -> None:
    """With what the operators of each ask for together, and an inbox for each."""
    env = RemoteEnvironment("far", config={"ray": {}, "channel_capacity": 1000})
    work = env.from_collection([1], name="numbers").map(
        abs, parallelism=2, cpus=1, gpus=0.25, memory="1GB", name="abs"
    )
    text = work.map(str, parallelism=2, cpus=1, name="text")
    text.map(len, workers="process", name="length").sink([], name="out")
    assert env.explain().splitlines() == [
        "far: 5 operators in 4 stages; those of a stage run as one",
        "stage 0: numbers",
        "  runs in 1 Ray actor, on any node",
        "  │ numbers  source",
        "  └─ channel → stage 1, room for 1,000 records before each of its 2 replicas",
        "stage 1 ×2: abs → text",
        "  runs in 2 Ray actors, each on a node with 2 CPUs, 0.25 GPUs, 1.0 GB of memory",
        "  │ abs   map (cpus 1, gpus 0.25, memory 1.0 GB)",
        "  │ text  map (cpus 1)",
        "  └─ channel → stage 2, room for 1,000 records",
        "stage 2 in processes: length",
        "  runs in 1 Ray actor with a worker process, on any node",
        "  │ length  map",
        "  └─ channel → stage 3, room for 1,000 records",
        "stage 3: out",
        "  runs in 1 Ray actor, on any node",
        "  │ out  sink",
    ]
    assert 'stage0["stage 0: 1 Ray actor, on any node"]' in env.explain("mermaid")
    assert ">stage 0: 1 Ray actor, on any node<" in env.explain("svg")
