"""union: the records of several streams in one."""

from __future__ import annotations

import pytest

from sage.dataflow import LocalEnvironment
from sage.errors import GraphError


@pytest.mark.parametrize("parallelism", [1, 3])
def test_all_records_of_all_streams(env: LocalEnvironment, parallelism: int) -> None:
    """Every record of every stream arrives once; each stream keeps its own order."""
    out: list[int] = []
    low = env.from_collection(range(1000))
    high = env.from_source(iter(range(1000, 2000))).map(lambda x: x, parallelism=parallelism)
    low.union(high, env.from_collection([2000])).map(lambda x: x).sink(out.append)
    result = env.submit(autostop=True)
    assert sorted(out) == list(range(2001))
    assert [x for x in out if x < 1000] == list(range(1000))
    assert (result.records_in, result.records_out, result.abandoned) == (2001, 2001, 0)


def test_union_by_key(env: LocalEnvironment) -> None:
    """The union of two streams can be keyed."""
    out: list[int] = []
    union = env.from_collection([1, 2]).union(env.from_collection([3, 4]))
    union.keyby(lambda x: x % 2).reduce(lambda a, b: a + b, emit="end", parallelism=2).sink(
        out.append
    )
    env.submit(autostop=True)
    assert sorted(out) == [4, 6]


def test_what_cannot_be_united() -> None:
    """The same stream twice, or a stream of another environment, is an error."""
    stream = LocalEnvironment("one").from_collection([1])
    with pytest.raises(GraphError, match="the same stream twice"):
        stream.union(stream)
    with pytest.raises(GraphError, match="of environment 'two', not of 'one'"):
        stream.union(LocalEnvironment("two").from_collection([1], name="other").map(str))
