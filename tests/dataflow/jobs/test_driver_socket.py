"""The socket on which a driver is asked."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path

import pytest

from sage.dataflow.jobs.control import ControlServer, ask_driver
from sage.dataflow.jobs.folder import DriverState, JobFolder
from sage.dataflow.jobs.wire import Progress


def answering(path: Path, said: list[str]) -> ControlServer:
    def stop() -> Progress:
        said.append("stop")
        return Progress("running", 2, operators=())

    return ControlServer(path, {"stop": stop, "progress": lambda: Progress("starting", 1)})


@pytest.mark.parametrize("folder", ["short", "long" * 40])
def test_a_word_is_answered_with_the_progress(tmp_path: Path, folder: str) -> None:
    """Also where the path is too long for a socket; nothing is left behind."""
    said: list[str] = []
    home = tmp_path / folder
    home.mkdir()
    server = answering(home / "driver.sock", said)
    path = str(server.path)
    assert asyncio.run(ask_driver(path, "stop")) == Progress("running", 2)
    assert asyncio.run(ask_driver(path, "progress")) == Progress("starting", 1)
    assert said == ["stop"]
    assert asyncio.run(ask_driver(path, "dance")) is None
    server.close()
    assert not Path(path).exists()
    assert Path(path).parent == home or not Path(path).parent.exists()
    assert asyncio.run(ask_driver(path, "progress")) is None


def test_a_killed_drivers_socket_goes_when_the_next_one_comes(tmp_path: Path) -> None:
    """Also where it had to be elsewhere: however many drivers a job has, one folder is left."""
    job = JobFolder(tmp_path / ("long" * 40))
    job.make(b"")
    killed = answering(job.socket, [])
    job.write_driver(DriverState(1, 0.0, 1, str(killed.path)))
    elsewhere = killed.path.parent
    assert elsewhere not in (job.path, Path(tempfile.gettempdir()))
    job.clear_socket()
    assert not elsewhere.exists()
    killed.close()


def test_who_leaves_before_the_answer_does_no_harm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next one is answered, and no traceback is in the job's log."""
    server = answering(tmp_path / "driver.sock", [])
    with socket.socket(socket.AF_UNIX) as hasty:
        hasty.connect(str(server.path))
        hasty.sendall(b"progress\n")
    assert asyncio.run(ask_driver(str(server.path), "progress")) == Progress("starting", 1)
    server.close()
    assert capsys.readouterr().err == ""
