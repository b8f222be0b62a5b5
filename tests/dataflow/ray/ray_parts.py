"""Sources and operators of the tests on a cluster; its actors find them here by name."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sage.dataflow import MapFunction, RuntimeContext, SinkFunction, SourceFunction


class Counting(SourceFunction):
    """Gives numbers from 0, up to a limit, a pause after each so many."""

    def __init__(self, limit: int, every: int = 100, pause: float = 0.001) -> None:
        super().__init__()
        self._limit = limit
        self._every = every
        self._pause = pause
        self._at = 0

    def offset(self) -> int:
        return self._at

    def seek(self, offset: int) -> None:
        self._at = offset

    def execute(self) -> int:
        if self._at == self._limit:
            raise StopIteration
        if self._at % self._every == 0:
            time.sleep(self._pause)
        self._at += 1
        return self._at - 1


class DiesOnce(MapFunction):
    """Kills its own process at a record, the first time."""

    def __init__(self, at: int, marker: str) -> None:
        super().__init__()
        self._at = at
        self._marker = Path(marker)

    def execute(self, data: int) -> int:
        if data == self._at and not self._marker.exists():
            self._marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return data


class SaysWhere(MapFunction):
    """Writes the id of the node that it runs on, each time that it is opened."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = Path(path)

    def open(self, context: RuntimeContext) -> None:
        import ray

        with self._path.open("a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\n")

    def execute(self, data: int) -> int:
        return data


class Lines(SinkFunction):
    """Appends each number to a file at once, so that a kill takes back none."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def open(self, context: RuntimeContext) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def execute(self, data: int) -> None:
        os.write(self._file, b"%d\n" % data)

    def close(self) -> None:
        os.close(self._file)


class SeesGpus(MapFunction):
    """Adds which GPUs it has, how many its process sees, and what a service says."""

    def open(self, context: RuntimeContext) -> None:
        self._context = context

    def execute(self, data: object) -> object:
        self._context.metrics.add("seen")
        seen = len(os.environ["CUDA_VISIBLE_DEVICES"].split(","))
        return data, self._context.resources.devices, seen, self._context.service("pid")


def no_sevens(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number


def add(total: int, number: int) -> int:
    return total + number


def slowly(number: int) -> int:
    time.sleep(0.005)
    return number


def lock_of(number: int) -> object:
    return threading.Lock() if number == 3 else number


def stuck(number: int) -> int:
    time.sleep(1000)
    return number


def slower(record: bytes) -> bytes:
    time.sleep(0.05)
    return record


def large() -> Iterator[bytes]:
    """Half a megabyte a record, another each time."""
    number = 0
    while True:
        yield b"%d" % number + bytes(500_000)
        number += 1


def forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
