"""A log of bounded size, written from a pipe."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from sage.config.log_writer import BoundedLog
from sage.config.logs import older_log


def files(path: Path) -> list[bytes]:
    return [each.read_bytes() for each in (older_log(path), path) if each.exists()]


def test_the_newest_lines_are_kept_in_two_files(tmp_path: Path) -> None:
    """Each ends with the line that fills it, and both hold no more than was allowed, but for it."""
    path = tmp_path / "log"
    with closing(BoundedLog(path, 20)) as log:
        log.write(b"".join(b"%03d\n" % number for number in range(100)))
    assert files(path) == [b"096\n097\n098\n", b"099\n"]


def test_a_line_that_comes_in_parts_stays_in_one_file(tmp_path: Path) -> None:
    """Also when it passes what the file may hold."""
    path = tmp_path / "log"
    with closing(BoundedLog(path, 10)) as log:
        for part in (b"abc", b"defgh", b"ij\nkl", b"\n"):
            log.write(part)
    assert files(path) == [b"abcdefghij\n", b"kl\n"]


def test_one_log_may_have_two_writers(tmp_path: Path) -> None:
    """As when a driver follows one whose children live on: neither writes to a file moved on."""
    path = tmp_path / "log"
    with closing(BoundedLog(path, 24)) as one, closing(BoundedLog(path, 24)) as other:
        one.write(b"aa\n")
        other.write(b"bb\n")
        one.write(b"cccc\n")
        other.write(b"d\n")
        one.write(b"e\n")
    assert files(path) == [b"aa\nbb\ncccc\nd\n", b"e\n"]


def test_the_process_writes_until_the_pipe_ends(tmp_path: Path) -> None:
    """Signals that end others do not end it: they may have more to say."""
    path = tmp_path / "log"
    command = [sys.executable, "-m", "sage.config.log_writer", str(path), "1000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"first\n")
        process.stdin.flush()
        while not path.exists():
            pass
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
        process.stdin.write(b"last")
    assert process.returncode == 0
    assert files(path) == [b"first\nlast"]


def test_a_full_disk_holds_nobody_up() -> None:
    """What cannot be written is read all the same."""
    command = [sys.executable, "-m", "sage.config.log_writer", "/dev/full", "1000000"]
    done = subprocess.run(command, input=b"x" * 1_000_000, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
