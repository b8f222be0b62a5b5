"""Reading a log that grows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sage.dataflow.jobs.job_log import last_lines, read_log


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
    assert last_lines(path, 1) == 6 + 200_001
    assert last_lines(path, 2) == 6
    assert len(asyncio.run(gathered(path, 2))) == 270_002


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
