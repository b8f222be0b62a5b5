"""sink and print: where a stream ends."""

from __future__ import annotations

from typing import Any

import pytest

from sage.dataflow import LocalEnvironment, SinkFunction
from sage.errors import GraphError


class Collect(SinkFunction):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.records: list[Any] = []
        self.flushed = False

    def execute(self, data: Any) -> None:
        self.records.append(data)

    def flush(self) -> None:
        self.flushed = True


def test_instance_keeps_what_it_gathered(env: LocalEnvironment) -> None:
    """With one replica the instance itself runs, so its attributes can be read afterwards."""
    sink = Collect()
    env.from_collection(["a", "b"]).sink(sink)
    result = env.submit(autostop=True)
    assert sink.records == ["a", "b"]
    assert sink.flushed
    assert result.records_out == 2


def test_several_sinks_each_get_every_record(env: LocalEnvironment) -> None:
    """A stream can be read more than once; every reader gets every record."""
    left: list[int] = []
    right: list[int] = []
    stream = env.from_collection(range(1000))
    stream.sink(left.append)
    stream.map(lambda x: x + 1).sink(right.append)
    env.submit(autostop=True)
    assert left == list(range(1000))
    assert right == list(range(1, 1001))


def test_print(env: LocalEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    """print() writes a line a record."""
    env.from_collection([1, "two"]).print(prefix="> ")
    env.submit(autostop=True)
    assert capsys.readouterr().out == "> 1\n> two\n"


def test_nothing_comes_out_of_a_sink(env: LocalEnvironment) -> None:
    """An operator after a sink is an error."""
    with pytest.raises(GraphError, match="nothing comes out"):
        env.from_collection([1]).sink(print).map(str)
