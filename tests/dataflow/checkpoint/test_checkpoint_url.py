"""Checkpoints at a URL, by fsspec."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from sage.dataflow.checkpoint.snapshot import JobSnapshot, ReplicaSnapshot
from sage.dataflow.checkpoint.store import CheckpointStore
from sage.errors import CheckpointError, ConfigError

_numbers = itertools.count()


@pytest.fixture
def url() -> Iterator[str]:
    """A folder of its own; memory:// is one for the process."""
    path = f"jobs/{next(_numbers)}"
    yield f"memory://{path}"
    MemoryFileSystem().rm(f"/{path}", recursive=True)


def snapshot(number: int) -> JobSnapshot:
    return JobSnapshot(number, 0.5, (), {"map": (ReplicaSnapshot(b"state %d" % number),)})


def test_a_url_is_used_like_a_folder(url: str) -> None:
    """Save, load, keep, numbers; a store opened later reads what an earlier one wrote."""
    with CheckpointStore(url, keep=2) as store:
        assert store.load() is None
        assert store.numbers() == []
        for number in (1, 2, 3):
            store.save(snapshot(number))
    with CheckpointStore(url + "/", keep=2) as store:
        assert store.numbers() == [2, 3]
        assert store.load() == snapshot(3)
        assert store.load(2) == snapshot(2)


def test_damage(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The one before is used, with a warning that has the URL."""
    with CheckpointStore(url) as store:
        store.save(snapshot(1))
    MemoryFileSystem().pipe_file(f"{url}/checkpoint-00000002.sage", b"SAGE checkpoint 1\n{}\n")
    with CheckpointStore(url) as store:
        assert store.load() == snapshot(1)
    assert f"{url}/checkpoint-00000002.sage is damaged" in caplog.text


def test_no_lock_is_said_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A second job is not kept out, so opening says it."""
    caplog.set_level(logging.INFO, "sage.dataflow")
    with CheckpointStore(url) as store:
        store.save(snapshot(1))
        store.save(snapshot(2))
    (line,) = caplog.messages
    assert url in line
    assert "without a lock" in line


def test_an_error_of_the_file_system(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kind it is, it comes as a CheckpointError with the URL and the reason."""

    class RefusedError(Exception):
        pass

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RefusedError("bucket is frozen")

    with CheckpointStore(url) as store:
        store.save(snapshot(1))
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
        with pytest.raises(
            CheckpointError, match=r"cannot write memory://.*RefusedError: bucket is frozen"
        ):
            store.save(snapshot(2))
        assert store.load() == snapshot(1)


def test_an_unknown_kind_of_url() -> None:
    """The error has the URL."""
    with pytest.raises(CheckpointError, match=r"cannot use the folder nosuch://a: .*nosuch"):
        CheckpointStore("nosuch://a")


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ConfigError, match="pip install fsspec"):
        CheckpointStore("memory://jobs")
