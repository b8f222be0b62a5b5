"""Dead letters: in the result, in a file, in a sink of one's own; and errors with the result."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow import DeadLetter, JobStatus, LocalEnvironment, SinkFunction
from sage.dataflow import dead_letters as module
from sage.dataflow.letter_file import letter_line
from sage.errors import ConfigError, JobCancelledError, OperatorError


def refuse(record: Any) -> Any:
    raise ValueError(f"no {record}")


def run(env: LocalEnvironment, records: list[Any]) -> Any:
    env.from_collection(records).map(refuse, on_error="dead_letter").sink(lambda _: None)
    return env.submit(autostop=True)


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_file(env: LocalEnvironment) -> None:
    """A line each, with the reason; a second run appends."""
    env.on_dead_letter("letters.jsonl")
    result = run(env, [{"text": "中"}, [1, None]])
    assert (result.dead_letters, result.dead_letter_count, result.failed) == ((), 2, 2)
    first, second = lines("letters.jsonl")
    assert first.pop("time") > 1.7e9
    assert first == {
        "operator": "refuse",
        "attempts": 1,
        "error": "ValueError",
        "message": "no {'text': '中'}",
        "record": {"text": "中"},
        "repr": False,
    }
    assert second["record"] == [1, None]
    env.submit(autostop=True)
    assert len(lines("letters.jsonl")) == 4


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (b"ab", "b'ab'"),
        (math.nan, "nan"),
        ({"a": {1, 2}}, "{'a': {1, 2}}"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (Unshowable(), "<Unshowable whose repr raised RuntimeError>"),
        ("\ud800", "'\\ud800'"),
    ],
)
def test_what_json_cannot_hold(record: Any, text: str) -> None:
    """Such a record is kept by its repr, whole, and marked."""
    line = json.loads(letter_line(DeadLetter(record, ValueError("x"), 1, "op", 0.0)))
    assert (line["record"], line["repr"]) == (text, True)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON | st.binary() | st.text(st.characters(categories=["Cs"])), st.text())
def test_every_record_is_one_line(record: Any, message: str) -> None:
    """Whatever it is: one line, that can be written and read, with the record or its repr."""
    line = letter_line(DeadLetter(record, ValueError(message), 1, "op", 0.0))
    line.encode()
    assert "\n" not in line
    read = json.loads(line)
    assert read["record"] == (repr(record) if read["repr"] else record)


class Shelf(SinkFunction):
    """A sink that notes what is done with it."""

    def __init__(self) -> None:
        self.did: list[Any] = []

    def open(self, context: Any) -> None:
        self.did.append("open")

    def execute(self, data: DeadLetter) -> None:
        self.did.append(data.record)

    def flush(self) -> None:
        self.did.append("flush")

    def close(self) -> None:
        self.did.append("close")


def test_a_sink_object(env: LocalEnvironment) -> None:
    """It is opened before the first one, flushed and closed after the last, once a job."""
    shelf = Shelf()
    env.on_dead_letter(shelf)
    assert run(env, [1, 2]).dead_letter_count == 2
    assert shelf.did == ["open", 1, 2, "flush", "close"]
    env.submit(autostop=True)
    assert shelf.did[5:] == ["open", 1, 2, "flush", "close"]


def test_a_sink_that_cannot_close(env: LocalEnvironment) -> None:
    """The job has failed then: letters may be lost."""

    class Broken(Shelf):
        def flush(self) -> None:
            raise OSError("disk full")

    shelf = Broken()
    env.on_dead_letter(shelf)
    with pytest.raises(
        OperatorError, match=r"'dead letters' failed on record '<flush>'.*disk full"
    ):
        run(env, [1])
    assert shelf.did[-1] == "close"


def test_a_file_that_cannot_be_written(env: LocalEnvironment) -> None:
    """It is said before the job begins."""
    env.on_dead_letter("nowhere/letters.jsonl")
    with pytest.raises(ConfigError, match=r"cannot be written to 'nowhere/letters.jsonl': No such"):
        run(env, [1])


@pytest.mark.parametrize("sink", [7, None, Shelf])
def test_what_is_no_sink(sink: Any) -> None:
    """A number, nothing or a class is none."""
    with pytest.raises(ConfigError, match=r"on_dead_letter\(\) got"):
        LocalEnvironment().on_dead_letter(sink)


def test_more_than_are_kept(env: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones are kept, and all are counted."""
    monkeypatch.setattr(module, "KEPT", 5)
    result = run(env, list(range(12)))
    assert [letter.record for letter in result.dead_letters] == [0, 1, 2, 3, 4]
    assert result.dead_letter_count == result.failed == 12


def fail_on_nine(record: int) -> int:
    if record % 10 == 9:
        raise ValueError("nine")
    return record


@pytest.mark.parametrize("workers", ["inline", "thread", "process"])
def test_an_error_has_the_result(workers: str) -> None:
    """The exception of a job that failed carries its counts and dead letters."""
    env = LocalEnvironment(config={"workers": workers})
    (
        env.from_collection([9, 1, 2])
        .map(fail_on_nine, on_error="dead_letter")
        .map(fail_on_nine, name="again")
        .map(lambda record: 9 if record == 2 else record, workers="thread")
        .map(fail_on_nine, name="third")
        .sink(lambda _: None)
    )
    with pytest.raises(OperatorError) as raised:
        env.submit(autostop=True)
    result = raised.value.result
    assert result.status is JobStatus.FAILED
    assert result.error is raised.value
    assert [letter.record for letter in result.dead_letters] == [9]
    assert result.operator("third").failed == 1
    assert OperatorError("x", 1, ValueError()).result is None


def test_a_cancellation_has_the_result() -> None:
    """So does JobCancelledError."""
    env = LocalEnvironment()
    env.from_source(iter(int, 1)).sink(lambda _: None)
    job = env.submit()
    job.cancel()
    with pytest.raises(JobCancelledError) as raised:
        job.wait()
    assert raised.value.result is job.result
