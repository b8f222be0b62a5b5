"""The manager's database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sage.dataflow.jobs.life import JobLife, JobState, Order
from sage.dataflow.jobs.store import JobRecord, JobStore
from sage.dataflow.jobs.wire import Recovery, Versions
from sage.errors import JobManagerError, UnknownJobError


def record(id_: str, created: float = 1.0, life: JobLife | None = None) -> JobRecord:
    return JobRecord(
        id=id_,
        name="words",
        created=created,
        versions=Versions("3.12.1", "0.1.0", "3.1.0"),
        config={"checkpoint": {"dir": "/c"}},
        recovery=Recovery("/c", {"strategy": "fixed_delay", "attempts": 2}),
        folder="/home",
        profile=True,
        resume="latest",
        life=life or JobLife(),
        pid=7,
    )


def test_what_is_written_is_there_for_the_next_manager(tmp_path: Path) -> None:
    """All of it, the newest job first."""
    life = JobLife(JobState.LOST, 2, 1, Order.STOP, (1.0, 2.5), 3.5, "why")
    store = JobStore(tmp_path / "jobs.sqlite")
    assert store.add(record("a"))
    assert store.add(record("b", created=2.0))
    store.update(record("a", life=life))
    store.close()
    store = JobStore(tmp_path / "jobs.sqlite")
    assert store.all() == [record("b", created=2.0), record("a", life=life)]
    store.remove("b")
    assert store.ids() == ["a"]
    store.close()


def test_an_id_is_given_once(tmp_path: Path) -> None:
    """The job that has it stays as it is."""
    store = JobStore(tmp_path / "jobs.sqlite")
    assert store.add(record("a"))
    assert not store.add(record("a", created=9.0))
    assert store.get("a").created == 1.0
    store.close()


def test_an_unknown_id_is_told_the_nearest(tmp_path: Path) -> None:
    """As with any name that is mistyped."""
    store = JobStore(tmp_path / "jobs.sqlite")
    store.add(record("words-1f2e3d"))
    with pytest.raises(UnknownJobError, match="no job 'words-1f2e3e'; did you mean 'words-1f2e3d'"):
        store.get("words-1f2e3e")
    store.close()


def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """So is a file that is none; the message says what to do."""
    path = tmp_path / "jobs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(JobManagerError, match=r"another version of SAGE \(schema 99"):
        JobStore(path)
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"no database at all" * 100)
    with pytest.raises(JobManagerError, match="move it away"):
        JobStore(other)
