"""Sources and sinks whose part in a checkpoint is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sage.dataflow import JobHandle, SinkFunction, SourceFunction


class Numbers(SourceFunction):
    """Gives the numbers below ``total`` when ``may`` says so of each."""

    def __init__(self, total: int, may: Callable[[int], bool] = lambda number: True) -> None:
        super().__init__()
        self.total, self.may, self.next = total, may, 0

    def offset(self) -> int:
        return self.next

    def seek(self, offset: int) -> None:
        self.next = offset

    def execute(self) -> int | None:
        if self.next == self.total:
            raise StopIteration
        if not self.may(self.next):
            return None
        self.next += 1
        return self.next - 1


class Once(SinkFunction):
    """Counts how often each record came, as the checkpoint knows it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Any] = Counter()

    def execute(self, data: Any) -> None:
        self.seen[data] += 1

    def snapshot(self) -> Counter[Any]:
        return self.seen.copy()

    def restore(self, state: Counter[Any]) -> None:
        self.seen = state.copy()


def checkpoint_path(folder: Path, number: int) -> Path:
    """Return the path of a checkpoint's file."""
    return folder / f"checkpoint-{number:08d}.sage"


def await_checkpoint(job: JobHandle, folder: Path, number: int) -> None:
    """Wait until a checkpoint of that number, or a later one, is written."""
    while max(map(number_of, folder.glob("checkpoint-*.sage")), default=0) < number:
        assert not job.poll(0.002), f"the job ended before checkpoint {number}"


def number_of(path: Path) -> int:
    """Return a checkpoint's number."""
    return int(path.stem.removeprefix("checkpoint-"))
