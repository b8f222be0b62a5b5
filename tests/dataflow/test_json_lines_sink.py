"""sink("out.jsonl"): a line a record, once each, and no file by that name that is not whole."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment
from sage.dataflow.context import RuntimeContext
from sage.dataflow.sinks.json_lines import BUFFER, JsonLinesSink
from sage.errors import ConfigError, DataflowError, GraphError, OperatorError, UnknownKeyError


def lines(path: str | Path) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def open_sink(path: Path, index: int = 0, parallelism: int = 1, **options: Any) -> JsonLinesSink:
    sink = JsonLinesSink(path, **options)
    sink.open(RuntimeContext("out", index, parallelism))
    return sink


def kill(sink: JsonLinesSink) -> None:
    """End a sink as the death of its process would: what it has not written is lost."""
    sink._buffer.clear()
    sink.close()


def test_a_line_a_record(env: LocalEnvironment) -> None:
    """In their order; the folder is made, and nothing else is left in it."""
    records = [{"n": number, "text": "a\nb é"} for number in range(3000)]
    env.from_collection(records).sink("deep/er/out.jsonl")
    result = env.submit(autostop=True)
    assert lines("deep/er/out.jsonl") == records
    assert [path.name for path in Path("deep/er").iterdir()] == ["out.jsonl"]
    assert result.operator("jsonl").records_out == 3000


def test_it_is_read_back(env: LocalEnvironment) -> None:
    """from_files reads what sink wrote."""
    env.from_collection([1, "two", [4]]).sink(Path("out.jsonl"))
    env.submit(autostop=True)
    again: list[Any] = []
    back = LocalEnvironment()
    back.from_files("out.jsonl").sink(again)
    back.submit(autostop=True)
    assert again == [1, "two", [4]]


def test_values_that_json_does_not_know(env: LocalEnvironment) -> None:
    """NumPy's become numbers and lists; times are ISO 8601; bytes are base 64; NaN is null."""
    record = {
        "array": np.arange(3),
        "scalar": np.float32(0.5),
        "at": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        "day": date(2024, 1, 2),
        "bytes": b"abc",
        "nan": float("nan"),
        "tuple": (1, "a"),
    }
    env.from_collection([record]).sink("out.jsonl")
    env.submit(autostop=True)
    assert lines("out.jsonl") == [
        {
            "array": [0, 1, 2],
            "scalar": 0.5,
            "at": "2024-01-02T03:04:05Z",
            "day": "2024-01-02",
            "bytes": "YWJj",
            "nan": None,
            "tuple": [1, "a"],
        }
    ]


def test_a_record_that_cannot_be_written(env: LocalEnvironment) -> None:
    """The error names it, and the file does not get its name."""
    env.from_collection([{"a": 1}, {"a": "x" * 99, "b": threading.Lock()}]).sink("out.jsonl")
    with pytest.raises(OperatorError, match=r"record \{'a': 'x.*a lock cannot be written as JSON"):
        env.submit(autostop=True)
    assert not Path("out.jsonl").exists()
    assert lines("out.jsonl.part") == [{"a": 1}]


def test_going_on_past_it(env: LocalEnvironment) -> None:
    """on_error is for single records: of the one given up, nothing is in the file."""
    records = [{"n": 1}, {"text": "x" * 99, "bad": object()}, {"n": 2}]
    env.from_collection(records).sink("out.jsonl", on_error="skip", name="out")
    result = env.submit(autostop=True)
    assert lines("out.jsonl") == [{"n": 1}, {"n": 2}]
    assert (result.operator("out").records_out, result.operator("out").failed) == (2, 1)


def test_no_records(env: LocalEnvironment) -> None:
    """An empty stream is an empty file."""
    env.from_collection([]).sink("out.jsonl")
    env.submit(autostop=True)
    assert Path("out.jsonl").read_bytes() == b""


def test_an_earlier_file_is_replaced_at_the_end(env: LocalEnvironment) -> None:
    """Until the new one is whole, the old one is there; what an earlier job left is not in it."""
    Path("out.jsonl").write_text("old\n")
    Path("out.jsonl.part").write_text("left behind, and longer than the new one\n")
    seen = []
    stream = env.from_collection([1, 2])
    stream.sink(lambda record: seen.append(Path("out.jsonl").read_text()))
    stream.sink("out.jsonl")
    env.submit(autostop=True)
    assert set(seen[:1]) == {"old\n"}
    assert Path("out.jsonl").read_text() == "1\n2\n"


def test_append(env: LocalEnvironment) -> None:
    """Lines go behind those that are there, which need no end of line."""
    Path("out.jsonl").write_text('{"a": 1}\n{"a": 2}')
    env.from_collection([{"a": 3}]).sink("out.jsonl", append=True)
    env.submit(autostop=True)
    assert lines("out.jsonl") == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_append_to_a_file_that_ends_within_a_line(env: LocalEnvironment) -> None:
    """Nothing is written behind half a record; the error says where to cut it off."""
    text = '{"a": 1}\n{"a": "' + "x" * 100_000
    Path("out.jsonl").write_text(text)
    env.from_collection([1]).sink("out.jsonl", append=True)
    with pytest.raises(OperatorError, match=r"ends within a line.*truncate -s 9 out\.jsonl"):
        env.submit(autostop=True)
    assert Path("out.jsonl").read_text() == text


