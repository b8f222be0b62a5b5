"""Which operators run together, and what explain() says of it."""

from __future__ import annotations

import pytest

from sage.dataflow import LocalEnvironment
from sage.errors import GraphError


def stages(env: LocalEnvironment) -> list[str]:
    """What explain() says of each stage."""
    return [line for line in env.explain().splitlines() if line.startswith("stage ")]


def test_equal_parallelism_is_fused() -> None:
    """A collection and operators of equal parallelism are one stage."""
    env = LocalEnvironment()
    env.from_collection([1]).map(str).filter(bool, name="any").sink(print, name="out")
    assert stages(env) == ["stage 0: collection → str → any → out"]


def test_parallelism_begins_a_stage() -> None:
    """Where parallelism changes there is a channel."""
    env = LocalEnvironment()
    env.from_collection([1]).map(str, parallelism=2).map(int, parallelism=2).sink(print)
    assert stages(env) == ["stage 0: collection", "stage 1 ×2: str → int", "stage 2: print"]


def test_a_source_that_may_wait_is_a_stage_of_its_own() -> None:
    """A generator, a queue or a socket must not hold back the records it has given."""
    env = LocalEnvironment()
    env.from_source(iter([1]), name="lines").sink(print)
    assert stages(env)[0] == "stage 0: lines"


def test_a_fork_ends_a_stage() -> None:
    """A stream that two operators read goes to both through channels."""
    env = LocalEnvironment()
    stream = env.from_collection([1])
    stream.sink(print, name="a")
    stream.sink(print, name="b")
    assert env.explain().count("channel") == 2


def test_the_environments_parallelism() -> None:
    """Operators that do not say take the environment's; sources and sinks stay single."""
    env = LocalEnvironment(config={"parallelism": 3})
    env.from_collection([1]).map(str).sink(print)
    assert "stage 1 ×3: str" in env.explain()


def test_an_open_end_is_an_error() -> None:
    """A stream that nothing reads would drop its records."""
    env = LocalEnvironment()
    env.from_collection([1]).map(str)
    with pytest.raises(GraphError, match="nothing reads operator 'str'; end its stream with sink"):
        env.submit(autostop=True)


def test_an_empty_pipeline_is_an_error() -> None:
    """There is nothing to run."""
    with pytest.raises(GraphError, match="empty"):
        LocalEnvironment().explain()
