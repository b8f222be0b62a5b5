"""split: one stream divided into several."""

from __future__ import annotations

import pytest

from sage.dataflow import LocalEnvironment
from sage.errors import OperatorError


def sign(number: int) -> str:
    return "negative" if number < 0 else "zero" if number == 0 else "positive"


def test_each_record_goes_to_one_stream(env: LocalEnvironment) -> None:
    """The function names the stream; each keeps its order."""
    parts: dict[str, list[int]] = {"negative": [], "zero": [], "positive": []}
    split = env.from_collection([3, -1, 0, 2, -5]).split(sign)
    for name, part in parts.items():
        split[name].sink(part.append)
    result = env.submit(autostop=True)
    assert parts == {"negative": [-1, -5], "zero": [0], "positive": [3, 2]}
    assert result.records_out == 5


def test_the_same_name_twice_is_one_stream(env: LocalEnvironment) -> None:
    """Two readers of one name both get its records."""
    left: list[int] = []
    right: list[int] = []
    split = env.from_collection([1, 2]).split(sign)
    split["positive"].sink(left.append)
    split["positive"].sink(right.append)
    env.submit(autostop=True)
    assert left == right == [1, 2]


def test_a_name_that_nothing_reads(env: LocalEnvironment) -> None:
    """A record must not vanish: naming a stream that nothing reads is an error."""
    env.from_collection([1, 0]).split(sign)["positive"].sink(lambda _: None)
    with pytest.raises(OperatorError, match="named the stream 'zero', which nothing reads"):
        env.submit(autostop=True)