def test_lines_do_not_wait_for_long() -> None:
    """A slow stream's lines are in the file after a second, whether or not others follow."""
    go_on = threading.Event()

    def source() -> Any:
        yield 1
        yield 2
        while not go_on.is_set():
            yield None

    env = LocalEnvironment()
    env.from_source(source).sink("out.jsonl", append=True)
    job = env.submit()
    deadline = time.monotonic() + 10
    while not Path("out.jsonl").exists() or Path("out.jsonl").read_text() != "1\n2\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    go_on.set()
    job.wait(10)


def test_a_file_for_each_replica(env: LocalEnvironment) -> None:
    """With their numbers in the names."""
    env.from_collection(range(20_000)).map(abs, parallelism=2).sink("out.jsonl", parallelism=2)
    env.submit(autostop=True)
    assert sorted(path.name for path in Path().iterdir()) == ["out-0.jsonl", "out-1.jsonl"]
    assert sorted(lines("out-0.jsonl") + lines("out-1.jsonl")) == list(range(20_000))


def test_in_a_process() -> None:
    """Replicas may live in worker processes."""
    env = LocalEnvironment()
    env.from_collection(range(100)).map(abs, workers="process").sink("out.jsonl", workers="process")
    env.submit(autostop=True)
    assert lines("out.jsonl") == list(range(100))


def test_behind_keyby(env: LocalEnvironment) -> None:
    """The record is written, not its key."""
    env.from_collection(["a", "b"]).keyby(str.upper).sink("out.jsonl")
    env.submit(autostop=True)
    assert lines("out.jsonl") == ["a", "b"]


def test_a_name_that_tells_no_format(env: LocalEnvironment) -> None:
    """format says it."""
    env.from_collection([1]).sink("out.json", format="jsonl")
    env.submit(autostop=True)
    assert lines("out.json") == [1]


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("out.txt", {}, ConfigError, "path 'out.txt', whose name tells no format"),
        ("out.jsonl.gz", {}, ConfigError, "tells no format"),
        (
            "out",
            {"format": "xml"},
            ConfigError,
            "format is 'xml'; choose one of 'jsonl', 'parquet'",
        ),
        ("s3://bucket/out.jsonl", {}, ConfigError, "not to URLs"),
        (
            "out.jsonl",
            {"apend": True},
            UnknownKeyError,
            "did you mean 'append'|unknown key 'apend'",
        ),
        ("out.jsonl", {"schema": 1}, UnknownKeyError, "unknown key 'schema'"),
    ],
)
def test_wrong_options(
    path: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Wrong options fail where they are written."""
    with pytest.raises(error, match=message):
        LocalEnvironment().from_collection([1]).sink(path, **options)
    with pytest.raises(GraphError, match="1 arguments beside a jsonl"):
        LocalEnvironment().from_collection([1]).sink("out.jsonl", 3)


def test_a_folder_of_that_name(env: LocalEnvironment) -> None:
    """Fails before any record is taken."""
    Path("out.jsonl").mkdir()
    env.from_collection([1]).sink("out.jsonl")
    with pytest.raises(OperatorError, match=r"<open>.*cannot be written: it is a folder"):
        env.submit(autostop=True)


FILLS_THE_DISK = """
import resource
from sage.dataflow import LocalEnvironment
from sage.errors import OperatorError

HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_003, HARD))


def record(number):
    if number == ROOM_AT:
        resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))
    return {"n": number}


env = LocalEnvironment()
env.from_collection(range(200_000)).map(record).sink("out.jsonl", name="out", **OPTIONS)
error = None
try:
    env.submit(autostop=True)
except OperatorError as caught:
    error = caught
