"""The manager's jobs, in SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from sage.dataflow.jobs.life import JobLife
from sage.dataflow.jobs.wire import Recovery, Resume, Versions
from sage.errors import JobManagerError, UnknownJobError

_SCHEMA = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    state TEXT NOT NULL,
    record TEXT NOT NULL
)
"""


class JobRecord(msgspec.Struct, frozen=True):
    """What the manager knows of a job by itself.

    Attributes:
        life: where it is in its life.
        resume: the checkpoint that the user wants it to go on from.
        pid: of its present or last driver.
        pid_created: when that process started, in seconds since the epoch.

    The others are as in `Submission` and `JobView`.
    """

    id: str
    name: str
    created: float
    versions: Versions
    config: dict[str, Any]
    recovery: Recovery
    folder: str | None
    profile: bool
    resume: Resume
    life: JobLife = JobLife()
    pid: int | None = None
    pid_created: float | None = None
    started: float | None = None
    ended: float | None = None


class JobStore:
    """All jobs. One process uses it at a time, in one thread.

    Args:
        path: of the database; made if it is not there.

    Raises:
        JobManagerError: it is no database of ours, or one of another version of SAGE.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _SCHEMA):
                raise JobManagerError(
                    f"{path} was written by another version of SAGE (schema {version}, this one "
                    f"reads {_SCHEMA}); use that version, or move the file away"
                )
            self._connection.execute(_TABLE)
            self._connection.execute(f"PRAGMA user_version={_SCHEMA}")
        except sqlite3.Error as error:
            raise JobManagerError(
                f"{path} cannot be used as the database of jobs: {error}; move it away, or free "
                "space there"
            ) from error

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def add(self, record: JobRecord) -> bool:
        """Add a job; say whether its id was free."""
        cursor = self._execute(
            "INSERT INTO jobs (id, created, state, record) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO NOTHING",
            (record.id, record.created, record.life.state.value, _encoded(record)),
        )
        return cursor.rowcount == 1

    def update(self, record: JobRecord) -> None:
        """Write what has become of a job."""
        self._execute(
            "UPDATE jobs SET state = ?, record = ? WHERE id = ?",
            (record.life.state.value, _encoded(record), record.id),
        )

    def get(self, id_: str) -> JobRecord:
        """Return a job.

        Raises:
            UnknownJobError: there is none of that id.
        """
        row = self._execute("SELECT record FROM jobs WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise UnknownJobError.among(id_, self.ids())
        return _decoded(row[0])

    def all(self) -> list[JobRecord]:
        """Return all jobs, the newest first."""
        rows = self._execute("SELECT record FROM jobs ORDER BY created DESC, id")
        return [_decoded(row[0]) for row in rows]

    def ids(self) -> list[str]:
        """Return the ids of all jobs."""
        return [row[0] for row in self._execute("SELECT id FROM jobs")]

    def remove(self, id_: str) -> None:
        """Forget a job."""
        self._execute("DELETE FROM jobs WHERE id = ?", (id_,))

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise JobManagerError(
                f"the database of jobs, {self._path}, cannot be used: {error}; free space there"
            ) from error


def _encoded(record: JobRecord) -> str:
    return msgspec.json.encode(record).decode()


def _decoded(text: str) -> JobRecord:
    return msgspec.json.decode(text, type=JobRecord)
