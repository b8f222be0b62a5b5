"""The content cache: shared by threads and processes, loses nothing but the last transaction."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sage.dataflow import ContentCache
from sage.dataflow.content_cache import TRANSACTION_SECONDS, TRANSACTION_SIZE
from sage.errors import ConfigError


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def in_file(path: Path) -> int:
    """How many values another process would see."""
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    finally:
        connection.close()
    return int(count)


def test_round_trip(tmp_path: Path) -> None:
    """A value is found at once and after the file was opened anew; the first one stays."""
    path = tmp_path / "deep" / "cache.sqlite"
    with ContentCache(path) as cache:
        assert cache.get(key(1)) is None
        cache.put(key(1), b"one")
        cache.put(key(1), b"uno")
        assert cache.get(key(1)) == b"one"
        assert cache.stats().hits == cache.stats().misses == cache.stats().written == 1
    with ContentCache(path) as cache:
        cache.put(key(1), b"eins")
        cache.put(key(2), b"")
        cache.flush()
        assert (cache.get(key(1)), cache.get(key(2))) == (b"one", b"")
        assert (cache.stats().entries, cache.stats().bytes) == (2, 3)
    assert [each.name for each in path.parent.iterdir()] == ["cache.sqlite"]


def test_small_transactions(tmp_path: Path) -> None:
    """A burst is written by the transaction; a lone value at once; flush writes the rest."""
    clock = Clock()
    path = tmp_path / "cache.sqlite"
    with ContentCache(path, clock=clock) as cache:
        for number in range(TRANSACTION_SIZE - 1):
            cache.put(key(number), b"x")
        assert (in_file(path), cache.pending) == (0, TRANSACTION_SIZE - 1)
        cache.put(key(1000), b"x")
        assert (in_file(path), cache.pending) == (TRANSACTION_SIZE, 0)
        clock.now += TRANSACTION_SECONDS
        cache.put(key(1001), b"x")
        assert in_file(path) == TRANSACTION_SIZE + 1
        cache.put(key(1002), b"x")
        assert cache.pending == 1
        cache.flush()
        assert in_file(path) == TRANSACTION_SIZE + 2


def test_least_recently_used_goes(tmp_path: Path) -> None:
    """Beyond max_bytes the values that were not used for longest go."""
    with ContentCache(tmp_path / "cache.sqlite", max_bytes=1000, clock=Clock()) as cache:
        for number in range(10):
            cache.put(key(number), bytes(100))
            cache.flush()
        assert cache.get(key(0)) is not None
        cache.flush()
        for number in range(10, 15):
            cache.put(key(number), bytes(100))
        stats = cache.stats()
        assert (stats.entries, stats.bytes, stats.evicted) == (10, 1000, 5)
        assert cache.get(key(0)) is not None
        assert cache.get(key(1)) is None


def test_threads(tmp_path: Path) -> None:
    """Threads that share one object, and objects that share a file, lose nothing."""
    path = tmp_path / "cache.sqlite"
    shared = ContentCache(path)

    def work(start: int, cache: ContentCache) -> None:
        for number in range(start, start + 200):
            cache.put(key(number), str(number).encode())
            assert cache.get(key(number)) == str(number).encode()

    def alone(start: int) -> None:
        with ContentCache(path) as own:
            work(start, own)

    threads = [threading.Thread(target=work, args=(at, shared)) for at in (0, 100, 200)]
    threads += [threading.Thread(target=alone, args=(at,)) for at in (300, 400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = shared.stats()
    shared.close()
    assert stats.entries == 600
    assert stats.bytes == sum(len(str(number)) for number in range(600))


PROGRAM = """
import sys
from sage.dataflow import ContentCache
start, path = int(sys.argv[1]), sys.argv[2]
with ContentCache(path) as cache:
    for number in range(start, start + 300):
        cache.put(number.to_bytes(32, "big"), b"v" * 10)
"""


def test_processes(tmp_path: Path) -> None:
    """Several processes create and fill one file at once."""
    path = tmp_path / "cache.sqlite"
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(start), str(path)])
        for start in (0, 150, 300)
    ]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    with ContentCache(path) as cache:
        assert (cache.stats().entries, cache.stats().bytes) == (600, 6000)
    assert [each.name for each in tmp_path.glob(".sage*")] == []


KILLED = """
import os, signal, sys
from sage.dataflow import ContentCache
cache = ContentCache(sys.argv[1])
for number in range(1000):
    cache.put(number.to_bytes(32, "big"), bytes(1000))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed(tmp_path: Path) -> None:
    """A killed process loses at most its last transaction, and the file is whole."""
    path = tmp_path / "cache.sqlite"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    with ContentCache(path) as cache:
        assert 1000 - TRANSACTION_SIZE < cache.stats().entries <= 1000
        assert cache.stats().bytes == cache.stats().entries * 1000


def test_foreign_files(tmp_path: Path) -> None:
    """A text file, another program's database and a damaged cache are one clear error each."""
    text = tmp_path / "notes.txt"
    text.write_text("not a database\n" * 100)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE people (name TEXT)")
    connection.close()
    for path in (text, other, tmp_path):
        with pytest.raises(ConfigError, match=path.name):
            ContentCache(path)
    assert text.read_text().startswith("not a database")

    path = tmp_path / "cache.sqlite"
    with ContentCache(path) as cache:
        for number in range(500):
            cache.put(key(number), bytes(1000))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))

    def read_all() -> None:
        with ContentCache(path) as damaged:
            for number in range(500):
                damaged.get(key(number))

    with pytest.raises(ConfigError, match=r"cache\.sqlite cannot be used: .*delete it"):
        read_all()
