"""Between stages of equal parallelism each replica hands on to its own."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from sage.dataflow import LocalEnvironment, MapFunction


class Numbered(MapFunction):
    """Numbers the records of each key."""

    def open(self, context: Any) -> None:
        self.count = context.state.value("count", 0)

    def execute(self, data: int) -> tuple[int, int]:
        self.count.set(self.count.get() + 1)
        return data % 8, self.count.get()


def uneven(record: tuple[int, int]) -> tuple[int, int]:
    """Take a while now and then, so that replicas that share a channel would overtake."""
    if random.random() < 0.02:
        time.sleep(0.001)
    return record


@pytest.mark.parametrize("workers", ["thread", "inline"])
def test_the_order_of_each_key_is_kept(workers: str) -> None:
    """A keyed stream that several operators read goes on in order, through async ones too."""

    async def hand_on(record: tuple[int, int]) -> tuple[int, int]:
        return record

    env = LocalEnvironment("test", config={"workers": workers, "parallelism": 3})
    keyed = env.from_collection(range(4000)).keyby(lambda n: n % 8).map(Numbered)
    seen: dict[int, list[int]] = {}
    (
        keyed.map(uneven)
        .map(hand_on)
        .keyby(lambda record: record[0])
        .map(lambda record: record)
        .sink(lambda record: seen.setdefault(record[0], []).append(record[1]))
    )
    keyed.sink(lambda _: None)
    env.submit(autostop=True)
    assert seen == {key: list(range(1, 501)) for key in range(8)}


def test_the_plan_says_so() -> None:
    """explain() shows a channel for each pair."""

    async def hand_on(record: int) -> int:
        return record

    env = LocalEnvironment("test", config={"parallelism": 3})
    env.from_collection([1]).map(abs).map(hand_on).sink(print)
    assert "a channel for each pair of replicas → stage 2" in env.explain()
