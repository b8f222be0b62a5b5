"""Random graphs of random operators give what a plain evaluation gives, and lose nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from graph_steps import STEPS, Pair, Records, Step, check_counts, same
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment

# Joins multiply; more records than these test nothing else.
MOST = 2000

Program = list[tuple[Step | Pair, int, int, int]]


def programs(longest: int, parallelism: int) -> st.SearchStrategy[Program]:
    """Each step reads streams made before it: (step, stream, other stream, parallelism)."""

    @st.composite
    def program(draw: st.DrawFn) -> Program:
        return [
            (
                draw(st.sampled_from(STEPS)),
                draw(st.integers(0, made - 1)),
                draw(st.integers(0, made - 1)),
                draw(st.integers(1, parallelism)),
            )
            for made in range(2, 2 + draw(st.integers(1, longest)))
        ]

    return program()


INPUT = st.lists(st.integers(0, 60), max_size=12)


def check(program: Program, first: Records, second: Records, config: dict[str, Any]) -> None:
    """Run a program and compare: the records of every stream, dead letters, and all counts."""
    env = LocalEnvironment(config=config)
    streams = [env.from_collection(first), env.from_source(iter(second))]
    plain = [first, second]
    dead: Counter[int] = Counter()
    for step, read, other, parallelism in program:
        # A copy of each, since a stream may be read twice over, by a union with itself too.
        inputs = [streams[number].map(same, workers="thread") for number in (read, other)]
        if isinstance(step, Pair):
            streams.append(step.build(inputs[0], inputs[1], parallelism))
            plain.append(step.plain(plain[read], plain[other]))
        else:
            inputs[1].sink(same)
            streams.append(step.build(inputs[0], parallelism))
            plain.append(step.plain(plain[read]))
            dead.update(step.dead(plain[read]))
        assume(len(plain[-1]) <= MOST)
    outputs: list[Records] = []
    for stream in streams:
        outputs.append([])
        stream.sink(outputs[-1].append)
    result = env.submit(autostop=True)
    assert [Counter(output) for output in outputs] == [Counter(records) for records in plain]
    assert Counter(letter.record for letter in result.dead_letters) == dead
    assert result.dead_letter_count == dead.total()
    check_counts(env._graph.nodes, result)


@given(
    program=programs(6, 3),
    first=INPUT,
    second=INPUT,
    config=st.sampled_from(
        [
            {"workers": "inline"},
            {"workers": "thread"},
            {"workers": "thread", "batch_size": 2, "channel_capacity": 2},
        ]
    ),
)
@settings(max_examples=120, deadline=None)
def test_the_same_multiset(
    program: Program, first: Records, second: Records, config: dict[str, Any]
) -> None:
    """Whatever is put together: the records that come out, the dead letters, and the counts."""
    check(program, first, second, config)


@given(program=programs(2, 2), first=INPUT, second=INPUT)
@settings(max_examples=6, deadline=None)
def test_the_same_in_processes(program: Program, first: Records, second: Records) -> None:
    """The same with worker processes, for a few."""
    check(program, first, second, {"workers": "process", "batch_size": 4})
