"""Checkpoints of pipelines that ask models: what is in flight is saved, what is kept is written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import wait_until

from sage.dataflow import LocalEnvironment, SourceFunction, Stream

TOTAL = 60


class Texts(SourceFunction):
    """Gives numbered texts; it ends at ``TOTAL`` only when it may."""

    def __init__(self, *, ends: bool) -> None:
        super().__init__()
        self.ends = ends
        self.next = 0

    def offset(self) -> int:
        return self.next

    def seek(self, offset: int) -> None:
        self.next = offset

    def execute(self) -> str | None:
        if self.next == TOTAL:
            if self.ends:
                raise StopIteration
            return None
        self.next += 1
        return f"text {self.next - 1}"


class Client:
    """Answers at once, or never."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def achat(self, messages: str, model: str, **params: Any) -> Any:
        await self._ask(messages)
        return SimpleNamespace(text="!", model=model, prompt_tokens=1, completion_tokens=1)

    async def aembed(self, texts: list[str], model: str, **params: Any) -> Any:
        await self._ask(*texts)
        vectors = [[float(len(text))] for text in texts]
        return SimpleNamespace(vectors=vectors, prompt_tokens=1, completion_tokens=None)

    async def _ask(self, *texts: str) -> None:
        self.asked += texts
        if not self.answers:
            await asyncio.Event().wait()


def llm(stream: Stream, client: Client, cache: Path) -> Stream:
    answered = stream.llm(client=client, model="m", cache=cache)
    return answered.map(lambda each: each.record, name="record")


def embed(stream: Stream, client: Client, cache: Path) -> Stream:
    embedded = stream.embed(client=client, model="m", cache=cache, batch_size=7)
    return embedded.map(lambda each: each.record, name="record")


def remember(stream: Stream, client: Client, cache: Path) -> Stream:
    async def ask(record: str) -> str:
        await client.achat(record, "m")
        return record

    return stream.map(ask, name="ask", remember=cache)


Build = Callable[[Stream, Client, Path], Stream]


def pipeline(
    build: Build, tmp_path: Path, client: Client, out: list[Any], *, ends: bool
) -> LocalEnvironment:
    config = {"checkpoint": {"dir": tmp_path / "checkpoints", "interval": 0.02}}
    env = LocalEnvironment("job", config=config)
    stream = env.from_source(Texts(ends=ends), name="texts")
    build(stream, client, tmp_path / "cache.sqlite").sink(out.append)
    return env


def in_file(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    finally:
        connection.close()
    return int(count)


@pytest.mark.parametrize("build", [llm, embed, remember])
def test_what_is_in_flight_is_saved(tmp_path: Path, build: Build) -> None:
    """A checkpoint does not wait for a server that is silent; a resumed job asks it again."""
    out: list[Any] = []
    silent = Client(answers=False)
    job = pipeline(build, tmp_path, silent, out, ends=False).submit()
    wait_until(lambda: len(silent.asked) > 20)
    seen = checkpoints(tmp_path)
    wait_until(lambda: checkpoints(tmp_path) > seen + 1)
    job.cancel()
    assert out == []
    client = Client(answers=True)
    env = pipeline(build, tmp_path, client, out, ends=True)
    assert env.submit(autostop=True, resume="latest").resumed_from is not None
    assert out == sorted(client.asked, key=number) == [f"text {n}" for n in range(TOTAL)]


@pytest.mark.parametrize("build", [llm, embed, remember])
def test_what_is_kept_is_written(tmp_path: Path, build: Build) -> None:
    """A stopped job has lost nothing, and its cache holds all that was emitted."""
    out: list[Any] = []
    client = Client(answers=True)
    job = pipeline(build, tmp_path, client, out, ends=False).submit()
    wait_until(lambda: len(out) == TOTAL)
    job.stop(timeout=20)
    assert in_file(tmp_path / "cache.sqlite") == TOTAL
    env = pipeline(build, tmp_path, client, out, ends=True)
    env.submit(autostop=True, resume="latest")
    assert sorted(out, key=number) == [f"text {n}" for n in range(TOTAL)]
    assert len(client.asked) == TOTAL


def number(text: str) -> int:
    return int(text.split()[1])


def checkpoints(tmp_path: Path) -> int:
    """The number of the latest checkpoint."""
    names = [each.name for each in (tmp_path / "checkpoints").rglob("*") if each.is_file()]
    numbers = ["".join(filter(str.isdigit, name)) for name in names]
    return max((int(each) for each in numbers if each), default=0)