out = env.last_job.result.operator("out")
print(error, out.records_in, out.records_out, out.failed, sep="|")
"""


def fill_the_disk(options: dict[str, Any], room_at: int | None) -> tuple[str, int, int, int]:
    """Run a job whose file can be no longer than a megabyte until a record comes.

    Returns:
        its error, and the sink's counts: taken, written, failed.
    """
    script = f"OPTIONS = {options!r}\nROOM_AT = {room_at!r}\n{FILLS_THE_DISK}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=True
    )
    error, *counts = done.stdout.strip().split("|")
    taken, written, failed = map(int, counts)
    return error, taken, written, failed


@pytest.mark.parametrize("options", [{"on_error": "skip"}, {}])
def test_a_full_disk(options: dict[str, Any]) -> None:
    """One error; what is there has no final name, and holds no more than was counted as written."""
    error, taken, written, failed = fill_the_disk(options, None)
    assert "out.jsonl.part cannot be written: File too large" in error
    assert not Path("out.jsonl").exists()
    partial = Path("out.jsonl.part").read_bytes()
    assert len(partial) == 1_000_003
    whole = partial[: partial.rfind(b"\n") + 1].splitlines()
    assert [json.loads(line)["n"] for line in whole] == list(range(len(whole)))
    assert len(whole) <= written
    # Nothing was taken that was neither written, nor waiting to be, nor failed; the end failed too.
    assert taken == written + failed - ("<end of input>" in error)


def test_a_disk_that_was_full_for_a_while() -> None:
    """With on_error, the records that came meanwhile failed, and all others are in the file."""
    error, taken, written, failed = fill_the_disk({"on_error": "skip"}, 150_000)
    assert error == "None"
    assert failed > 0
    assert taken == written + failed == 200_000
    found = [record["n"] for record in lines("out.jsonl")]
    assert len(found) == written
    assert found == sorted(set(found))


def test_a_record_that_is_refused_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not written later: lines wait until there is room, the record is not among them."""
    sink = open_sink(tmp_path / "out.jsonl")
    text = "x" * BUFFER
    sink.execute(text)
    written = sink._file.write
    monkeypatch.setattr(sink._file, "write", _no_space)
    with pytest.raises(DataflowError, match="No space"):
        sink.execute("refused")
    monkeypatch.setattr(sink._file, "write", written)
    sink.execute("taken")
    sink.flush()
    assert lines(tmp_path / "out.jsonl") == [text, "taken"]


def _no_space(data: bytearray) -> None:
    raise DataflowError("No space left on device")


RECORDS = st.lists(st.integers(), max_size=6)


@given(before=RECORDS, lost=RECORDS, written=st.booleans(), after=RECORDS, append=st.booleans())
@settings(max_examples=80, deadline=None)
def test_each_record_is_there_once_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[int],
    lost: list[int],
    written: bool,
    after: list[int],
    append: bool,
) -> None:
    """What was written after the snapshot is cut off, and the records come again."""
    path = tmp_path_factory.mktemp("out") / "out.jsonl"
    first = [0] if append else []
    if append:
        path.write_text("0\n")
    sink = open_sink(path, append=append)
    for record in before:
        sink.execute(record)
    state = sink.snapshot()
    for record in lost:
        sink.execute(record)
    sink.close() if written else kill(sink)
    again = open_sink(path, append=append)
    again.restore(state)
    for record in lost + after:
        again.execute(record)
    again.flush()
    assert lines(path) == first + before + lost + after


def test_replicas_that_had_ended_keep_their_files(tmp_path: Path) -> None:
    """They are not among the states, and no new replica writes over what they wrote."""
    folder = tmp_path / "out"
    sinks = [open_sink(folder / "out.jsonl", index, 2) for index in range(2)]
    for record, sink in enumerate(sinks):
        sink.execute(record)
    sinks[1].flush()
    (state,) = JsonLinesSink.redistribute([sinks[0].snapshot()], 1)
    sinks[0].close()
    again = open_sink(folder / "out.jsonl")
    again.restore(state)
    again.execute(2)
    again.flush()
    assert sorted(record for path in folder.iterdir() for record in lines(path)) == [0, 1, 2]


def test_going_back_from_a_file_that_is_whole(tmp_path: Path) -> None:
    """A job that has ended can be run again from a checkpoint of it."""
    path = tmp_path / "out.jsonl"
    sink = open_sink(path)
    sink.execute(1)
    state = sink.snapshot()
    sink.execute(2)
    sink.flush()
    again = open_sink(path)
    again.restore(state)
    again.execute(2)
    again.execute(3)
    assert not path.exists()
    again.flush()
    assert lines(path) == [1, 2, 3]


def test_a_file_that_was_changed_since(tmp_path: Path) -> None:
    """Records of before the checkpoint cannot be made up."""
    path = tmp_path / "out.jsonl"
    sink = open_sink(path)
    sink.execute("long enough")
    state = sink.snapshot()
    sink.close()
    Path(f"{path}.part").write_text("1\n")
    again = open_sink(path)
    with pytest.raises(DataflowError, match=r"holds 2 bytes, but the checkpoint was taken at 14"):
        again.restore(state)
    again.close()


@given(
    steps=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    shares=st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_parallelism_can_change(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[int],
    shares: list[int],
) -> None:
    """However often it does, each record is once in the files of all, and all are whole."""
    folder = tmp_path_factory.mktemp("out")
    states: list[Any] = []
    taken = 0
    for step, parallelism in enumerate(steps):
        sinks = [
            open_sink(folder / "out.jsonl", index, parallelism) for index in range(parallelism)
        ]
        if step:
            for sink, state in zip(
                sinks, JsonLinesSink.redistribute(states, parallelism), strict=True
            ):
                sink.restore(state)
        for share in shares:
            sinks[share % parallelism].execute(taken)
            taken += 1
        states = [sink.snapshot() for sink in sinks]
        if step + 1 == len(steps):
            for sink in sinks:
                sink.flush()
        else:
            # Records of after the snapshot, which come to nothing.
            for sink in sinks:
                sink.execute(-1)
                sink.close()
    assert not list(folder.glob("*.part"))
    written = [record for path in folder.iterdir() for record in lines(path)]
    assert sorted(written) == list(range(taken))
