"""Full disks, kills at each step of a write, and two jobs on one folder."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sage.dataflow.checkpoint.snapshot import JobSnapshot, ReplicaSnapshot
from sage.dataflow.checkpoint.store import CheckpointStore
from sage.errors import CheckpointError

# Longer than what a file buffers, so that a cut write leaves part of it on the disk.
STATE = bytes(range(256)) * 400

PRELUDE = """
import os, signal, stat, sys
from sage.dataflow.checkpoint import layout, store as store_module
from sage.dataflow.checkpoint.snapshot import JobSnapshot, ReplicaSnapshot
from sage.dataflow.checkpoint.store import CheckpointStore
from sage.errors import CheckpointError

folder = sys.argv[1]
STATE = bytes(range(256)) * 400


def snapshot(number):
    return JobSnapshot(number, 0.5, (), {"map": (ReplicaSnapshot(b"%d" % number + STATE),) * 3})
"""


def snapshot(number: int) -> JobSnapshot:
    return JobSnapshot(number, 0.5, (), {"map": (ReplicaSnapshot(b"%d" % number + STATE),) * 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@contextmanager
def process(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the program after the prelude; it has ended when this has."""
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(program), str(folder)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def line_of(child: subprocess.Popen[str]) -> str:
    """What it says next."""
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], 30)
    assert ready, "the process said nothing"
    return child.stdout.readline().strip()


# Each wraps one function of the system so that the process kills itself there.
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
STEPS = {
    "before anything is written": f"""
        def encode(snapshot):
            {DIE}
            yield b""
        store_module.encode = encode
    """,
    "in the middle of the write": f"""
        def encode(snapshot):
            parts = list(layout.encode(snapshot))
            yield from parts[:4]
            {DIE}
        store_module.encode = encode
    """,
    "before the file's fsync": f"""
        fsync = os.fsync
        def die(descriptor):
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                {DIE}
            fsync(descriptor)
        os.fsync = die
    """,
    "after the file's fsync": f"""
        fsync = os.fsync
        def die(descriptor):
            fsync(descriptor)
            {DIE}
        os.fsync = die
    """,
    "before the rename": f"""
        def die(*args):
            {DIE}
        os.replace = die
    """,
    "after the rename": f"""
        replace = os.replace
        def die(*args):
            replace(*args)
            {DIE}
        os.replace = die
    """,
    "before the folder's fsync": f"""
        fsync = os.fsync
        def die(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                {DIE}
            fsync(descriptor)
        os.fsync = die
    """,
    "after the folder's fsync": f"""
        fsync = os.fsync
        def die(descriptor):
            fsync(descriptor)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                {DIE}
        os.fsync = die
    """,
    "before an old one is removed": f"""
        def die(*args, **kwargs):
            {DIE}
        os.unlink = die
    """,
    "after an old one is removed": f"""
        unlink = os.unlink
        def die(*args, **kwargs):
            unlink(*args, **kwargs)
            {DIE}
        os.unlink = die
    """,
}
FIRST_WITH_THE_NEW_ONE = "after the rename"


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step(step: str, folder: Path) -> None:
    """What is found afterwards is the last checkpoint or the new one, whole, and no leftovers."""
    program = f"""
store = CheckpointStore(folder, keep=2)
store.save(snapshot(1))
store.save(snapshot(2))
{textwrap.dedent(STEPS[step])}
print("saving", flush=True)
store.save(snapshot(3))
print("saved", flush=True)
"""
    with process(program, folder) as child:
        said, error = child.communicate(timeout=30)
    assert (child.returncode, said) == (-signal.SIGKILL, "saving\n"), error
    steps = list(STEPS)
    was_renamed = steps.index(step) >= steps.index(FIRST_WITH_THE_NEW_ONE)
    assert len(list(folder.glob("*.tmp"))) == (not was_renamed)
    with CheckpointStore(folder, keep=2) as store:
        assert not list(folder.glob("*.tmp"))
        assert store.load() == snapshot(3 if was_renamed else 2)
        assert store.load(2) == snapshot(2)
        store.save(snapshot(4))
        assert store.numbers() == ([3, 4] if was_renamed else [2, 4])


def test_a_cut_write_was_really_cut(folder: Path) -> None:
    """The kill in the middle of a write leaves part of a file, which the next opening removes."""
    program = f"""
store = CheckpointStore(folder)
{textwrap.dedent(STEPS["in the middle of the write"])}
store.save(snapshot(1))
"""
    with process(program, folder) as child:
        assert child.wait(30) == -signal.SIGKILL
    (leftover,) = folder.glob("*.tmp")
    assert 0 < leftover.stat().st_size < len(STATE) * 3
    with CheckpointStore(folder) as store:
        assert not leftover.exists()
        assert store.load() is None


