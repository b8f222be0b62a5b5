"""Random chains of operators do what plain Python does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment

MAPS: dict[str, Callable[[int], Any]] = {
    "increment": lambda x: x + 1,
    "drop fives": lambda x: None if x % 5 == 0 else x,
    "negate": lambda x: -x,
}
FILTERS: dict[str, Callable[[int], bool]] = {"even": lambda x: x % 2 == 0, "small": lambda x: x < 9}
FLATMAPS: dict[str, Callable[[int], Iterable[int] | None]] = {
    "twice": lambda x: [x, x],
    "none": lambda x: None if x % 3 == 0 else (x,),
    "count down": lambda x: range(x % 4),
}
STEP = st.tuples(
    st.sampled_from(
        [("map", name) for name in MAPS]
        + [("filter", name) for name in FILTERS]
        + [("flatmap", name) for name in FLATMAPS]
    ),
    st.sampled_from([1, 1, 1, 2, 3]),
)


def evaluate(records: list[int], steps: list[Any]) -> list[int]:
    for (kind, name), _ in steps:
        if kind == "map":
            mapped = [MAPS[name](record) for record in records]
            records = [record for record in mapped if record is not None]
        elif kind == "filter":
            records = [record for record in records if FILTERS[name](record)]
        else:
            records = [item for record in records for item in FLATMAPS[name](record) or ()]
    return records


@given(
    records=st.lists(st.integers(-50, 50), max_size=60),
    steps=st.lists(STEP, max_size=6),
    workers=st.sampled_from(["thread", "inline"]),
    lazy=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_chain_equals_plain_python(
    records: list[int], steps: list[Any], workers: str, lazy: bool
) -> None:
    """The same records come out, as often, whatever is fused or parallel; and in order without
    parallelism. The counts of every operator add up."""
    env = LocalEnvironment(config={"workers": workers, "batch_size": 7, "channel_capacity": 10})
    out: list[int] = []
    stream = env.from_source(iter(records)) if lazy else env.from_collection(records)
    tables = {"map": MAPS, "filter": FILTERS, "flatmap": FLATMAPS}
    for (kind, name), parallelism in steps:
        stream = getattr(stream, kind)(tables[kind][name], parallelism=parallelism)
    stream.sink(out.append)
    result = env.submit(autostop=True)
    expected = evaluate(records, steps)
    assert Counter(out) == Counter(expected)
    if all(parallelism == 1 for _, parallelism in steps):
        assert out == expected
    assert result.abandoned == 0
    for report in result.operators:
        if report.kind in ("map", "filter"):
            assert report.records_in == report.records_out + report.dropped
