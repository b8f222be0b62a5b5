"""Reading a log that grows."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from sage.config.log_writer import BoundedLog
from sage.dataflow.jobs.job_log import read_log


async def gathered(path: Path, lines: int | None) -> bytes:
    return b"".join([part async for part in read_log(path, lines, None)])


@pytest.mark.parametrize(
    ("text", "lines", "rest"),
    [
        (b"a\nb\nc\n", None, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 0, b""),
        (b"\n\n\n", 2, b"\n\n"),
        (b"", 2, b""),
    ],
)
def test_the_last_lines(tmp_path: Path, text: bytes, lines: int | None, rest: bytes) -> None:
    """As many as there are, whether the last one is ended or not."""
    path = tmp_path / "log"
    path.write_bytes(text)
    assert asyncio.run(gathered(path, lines)) == rest


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    """Lines longer than what is read at once are found, too."""
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"x" * 200_000 + b"\n" + b"y" * 70_000 + b"\n")
    assert len(asyncio.run(gathered(path, 1))) == 70_001
    assert len(asyncio.run(gathered(path, 2))) == 270_002


@pytest.mark.parametrize(
    ("lines", "rest"),
    [(None, b"a\nb\nc\nd\n"), (0, b""), (1, b"d\n"), (3, b"b\nc\nd\n"), (9, b"a\nb\nc\nd\n")],
)
def test_the_last_lines_of_two_files(tmp_path: Path, lines: int | None, rest: bytes) -> None:
    """The older one is looked into when the newer one has too few."""
    path = tmp_path / "log"
    path.with_name("log.1").write_bytes(b"a\nb\n")
    path.write_bytes(b"c\nd\n")
    assert asyncio.run(gathered(path, lines)) == rest
    path.replace(path.with_name("log.1"))
    assert asyncio.run(gathered(path, 1)) == b"d\n"  # the newer one is not there yet


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    """A job's log begins with its first driver."""
    assert asyncio.run(gathered(tmp_path / "log", 5)) == b""


def test_following_goes_on_until_the_end(tmp_path: Path) -> None:
    """Whole lines only, but for the last; what is written just before the end is not missed."""
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    parts: list[bytes] = []

    async def follow() -> list[bytes]:
        async for part in read_log(path, None, lambda: len(parts) == 2):
            parts.append(part)
            if len(parts) == 1:
                with path.open("ab") as file:
                    file.write(b"o\nthree")
        return parts

    assert asyncio.run(follow()) == [b"one\n", b"two\n", b"three"]


@pytest.mark.parametrize("lines", [None, 3])
def test_following_over_files(tmp_path: Path, lines: int | None) -> None:
    """No line is lost or repeated, however many files the log has gone through."""
    path = tmp_path / "log"
    log = BoundedLog(path, 60)
    written = [b"line %d\n" % number for number in range(200)]
    given = written[:3]
    log.write(b"".join(given))
    followed: list[bytes] = []

    async def follow() -> None:
        async for part in read_log(path, lines, lambda: len(given) == len(written)):
            followed.extend(part.splitlines(keepends=True))
            # As much as half of a file, so that lines fall before, upon and behind its end.
            more = written[len(given) : len(given) + 2]
            log.write(b"".join(more))
            given.extend(more)

    with closing(log):
        asyncio.run(follow())
    assert followed == written


def test_what_nobody_has_read_in_time_is_gone(tmp_path: Path) -> None:
    """A reader that two files have passed goes on with the oldest line that there is."""
    path = tmp_path / "log"
    log = BoundedLog(path, 40)
    log.write(b"first\n")
    followed: list[bytes] = []

    async def follow() -> None:
        async for part in read_log(path, None, lambda: len(followed) > 1):
            followed.append(part)
            if len(followed) == 1:
                log.write(b"".join(b"line %d\n" % number for number in range(10, 60)))

    with closing(log):
        asyncio.run(follow())
    rest = b"".join(followed[1:])
    assert rest.startswith(b"line ")
    kept = b"".join(each.read_bytes() for each in (path.with_name("log.1"), path) if each.exists())
    assert kept.endswith(b"line 59\n")
    assert rest.endswith(kept)
