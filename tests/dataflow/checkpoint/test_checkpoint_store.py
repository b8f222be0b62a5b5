"""A folder of checkpoints: round trips, what is kept, and what becomes of damaged files."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.checkpoint.layout import decode, encode
from sage.dataflow.checkpoint.signature import OperatorSignature
from sage.dataflow.checkpoint.snapshot import JobSnapshot, ReplicaSnapshot
from sage.dataflow.checkpoint.store import CheckpointStore
from sage.errors import CheckpointError, ConfigError, DamagedCheckpointError

GRAPH = (
    OperatorSignature("numbers", "source", "Numbers", (), keyed=False),
    OperatorSignature("sum", "sink", "", ("numbers",), keyed=True),
)


def snapshot(number: int, state: bytes = b"some state") -> JobSnapshot:
    """A small one; its states tell its number."""
    replicas = (ReplicaSnapshot(b"%d" % number), ReplicaSnapshot(state, finished=True))
    return JobSnapshot(number, 1.5e9 + number, GRAPH, {"numbers": replicas, "sum": ()})


def file_of(folder: Path, number: int) -> Path:
    return folder / f"checkpoint-{number:08d}.sage"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def store(folder: Path) -> Iterator[CheckpointStore]:
    with CheckpointStore(folder) as store:
        yield store


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "sage.dataflow")
    return caplog


names = st.text(min_size=1)
snapshots = st.builds(
    JobSnapshot,
    number=st.integers(1, 10**12),
    time=st.floats(allow_nan=False, allow_infinity=False),
    graph=st.lists(
        st.builds(
            OperatorSignature, names, names, st.text(), st.lists(names).map(tuple), st.booleans()
        )
    ).map(tuple),
    operators=st.dictionaries(
        names, st.lists(st.builds(ReplicaSnapshot, st.binary(), st.booleans())).map(tuple)
    ),
)


@given(snapshots)
def test_round_trip(original: JobSnapshot) -> None:
    """Whatever is written is read back equal: names of any text, states of any bytes, none."""
    assert decode(io.BytesIO(b"".join(encode(original))), "file") == original


def test_save_and_load(folder: Path, store: CheckpointStore) -> None:
    """A store opened later has what an earlier one saved; the latest, or any by number."""
    assert store.load() is None
    assert store.next_number() == 1
    store.save(snapshot(1))
    store.save(snapshot(2))
    store.close()
    with CheckpointStore(folder) as later:
        assert later.load() == snapshot(2)
        assert later.load(1) == snapshot(1)
        assert later.numbers() == [1, 2]
        assert later.next_number() == 3


def test_files_are_readable_by_people(folder: Path, store: CheckpointStore) -> None:
    """The first lines of a file say what it is and who wrote it."""
    store.save(snapshot(12))
    first, second, _ = file_of(folder, 12).read_bytes().split(b"\n", 2)
    assert first == b"SAGE checkpoint 1"
    assert b'"number": 12' in second
    assert b'"python": "3.' in second
    assert b'"sage": "' in second
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-00000012.sage", "lock"]


def test_a_number_that_is_not_there(store: CheckpointStore) -> None:
    """The error names those that are."""
    with pytest.raises(CheckpointError, match=r"no checkpoint 7 in .*; there are: none"):
        store.load(7)
    store.save(snapshot(3))
    with pytest.raises(CheckpointError, match=r"no checkpoint 7 in .*; there are: 3"):
        store.load(7)


def test_numbers_sort_as_numbers(folder: Path, store: CheckpointStore) -> None:
    """More digits than a file's name has places make no difference; other files are left alone."""
    for name in ("notes.txt", "checkpoint-1.sage", "checkpoint-00000003.sage.bak"):
        (folder / name).write_text("mine")
    store.save(snapshot(99_999_999))
    store.save(snapshot(100_000_000))
    assert store.numbers() == [99_999_999, 100_000_000]
    assert store.load() == snapshot(100_000_000)
    assert (folder / "notes.txt").exists()


def test_the_newest_are_kept(folder: Path) -> None:
    """As many as asked for."""
    with CheckpointStore(folder, keep=2) as store:
        for number in range(1, 6):
            store.save(snapshot(number))
            assert store.numbers() == list(range(max(1, number - 1), number + 1))


def test_damaged_ones_do_not_count_among_those_kept(
    folder: Path, warnings: pytest.LogCaptureFixture
) -> None:
    """Good ones older than damaged ones stay until there are enough good ones after them."""
    with CheckpointStore(folder, keep=2) as store:
        for number in (1, 2):
            store.save(snapshot(number))
    for number in (3, 4):
        file_of(folder, number).write_bytes(b"SAGE checkpoint 1\n{")
    with CheckpointStore(folder, keep=2) as store:
        store.save(snapshot(5))
        assert store.numbers() == [2, 3, 4, 5]
        assert len(warnings.messages) == 2
        assert all("does not count among those kept" in line for line in warnings.messages)
        store.save(snapshot(6))
        assert store.numbers() == [5, 6]
        assert len(warnings.messages) == 2


