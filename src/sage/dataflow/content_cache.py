"""Results kept by the content they were made of, in an SQLite file."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sage.dataflow.checks import check_count
from sage.errors import ConfigError

# "SAGE" in the file's header says whose it is.
APPLICATION_ID = 0x53414745
FORMAT = 1
# A burst of results is written so many at a time; a result that comes after this many seconds
# without one is written at once.
TRANSACTION_SIZE = 64
TRANSACTION_SECONDS = 0.25
# Seconds to wait for another process that writes.
PATIENCE = 60.0
EVICTED_AT_ONCE = 256

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, used INTEGER NOT NULL);
CREATE TABLE totals (bytes INTEGER NOT NULL, entries INTEGER NOT NULL, tick INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0, 0);
"""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds and did.

    Attributes:
        entries: values in the file.
        bytes: of those values.
        hits: lookups that found something, since this object was made.
        misses: lookups that found nothing.
        written: values that this object wrote, those that were there already not counted.
        evicted: values that it took out to keep to ``max_bytes``.
    """

    entries: int
    bytes: int
    hits: int
    misses: int
    written: int
    evicted: int


class ContentCache:
    """A map of digests to bytes that many threads and processes may use at once.

    Values are written in small transactions, without waiting for the disk: a killed process loses
    at most its last one, a machine that loses power perhaps the last few, and neither harms the
    file. The first value written under a key stays.

    Args:
        path: of the file; it is made, with its folder, when it is not there.
        max_bytes: of all values; beyond it those that were not used for longest go. None keeps all.
        clock: seconds.

    Raises:
        ConfigError: the file is damaged, or something else than a cache.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_count("max_bytes", max_bytes)
        self.path = Path(path).expanduser()
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pending: dict[bytes, bytes] = {}
        self._touched: dict[bytes, None] = {}
        self._written_at = clock()
        self._hits = self._misses = self._written = self._evicted = 0
        with self._translated():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None.

        Raises:
            ConfigError: the file is damaged.
        """
        with self._lock:
            found = self._pending.get(key)
            if found is None:
                found = self._read(key)
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            if self._max_bytes is not None and key not in self._pending:
                self._touched[key] = None
            return found

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value, in the file soon: see `flush`.

        Raises:
            ConfigError: the file is damaged, or the disk is full.
        """
        with self._lock:
            self._pending.setdefault(key, value)
            waited = self._clock() - self._written_at
            if len(self._pending) >= TRANSACTION_SIZE or waited >= TRANSACTION_SECONDS:
                self._write()

    def flush(self) -> None:
        """Write what is not yet in the file.

        Raises:
            ConfigError: the file is damaged, or the disk is full.
        """
        with self._lock:
            self._write()

    @property
    def pending(self) -> int:
        """Values that are not yet in the file."""
        return len(self._pending)

    def stats(self) -> CacheStats:
        """Return what it holds, pending values included, and what it did."""
        with self._lock:
            self._write()
            with self._translated():
                size, entries = (
                    self._connection().execute("SELECT bytes, entries FROM totals").fetchone()
                )
            return CacheStats(entries, size, self._hits, self._misses, self._written, self._evicted)

    def close(self) -> None:
        """Write what is pending and close the file; closing twice is fine.

        Raises:
            ConfigError: the file is damaged, or the disk is full.
        """
        with self._lock:
            try:
                self._write()
            finally:
                for connection in self._connections:
                    connection.close()
                self._connections.clear()
                self._of_thread = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, key: bytes) -> bytes | None:
        with self._translated():
            row = (
                self._connection()
                .execute("SELECT value FROM entries WHERE key = ?", (key,))
                .fetchone()
            )
        return None if row is None else bytes(row[0])

    def _write(self) -> None:
        if not self._pending and not self._touched:
            return
        with self._translated():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                written, evicted = self._transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                # A full disk ends the transaction by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._written += written
        self._evicted += evicted
        self._pending.clear()
        self._touched.clear()
        self._written_at = self._clock()

    def _transaction(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Write within a transaction; return how many values came and went."""
        size, entries, tick = connection.execute(
            "SELECT bytes, entries, tick FROM totals"
        ).fetchone()
        written = 0
        for key, value in self._pending.items():
            cursor = connection.execute(
                "INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", (key, value, tick)
            )
            if cursor.rowcount:
                written += 1
                size += len(value)
        connection.executemany(
            "UPDATE entries SET used = ? WHERE key = ?", [(tick, key) for key in self._touched]
        )
        freed, evicted = self._evict(connection, size)
        connection.execute(
            "UPDATE totals SET bytes = ?, entries = ?, tick = ?",
            (size - freed, entries + written - evicted, tick + 1),
        )
        return written, evicted

    def _evict(self, connection: sqlite3.Connection, size: int) -> tuple[int, int]:
        """Take out what was not used for longest; return the bytes and values that went."""
        freed = evicted = 0
        while self._max_bytes is not None and size - freed > self._max_bytes:
            oldest = connection.execute(
                "SELECT rowid, length(value) FROM entries ORDER BY used, rowid LIMIT ?",
                (EVICTED_AT_ONCE,),
            ).fetchall()
            for row, length in oldest:
                if size - freed <= self._max_bytes:
                    break
                connection.execute("DELETE FROM entries WHERE rowid = ?", (row,))
                freed += length
                evicted += 1
        return freed, evicted

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._opened()
            self._of_thread.connection = connection
            self._connections.append(connection)
        return connection

    def _opened(self) -> sqlite3.Connection:
        if not self.path.exists():
            _create(self.path)
        connection = _connect(self.path)
        try:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if (owner, version) != (APPLICATION_ID, FORMAT):
                raise ConfigError(
                    f"{self.path} is not a cache of this version of SAGE; name another file"
                )
            connection.execute("PRAGMA synchronous = NORMAL")
            if self._max_bytes is not None:
                connection.execute("CREATE INDEX IF NOT EXISTS by_use ON entries (used)")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"the cache {self.path} cannot be used: {error}; if it is damaged, delete it (what "
                "it kept is then made again), or name another file"
            ) from error


def cache_path(option: str, given: object, default: Path) -> Path | None:
    """Return the file that an option names.

    Args:
        option: its name, for the message.
        given: a path, True for the default one, or False or None for no cache.
        default: file.

    Raises:
        ConfigError: it is none of these.
    """
    if given is None or given is False:
        return None
    if given is True:
        return default
    if isinstance(given, str | Path) and str(given):
        return Path(given).expanduser().absolute()
    raise ConfigError(f"{option} is {given!r}; give a file, or True for the user's own")


def _connect(path: Path) -> sqlite3.Connection:
    # Another thread may close it, after the one that uses it has ended.
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)


def _create(path: Path) -> None:
    """Make an empty cache, whole or not at all, whoever else does so now."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sage-cache-") as folder:
        made = Path(folder) / path.name
        connection = _connect(made)
        try:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        finally:
            connection.close()
        with suppress(FileExistsError):
            path.hardlink_to(made)