def test_no_space_left(folder: Path) -> None:
    """The error says so and what to do; what was there before stays, and later ones succeed."""
    with CheckpointStore(folder, keep=1) as store:
        store.save(snapshot(1))
        # The device gives the error of a full disk for whatever is written to it.
        (folder / "checkpoint-00000002.sage.tmp").symlink_to("/dev/full")
        with pytest.raises(
            CheckpointError,
            match=r"cannot write .*00000002\.sage: No space left on device; free space there",
        ):
            store.save(snapshot(2))
        assert sorted(path.name for path in folder.iterdir()) == [
            "checkpoint-00000001.sage",
            "lock",
        ]
        assert store.load() == snapshot(1)
        store.save(snapshot(3))
        assert store.numbers() == [3]


def test_a_write_that_fails_half_way(folder: Path) -> None:
    """The half that was written is removed at once."""
    program = """
    import resource
    store = CheckpointStore(folder, keep=1)
    store.save(snapshot(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(STATE), len(STATE)))
    try:
        store.save(snapshot(2))
    except CheckpointError as error:
        print(error)
    print(sorted(os.listdir(folder)))
    print(store.load() == snapshot(1))
    """
    with process(program, folder) as child:
        said, error = child.communicate(timeout=30)
    assert child.returncode == 0, error
    message, files, same = said.splitlines()
    assert "00000002.sage: File too large; raise the limit on the size of files" in message
    assert files == "['checkpoint-00000001.sage', 'lock']"
    assert same == "True"


def test_an_fsync_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk did not confirm is not taken for a checkpoint."""

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with CheckpointStore(folder, keep=1) as store:
        store.save(snapshot(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(CheckpointError, match="Input/output error; see to it"):
                store.save(snapshot(2))
        assert store.numbers() == [1]
        assert not list(folder.glob("*.tmp"))


def test_what_cannot_be_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The new checkpoint stands; the old one is logged, and removed when that is possible."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    with CheckpointStore(folder, keep=1) as store:
        store.save(snapshot(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            store.save(snapshot(2))
        assert store.load() == snapshot(2)
        assert store.numbers() == [1, 2]
        assert "cannot remove" in caplog.text
        assert "00000001.sage: Permission denied" in caplog.text
        store.prune()
        assert store.numbers() == [2]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    """The error names it."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot use the folder .*taken: .*; give the path"):
        CheckpointStore(tmp_path / "taken")


HOLD = """
store = CheckpointStore(folder)
store.save(snapshot(1))
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_two_processes_on_one_folder(folder: Path) -> None:
    """The second is refused, with the first one's number, until the first is gone, even killed."""
    with process(HOLD, folder) as child:
        pid = line_of(child)
        with pytest.raises(CheckpointError, match=f"process {pid} writes its checkpoints to"):
            CheckpointStore(folder)
        with pytest.raises(CheckpointError, match=f"process {pid} writes"):
            CheckpointStore(folder)
        child.kill()
        child.wait(30)
        with CheckpointStore(folder) as store:
            assert store.load() == snapshot(1)


def test_two_jobs_of_one_process(folder: Path) -> None:
    """The second is refused until the first store is closed."""
    with (
        CheckpointStore(folder) as first,
        pytest.raises(CheckpointError, match=rf"process {os.getpid()} writes"),
    ):
        CheckpointStore(folder)
    first.close()
    CheckpointStore(folder).close()


def test_a_refused_store_removes_nothing(folder: Path) -> None:
    """The unfinished file of a job that runs is no leftover."""
    with CheckpointStore(folder):
        unfinished = folder / "checkpoint-00000001.sage.tmp"
        unfinished.write_bytes(b"half")
        with pytest.raises(CheckpointError):
            CheckpointStore(folder)
        assert unfinished.exists()


def test_a_forked_child_does_not_hold_the_folder(folder: Path) -> None:
    """A child that outlives a killed job keeps no other one out."""
    program = """
    store = CheckpointStore(folder)
    if os.fork() == 0:
        print("child", flush=True)
        sys.stdin.read()
        os._exit(0)
    os.waitpid(-1, 0)
    """
    with process(program, folder) as child:
        assert line_of(child) == "child"
        with pytest.raises(CheckpointError, match=rf"process {child.pid} writes"):
            CheckpointStore(folder)
        child.kill()
        child.wait(30)
        CheckpointStore(folder).close()
