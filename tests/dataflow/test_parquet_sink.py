"""sink("out.parquet"): dicts as rows, of one file at the end or of a folder's parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment
from sage.dataflow.context import RuntimeContext
from sage.dataflow.sinks.parquet import ParquetSink
from sage.errors import ConfigError, DataflowError, OperatorError, UnknownKeyError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def rows(path: str | Path) -> list[Any]:
    """Return the rows of a file, or of a folder's parts."""
    path = Path(path)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def numbers(*values: int) -> list[dict[str, int]]:
    return [{"n": value} for value in values]


def open_sink(path: Path, index: int = 0, parallelism: int = 1, **options: Any) -> ParquetSink:
    sink = ParquetSink(path, path.suffix != ".parquet", **options)
    sink.open(RuntimeContext("out", index, parallelism))
    return sink


def test_a_file(env: LocalEnvironment) -> None:
    """Records in their order, over row groups; nothing else is left in the folder."""
    records = [{"n": number, "text": f"é{number}"} for number in range(5000)]
    env.from_collection(records).sink("deep/out.parquet", rows_per_group=1500)
    env.submit(autostop=True)
    assert rows("deep/out.parquet") == records
    file = pq.ParquetFile("deep/out.parquet")
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert max(groups) <= 1500
    assert [path.name for path in Path("deep").iterdir()] == ["out.parquet"]


def test_a_folder(env: LocalEnvironment) -> None:
    """A part for each replica."""
    records = [{"n": number} for number in range(9000)]
    env.from_collection(records).map(dict, parallelism=2).sink(
        "out", format="parquet", parallelism=2
    )
    env.submit(autostop=True)
    assert {path.name for path in Path("out").iterdir()} <= {
        f"part-{i}-00000.parquet" for i in (0, 1)
    }
    assert sorted(row["n"] for row in rows("out")) == list(range(9000))


def test_a_folder_by_its_name(env: LocalEnvironment) -> None:
    """A name that ends like a folder's is one; its parts of an earlier job are replaced."""
    Path("out.parquet").mkdir()
    Path("out.parquet/other.txt").write_text("mine")
    for name in ("part-0-00000.parquet", "part-0-7.parquet", "part-3-00000.parquet.part"):
        Path("out.parquet", name).write_text("old")
    env.from_collection(numbers(1)).sink("out.parquet/", format="parquet")
    env.submit(autostop=True)
    assert rows("out.parquet") == numbers(1)
    assert {path.name for path in Path("out.parquet").iterdir()} == {
        "other.txt",
        "part-0-00000.parquet",
    }


def test_columns(env: LocalEnvironment) -> None:
    """They are those of the first 1,024 records together; one that a record has not is null."""
    records = [{"a": 1}, {"b": "x", "v": np.arange(2.0)}]
    env.from_collection(records).sink("out.parquet")
    env.submit(autostop=True)
    assert rows("out.parquet") == [
        {"a": 1, "b": None, "v": None},
        {"a": None, "b": "x", "v": [0.0, 1.0]},
    ]


def test_a_schema(env: LocalEnvironment) -> None:
    """It says names and types, whatever comes first."""
    schema = pa.schema([("n", pa.int32()), ("tags", pa.list_(pa.string()))])
    env.from_collection([{"n": None}, {"n": 3, "tags": ["a"]}]).sink("out.parquet", schema=schema)
    env.submit(autostop=True)
    assert pq.read_schema("out.parquet").equals(schema)
    assert rows("out.parquet") == [{"n": None, "tags": None}, {"n": 3, "tags": ["a"]}]


