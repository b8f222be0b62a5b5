"""LocalEnvironment: its settings, operator options, and what submit gives back."""

from __future__ import annotations

import cProfile
import pstats
from typing import Any

import pytest

from sage.dataflow import JobResult, LocalEnvironment, MapFunction
from sage.errors import ConfigError, GraphError, UnknownKeyError


def test_unknown_setting_names_the_nearest() -> None:
    """A misspelled key is an error."""
    with pytest.raises(UnknownKeyError, match="did you mean 'workers'"):
        LocalEnvironment(config={"worker": "inline"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"workers": "magic"}, "workers is 'magic'; choose one of"),
        ({"parallelism": 0}, "parallelism is 0; give a whole number from 1"),
        ({"batch_size": "many"}, "batch_size is 'many'"),
        ({"channel_capacity": True}, "channel_capacity is True"),
    ],
)
def test_wrong_setting(config: dict[str, Any], message: str) -> None:
    """A wrong value is named, with what is right."""
    with pytest.raises(ConfigError, match=message):
        LocalEnvironment(config=config)


def test_unknown_operator_option() -> None:
    """A misspelled option of an operator is an error."""
    with pytest.raises(UnknownKeyError, match="did you mean 'parallelism'"):
        LocalEnvironment().from_collection([1]).map(str, parallelizm=2)


@pytest.mark.parametrize("parallelism", [0, -1, 1.5, "2"])
def test_wrong_parallelism(parallelism: Any) -> None:
    """Parallelism is a whole number from 1."""
    with pytest.raises(ConfigError, match="parallelism is"):
        LocalEnvironment().from_collection([1]).map(str, parallelism=parallelism)


def test_names_are_unique() -> None:
    """A name given twice is an error; default names get a number."""
    stream = LocalEnvironment().from_collection([1]).map(str).map(str).map(int, name="mine")
    with pytest.raises(GraphError, match="already an operator named 'mine'"):
        stream.map(int, name="mine")


class Needs(MapFunction):
    def __init__(self, model: str, timeout: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.timeout = timeout

    def execute(self, data: Any) -> tuple[str, float]:
        return self.model, self.timeout


def test_constructor_arguments_are_checked_when_the_operator_is_added() -> None:
    """What does not fit the constructor fails at the line that is wrong."""
    stream = LocalEnvironment().from_collection([1])
    with pytest.raises(GraphError, match=r"Needs cannot be constructed so: missing.*'model'"):
        stream.map(Needs, timeout=3)
    with pytest.raises(GraphError, match="which is not a class"):
        stream.map(str.upper, "extra")
    with pytest.raises(GraphError, match="give a callable"):
        stream.map(5)


def test_class_without_execute() -> None:
    """An operator class that defines no execute() is named."""

    class Forgotten(MapFunction):
        pass

    with pytest.raises(GraphError, match=r"Forgotten does not define execute\(\)"):
        LocalEnvironment().from_collection([1]).map(Forgotten)


def test_constructor_keywords_win_over_options(env: LocalEnvironment) -> None:
    """A keyword the constructor names goes to it; the rest are the operator's options."""
    out: list[Any] = []
    env.from_collection([1]).map(Needs, "m", timeout=3, name="step").sink(out.append)
    result = env.submit(autostop=True)
    assert out == [("m", 3)]
    assert result.operator("step").records_out == 1


def test_result(env: LocalEnvironment) -> None:
    """The result counts by operator and says it in one line."""
    env.name = "demo"
    env.from_collection(range(10)).filter(lambda x: x > 2, name="big").sink(lambda _: None)
    result = env.submit(autostop=True)
    assert isinstance(result, JobResult)
    assert result.summary().startswith("demo finished: 10 records in, 7 out, 0 failed, in ")
    with pytest.raises(KeyError):
        result.operator("small")


def test_submit_twice(env: LocalEnvironment) -> None:
    """A pipeline over a collection can run again."""
    out: list[int] = []
    env.from_collection([1, 2]).sink(out.append)
    env.submit(autostop=True)
    env.submit(autostop=True)
    assert out == [1, 2, 1, 2]


def test_handle_reports_the_result() -> None:
    """submit() without autostop returns a handle at once; wait() gives the result."""
    env = LocalEnvironment()
    out: list[int] = []
    env.from_collection([1, 2]).sink(out.append)
    job = env.submit()
    assert job.wait(20).records_out == 2
    assert job.result is job.wait()


def test_profile_by_operator(env: LocalEnvironment) -> None:
    """profile=True measures every operator; the slow one stands first in the table."""

    def slow(record: int) -> int:
        return sum(range(20_000)) and record

    env.from_collection(range(200)).map(lambda x: x, name="fast").map(slow).sink(lambda _: None)
    result = env.submit(autostop=True, profile=True)
    assert result.operator("slow").busy > 5 * result.operator("fast").busy > 0
    assert result.profile().splitlines()[1].startswith("slow")


def test_cprofile_sees_inline_workers() -> None:
    """With inline workers a profiler in the calling thread sees the operators."""
    env = LocalEnvironment(config={"workers": "inline"})

    def visible(record: int) -> int:
        return record

    env.from_collection(range(100)).map(visible).sink(lambda _: None)
    profiler = cProfile.Profile()
    profiler.enable()
    env.submit(autostop=True)
    profiler.disable()
    calls = {key[2]: value[0] for key, value in pstats.Stats(profiler).stats.items()}  # type: ignore[attr-defined]
    assert calls["visible"] == 100
