"""open, close, context and copies: what a replica's life looks like."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from sage.dataflow import LocalEnvironment, MapFunction, RuntimeContext
from sage.errors import GraphError, OperatorError, UnknownKeyError

EVENTS: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def clear_events() -> None:
    EVENTS.clear()


class Recorded(MapFunction):
    """Records its life in EVENTS, which copies share."""

    def open(self, context: RuntimeContext) -> None:
        EVENTS["open"] += 1
        EVENTS[f"index {context.index} of {context.parallelism}"] += 1
        self.context_seen = context

    def execute(self, data: int) -> int:
        assert self.context_seen is self.context
        self.context_seen.metrics.add("seen")
        if data < 0:
            raise ValueError("negative")
        return data

    def close(self) -> None:
        EVENTS["close"] += 1


def test_each_replica_is_opened_and_closed_once(env: LocalEnvironment) -> None:
    """An instance is copied for each replica; each is opened with its index, and closed."""
    out: list[int] = []
    env.from_collection(range(1000)).map(Recorded(name="rec"), parallelism=3).sink(out.append)
    result = env.submit(autostop=True)
    assert EVENTS == {
        "open": 3,
        "close": 3,
        "index 0 of 3": 1,
        "index 1 of 3": 1,
        "index 2 of 3": 1,
    }
    assert sorted(out) == list(range(1000))
    assert result.operator("rec").metrics == {"seen": 1000}


def test_closed_after_an_error(env: LocalEnvironment) -> None:
    """close() is called in every replica also when one of them raised."""
    env.from_collection([1, -1, 2]).map(Recorded(), parallelism=2).sink(lambda _: None)
    with pytest.raises(OperatorError):
        env.submit(autostop=True)
    assert EVENTS["open"] == EVENTS["close"] == 2


def test_open_without_context(env: LocalEnvironment) -> None:
    """open() may leave out the context."""

    class Old(MapFunction):
        def open(self) -> None:  # type: ignore[override]
            EVENTS["open"] += 1

        def execute(self, data: int) -> int:
            return data

    env.from_collection([1]).map(Old()).sink(lambda _: None)
    env.submit(autostop=True)
    assert EVENTS["open"] == 1


def test_open_that_raises_fails_the_job(env: LocalEnvironment) -> None:
    """An error in open() names the operator; what was opened is closed."""

    class Unopenable(MapFunction):
        def open(self, context: RuntimeContext) -> None:
            raise OSError("no model")

        def execute(self, data: int) -> int:
            return data

    env.from_collection([1]).map(Recorded()).map(Unopenable()).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'Unopenable' failed on record '<open>'.*no model"):
        env.submit(autostop=True)
    assert EVENTS["open"] == EVENTS["close"] == 1


def test_an_instance_that_cannot_be_copied() -> None:
    """The error says to give the class instead; one replica needs no copy."""

    class Locked(MapFunction):
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def execute(self, data: int) -> int:
            with self.lock:
                return data

    env = LocalEnvironment()
    env.from_collection([1]).map(Locked(), parallelism=2).sink(lambda _: None)
    with pytest.raises(GraphError, match=r"'Locked' has parallelism 2.*give the class"):
        env.submit(autostop=True)
    single = LocalEnvironment()
    single.from_collection([1]).map(Locked()).sink(lambda _: None)
    assert single.submit(autostop=True).records_out == 1


def test_options_of_the_constructor(env: LocalEnvironment) -> None:
    """Options given to the instance hold unless the stream's method says otherwise."""
    env.from_collection([1]).map(Recorded(name="mine", parallelism=2)).sink(lambda _: None)
    result = env.submit(autostop=True)
    assert result.operator("mine").parallelism == 2


def test_unknown_option_of_the_constructor() -> None:
    """An option that does not exist is an error with the nearest one."""
    with pytest.raises(UnknownKeyError, match="did you mean 'parallelism'"):
        Recorded(paralelism=2)


def test_logger_is_named_after_the_operator(env: LocalEnvironment) -> None:
    """self.logger is the operator's own, without super().__init__() too."""
    names: list[str] = []

    class Logging(MapFunction):
        def __init__(self) -> None:
            names.append(self.logger.name)

        def execute(self, data: int) -> int:
            names.append(self.logger.name)
            return data

    env.from_collection([1]).map(Logging(), name="step").sink(lambda _: None)
    env.submit(autostop=True)
    assert names == ["sage.dataflow.Logging", "sage.dataflow.step"]


def test_close_that_raises_fails_the_job(env: LocalEnvironment) -> None:
    """An error in close() is not swallowed."""

    class Sticky(MapFunction):
        def execute(self, data: Any) -> Any:
            return data

        def close(self) -> None:
            raise OSError("cannot write")

    env.from_collection([1]).map(Sticky()).map(Recorded()).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'Sticky' failed on record '<close>'"):
        env.submit(autostop=True)
    assert EVENTS["close"] == 1