@pytest.mark.parametrize("schema", [None, pa.schema([("n", pa.int64())])])
def test_no_records(env: LocalEnvironment, schema: Any) -> None:
    """An empty stream is a file without rows."""
    env.from_collection([]).sink("out.parquet", schema=schema)
    env.submit(autostop=True)
    assert rows("out.parquet") == []
    assert pq.read_schema("out.parquet").names == (schema.names if schema else [])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([1], "a record for Parquet is a dict of columns, not a int; map it first"),
        ([{"n": 1}, {"n": "x"}], "column 'n': .*'x'.*give schema="),
        ([{"n": 1}] * 1024 + [{"n": 1, "m": 2}], r"columns \['m'\] that the records before"),
        ([{"n": 1}] * 1024 + [{"n": "x"}], "column 'n': .*'x'.*give schema="),
        ([{"n": 2**70}], "column 'n'"),
        ([{3: 1}], "a column's name is a text, not 3"),
        ([{"n": object()}], "column 'n': .*object"),
    ],
)
def test_records_that_do_not_fit(env: LocalEnvironment, records: list[Any], message: str) -> None:
    """Nothing is left out or made another type of; no file is left, not even a part."""
    env.from_collection(records).sink("out.parquet")
    with pytest.raises(OperatorError, match=message):
        env.submit(autostop=True)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("out.parquet", {"parallelism": 2}, ConfigError, r"one Parquet file.*sink\('out', format"),
        ("out.parquet", {"on_error": "skip"}, ConfigError, "cannot give up or try again single"),
        ("out.parquet", {"retry": 3}, ConfigError, "leave out on_error and retry"),
        ("out.parquet", {"schema": {"a": int}}, ConfigError, "schema is a dict"),
        ("out.parquet", {"rows_per_group": 0}, ConfigError, "rows_per_group is 0"),
        ("out.parquet", {"append": True}, UnknownKeyError, "unknown key 'append'"),
    ],
)
def test_wrong_options(
    path: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Wrong options fail where they are written."""
    with pytest.raises(error, match=message):
        LocalEnvironment().from_collection(numbers(1)).sink(path, **options)


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, when the pipeline is written."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        LocalEnvironment().from_collection(numbers(1)).sink("out.parquet")


FILLS_THE_DISK = """
import resource
from sage.dataflow import LocalEnvironment
from sage.errors import OperatorError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
env = LocalEnvironment()
records = ({"n": number, "text": str(number * 7919)} for number in range(200_000))
env.from_collection(records).sink("out.parquet", rows_per_group=2000)
try:
    env.submit(autostop=True)
except OperatorError as error:
    print(error)
"""


def test_a_full_disk() -> None:
    """One error, and no file that could be taken for a whole one."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FILLS_THE_DISK],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "part-0-00000.parquet.part cannot be written: File too large" in done.stdout
    assert done.stderr == ""
    assert list(Path().iterdir()) == []


def kill(sink: ParquetSink) -> None:
    """End a sink as the death of its process would: with half a part."""
    if sink._part is not None:
        partial = sink._part._partial
        sink._part.abandon()
        partial.write_bytes(b"PAR1 and no end")


COUNTS = st.sampled_from([0, 1, 3, 1024, 1500])


@given(before=st.lists(COUNTS, max_size=3), lost=COUNTS, after=COUNTS, single=st.booleans())
@settings(max_examples=60, deadline=None)
def test_each_record_is_there_once_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[int],
    lost: int,
    after: int,
    single: bool,
) -> None:
    """Parts of after the snapshot are deleted, and their records come again."""
    path = tmp_path_factory.mktemp("out") / ("out.parquet" if single else "out")
    sink = open_sink(path)
    taken = 0
    state = sink.snapshot()
    for count in before:
        for number in range(taken, taken + count):
            sink.execute({"n": number})
        taken += count
        state = sink.snapshot()
    for number in range(taken, taken + lost):
        sink.execute({"n": number})
    sink.snapshot() if after % 2 else kill(sink)
    again = open_sink(path)
    again.restore(state)
    for number in range(taken, taken + lost + after):
        again.execute({"n": number})
    again.flush()
    again.close()
    written = [row["n"] for row in rows(path)]
    assert written == list(range(taken + lost + after))
    assert not path.with_name("out.parquet.parts").exists()