@pytest.mark.parametrize("keep", [0, -1, True, 1.5])
def test_keep_is_checked(folder: Path, keep: int) -> None:
    """At least one is kept."""
    with pytest.raises(ConfigError, match="checkpoint keep is"):
        CheckpointStore(folder, keep=keep)


def test_cut_short_at_every_length(
    folder: Path, store: CheckpointStore, warnings: pytest.LogCaptureFixture
) -> None:
    """However much of the latest is missing, the one before is used, with one warning."""
    store.save(snapshot(1))
    store.save(snapshot(2))
    store.close()
    whole = file_of(folder, 2).read_bytes()
    for length in range(len(whole)):
        file_of(folder, 2).write_bytes(whole[:length])
        warnings.clear()
        with CheckpointStore(folder) as later:
            assert later.load() == snapshot(1)
            assert later.load() == snapshot(1)
            with pytest.raises(DamagedCheckpointError):
                later.load(2)
        (warning,) = warnings.messages
        assert str(file_of(folder, 2)) in warning
        assert "is damaged" in warning


def test_every_bit_counts() -> None:
    """One bit that changed anywhere in a file is found out."""
    whole = b"".join(encode(snapshot(2)))
    for position in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(DamagedCheckpointError):
            decode(io.BytesIO(changed), "file")


@given(st.data())
def test_any_change_is_found_out(data: st.DataObject) -> None:
    """Bytes put in, taken out, overwritten or swapped anywhere: all are damage."""
    whole = b"".join(encode(snapshot(2)))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    changed = whole[:start] + data.draw(st.binary(max_size=64)) + whole[end:]
    if changed == whole:
        assert decode(io.BytesIO(changed), "file") == snapshot(2)
    else:
        with pytest.raises(DamagedCheckpointError):
            decode(io.BytesIO(changed), "file")


def test_several_damaged_ones_are_passed_over(
    folder: Path, store: CheckpointStore, warnings: pytest.LogCaptureFixture
) -> None:
    """Each with a warning; the job goes on from the last good one, under a new number."""
    for number in (1, 2, 3):
        store.save(snapshot(number))
    store.close()
    file_of(folder, 3).write_bytes(b"")
    file_of(folder, 2).write_bytes(file_of(folder, 1).read_bytes())
    with CheckpointStore(folder) as later:
        assert later.load() == snapshot(1)
        assert later.next_number() == 4
    assert "does not begin as a checkpoint does" in warnings.messages[0]
    assert "has the name of checkpoint 2 and holds checkpoint 1" in warnings.messages[1]


def test_all_damaged(folder: Path, store: CheckpointStore) -> None:
    """A job that would go on does not begin anew unasked."""
    store.save(snapshot(1))
    os.truncate(file_of(folder, 1), 100)
    store.close()
    with (
        CheckpointStore(folder) as later,
        pytest.raises(DamagedCheckpointError, match=r"every .* \(1\); run without resume"),
    ):
        later.load()


def test_another_format(folder: Path, store: CheckpointStore) -> None:
    """A whole file of another version of SAGE is no damage, and nothing older goes in its place."""
    store.save(snapshot(1))
    other = b"SAGE checkpoint 2\nwho knows"
    file_of(folder, 2).write_bytes(other + hashlib.sha256(other).digest())
    with pytest.raises(CheckpointError, match="format 2, and this version of SAGE reads") as error:
        store.load()
    assert not isinstance(error.value, DamagedCheckpointError)


def test_what_cannot_be_read_is_an_error(folder: Path, store: CheckpointStore) -> None:
    """A file that is there but does not open may be good: nothing older goes in its place."""
    store.save(snapshot(1))
    file_of(folder, 2).mkdir()
    with pytest.raises(CheckpointError, match=r"cannot read .*00000002.sage: Is a directory"):
        store.load()


def test_the_working_directory_may_change(
    store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder is where it was when the store was opened."""
    with CheckpointStore("here") as relative:
        monkeypatch.chdir(tmp_path)
        relative.save(snapshot(1))
    assert (tmp_path / "work/here/checkpoint-00000001.sage").exists()
    assert not (tmp_path / "here").exists()


def test_a_closed_store_writes_nothing(folder: Path, store: CheckpointStore) -> None:
    """The folder may be another job's by then."""
    store.close()
    store.close()
    with pytest.raises(CheckpointError, match="the store is closed"):
        store.save(snapshot(1))
    assert not file_of(folder, 1).exists()


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_a_file_url_is_a_path(scheme: str, folder: Path) -> None:
    """With all that a local folder has: the lock, and files that appear whole."""
    with CheckpointStore(f"{scheme}://{folder}") as store:
        store.save(snapshot(1))
    assert (folder / "lock").exists()
    assert file_of(folder, 1).exists()


def test_a_run_that_begins_anew(folder: Path) -> None:
    """It never goes on from an earlier run's checkpoint, and its first one replaces them all."""
    with CheckpointStore(folder) as earlier:
        earlier.save(snapshot(1))
        earlier.save(snapshot(2))
    with CheckpointStore(folder) as store:
        assert store.begin_anew()
        assert store.numbers() == [1, 2]
        assert store.load() is None
        store.save(snapshot(store.next_number()))
        assert store.numbers() == [3]
        assert not CheckpointStore(folder / "other").begin_anew()
