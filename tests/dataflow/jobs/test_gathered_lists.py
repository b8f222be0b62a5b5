"""Records that a job gathers for lists of its client's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from sage.dataflow import LocalEnvironment
from sage.dataflow.jobs.gathering import GatheredList, gathered_lists, lists_of, with_gathering
from sage.errors import DataflowError


def kept(path: Path, *, anew: bool = False) -> GatheredList:
    records = GatheredList()
    records.keep(path, anew=anew)
    return records


def there(path: Path, *, anew: bool = False) -> list[Any]:
    """Return what a driver that takes over finds."""
    records = kept(path, anew=anew)
    records.close()
    return list(records)


def test_what_stands_for_the_lists_travels_empty() -> None:
    """Whether they were given themselves or by their method; the client's stay as they are."""
    first: list[Any] = [1]
    second: list[Any] = []
    env = LocalEnvironment("lists")
    stream = env.from_collection([1])
    stream.sink(first, name="list")
    stream.sink(second.append, name="method")
    stream.sink(print, name="neither")
    assert lists_of(env._graph) == {"list": first, "method": second}
    graph = with_gathering(env._graph)
    gathered = gathered_lists(graph)
    assert list(gathered) == ["list", "method"]
    gathered["list"].append(5)
    assert pickle.loads(pickle.dumps(gathered["list"])) == []
    assert first == [1]
    assert [node.name for node in graph.nodes] == [node.name for node in env._graph.nodes]


def test_another_driver_takes_over_what_was_kept(tmp_path: Path) -> None:
    """All that was appended, less what was taken back; unless it begins anew."""
    path = tmp_path / "records"
    records = kept(path)
    records.extend(range(10))
    del records[4:]
    records.append("last")
    records.close()
    records = kept(path)
    assert records == [0, 1, 2, 3, "last"]
    del records[1:]
    records.append(7)
    records.close()
    assert there(path) == [0, 7]
    assert there(path, anew=True) == []
    assert path.read_bytes() == b""


def test_a_record_that_was_being_written_is_left_out(tmp_path: Path) -> None:
    """Its driver was killed; the next one writes after the last whole record."""
    path = tmp_path / "records"
    records = kept(path)
    records.extend(["one", "two"])
    records.close()
    path.write_bytes(path.read_bytes()[:-3])
    records = kept(path)
    assert records == ["one"]
    records.append("three")
    records.close()
    assert there(path) == ["one", "three"]


def test_classes_of_a_script_are_kept_with_their_code(tmp_path: Path) -> None:
    """They are in no module that a driver could import."""

    class Local:
        def __init__(self, value: int) -> None:
            self.value = value

    records = kept(tmp_path / "records")
    records.append(Local(3))
    records.close()
    (record,) = there(tmp_path / "records")
    assert record.value == 3


def test_more_than_the_limit_is_an_error() -> None:
    """Nothing is left out in silence."""
    records = GatheredList(2)
    with pytest.raises(DataflowError, match="at most 2 records"):
        records.extend([1, 2, 3])
    assert records == [1, 2]