@given(
    steps=st.lists(st.integers(1, 4), min_size=2, max_size=4), shares=st.lists(st.integers(0, 3))
)
@settings(max_examples=40, deadline=None)
def test_parallelism_can_change(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], shares: list[int]
) -> None:
    """However often it does, each record is once in the folder."""
    folder = tmp_path_factory.mktemp("out") / "out"
    states: list[Any] = []
    taken = 0
    for step, parallelism in enumerate(steps):
        sinks = [open_sink(folder, index, parallelism) for index in range(parallelism)]
        if step:
            redistributed = ParquetSink.redistribute(states, parallelism)
            for sink, state in zip(sinks, redistributed, strict=True):
                sink.restore(state)
        for share in shares:
            sinks[share % parallelism].execute({"n": taken})
            taken += 1
        states = [sink.snapshot() for sink in sinks]
        for sink in sinks:
            sink.execute({"n": -1})
            if step + 1 == len(steps):
                sink._batches.take()
                sink.flush()
            else:
                sink.snapshot()
            sink.close()
    assert sorted(row["n"] for row in rows(folder)) == list(range(taken))


def test_replicas_that_had_ended_keep_their_parts(tmp_path: Path) -> None:
    """They are not among the states, and no new replica deletes what they wrote."""
    sinks = [open_sink(tmp_path / "out", index, 2) for index in range(2)]
    for number, sink in enumerate(sinks):
        sink.execute({"n": number})
    sinks[1].flush()
    states = ParquetSink.redistribute([sinks[0].snapshot()], 3)
    for index, state in enumerate(states):
        again = open_sink(tmp_path / "out", index, 3)
        again.restore(state)
        again.execute({"n": 2 + index})
        again.flush()
    assert sorted(row["n"] for row in rows(tmp_path / "out")) == [0, 1, 2, 3, 4]


def test_types_stay_what_they_were(tmp_path: Path) -> None:
    """After a restart the columns are those of before, whatever comes first then."""
    path = tmp_path / "out.parquet"
    sink = open_sink(path)
    sink.execute({"n": 1, "x": 0.5})
    state = sink.snapshot()
    sink.close()
    again = open_sink(path)
    again.restore(state)
    again.execute({"n": None, "x": 2})
    again.flush()
    assert rows(path) == [{"n": 1, "x": 0.5}, {"n": None, "x": 2.0}]


def test_going_back_from_a_file_that_is_whole(tmp_path: Path) -> None:
    """A job that has ended can be run again from a checkpoint of it."""
    path = tmp_path / "out.parquet"
    sink = open_sink(path)
    for number in range(3):
        sink.execute({"n": number})
    state = sink.snapshot()
    sink.execute({"n": 3})
    sink.flush()
    assert len(rows(path)) == 4
    again = open_sink(path)
    again.restore(state)
    again.execute({"n": 7})
    state = again.snapshot()
    again.flush()
    assert rows(path) == numbers(0, 1, 2, 7)
    third = open_sink(path)
    third.restore(state)
    third.flush()
    assert rows(path) == numbers(0, 1, 2, 7)


def test_a_part_that_is_gone(tmp_path: Path) -> None:
    """Records of before the checkpoint cannot be made up."""
    sink = open_sink(tmp_path / "out")
    sink.execute({"n": 1})
    state = sink.snapshot()
    (tmp_path / "out" / "part-0-00000.parquet").unlink()
    again = open_sink(tmp_path / "out")
    with pytest.raises(
        DataflowError, match=r"part-0-00000\.parquet is not there, which was written"
    ):
        again.restore(state)


def test_behind_keyby(env: LocalEnvironment) -> None:
    """The record is written, not its key."""
    env.from_collection(numbers(1, 2)).keyby(lambda row: row["n"]).sink("out.parquet")
    env.submit(autostop=True)
    assert rows("out.parquet") == numbers(1, 2)
