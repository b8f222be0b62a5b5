"""Jobs whose manager or driver is killed while numbered records are under way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.job_manager import ManagerProcess
from tests.support import running, wait_until

from sage.dataflow import JobStatus, RemoteEnvironment
from sage.dataflow.jobs.handle import RemoteJob
from sage.dataflow.jobs.life import JobState
from sage.errors import DataflowError, JobManagerError

RECORDS = 20_000
CHECKPOINTS = {"dir": "checkpoints", "interval": 0.05}
QUICKLY = {"restart": {"strategy": "fixed_delay", "delay": 0.05}}


@pytest.fixture
def own_manager(tmp_path: Path) -> Iterator[ManagerProcess]:
    """One that the test may kill."""
    with ManagerProcess(tmp_path / "manager") as manager:
        yield manager


def halting(record: int) -> int:
    """Take a while for the first half of the records, and then wait until the test says so."""
    if record < RECORDS // 2:
        if record % 100 == 0:
            time.sleep(0.004)
    elif record == RECORDS // 2:
        while not Path("go").exists():
            time.sleep(0.01)
    return record


def go() -> None:
    Path("go").touch()


def numbered(manager: ManagerProcess, **config: Any) -> RemoteEnvironment:
    """Return an environment whose job writes numbers to a file and halts half way."""
    env = manager.environment("numbered", **{"batch_size": 100, **QUICKLY, **config})
    env.from_collection(range(RECORDS)).map(halting).sink("numbers.jsonl")
    return env


def begun(env: RemoteEnvironment) -> RemoteJob:
    """Submit the job and wait until it has written a checkpoint, if it writes any."""
    job = env.submit()
    enough = 1 if env.config.checkpoint is not None else 0

    def there() -> bool:
        progress = job.view.progress
        return (
            progress is not None
            and progress.status == "running"
            and progress.checkpoints >= enough
            and progress.operators[-1].records_out > 0
        )

    wait_until(there)
    return job


def written() -> list[int]:
    return [json.loads(line) for line in Path("numbers.jsonl").read_text().splitlines()]


def kill_driver(job: RemoteJob) -> int:
    pid = job.view.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_job_goes_on_while_its_manager_is_killed_and_started_again(
    own_manager: ManagerProcess,
) -> None:
    """Its driver is adopted: the same process finishes the job."""
    job = begun(numbered(own_manager, checkpoint=CHECKPOINTS))
    before = job.view
    own_manager.kill()
    assert running([before.pid or 0]) == [before.pid]
    with pytest.raises(JobManagerError, match="no job manager answers"):
        job.view  # noqa: B018 - the access is what is tested
    assert not job.poll(0.3)  # who waits for the job bridges that
    own_manager.start()
    assert job.view.pid == before.pid
    go()
    result = job.wait()
    assert (result.status, result.restarts) == (JobStatus.FINISHED, 0)
    assert job.view.attempt == 1
    assert written() == list(range(RECORDS))


def test_a_job_that_ended_while_there_was_no_manager(own_manager: ManagerProcess) -> None:
    """Its result is found."""
    job = begun(numbered(own_manager, checkpoint=CHECKPOINTS))
    driver = job.view.pid
    own_manager.kill()
    go()
    wait_until(lambda: not running([driver or 0]))
    own_manager.start()
    wait_until(lambda: job.status.final)
    assert job.wait().records_out == RECORDS
    assert written() == list(range(RECORDS))


def test_a_killed_driver_is_followed_by_one_that_goes_on(manager: ManagerProcess) -> None:
    """From the last checkpoint: nothing is lost, nothing comes twice, and the counts agree."""
    job = begun(numbered(manager, checkpoint=CHECKPOINTS))
    # It notes how far it has come about once a second.
    noted = manager.root / job.id / "progress.json"
    wait_until(lambda: noted.exists() and b'"last_checkpoint":null' not in noted.read_bytes())
    killed = kill_driver(job)
    go()
    result = job.wait()
    assert (result.status, result.restarts) == (JobStatus.FINISHED, 1)
    assert result.resumed_from is not None
    assert result.resumed_from >= 1
    assert result.records_in == result.records_out == RECORDS
    assert result.checkpoints >= result.resumed_from
    assert written() == list(range(RECORDS))
    assert f"(pid {killed}) was killed by SIGKILL" in manager.log


def test_a_driver_that_dies_while_there_is_no_manager(own_manager: ManagerProcess) -> None:
    """The next manager finds that out."""
    job = begun(numbered(own_manager, checkpoint=CHECKPOINTS))
    own_manager.kill()
    (driver,) = own_manager.drivers()
    os.kill(driver, signal.SIGKILL)
    wait_until(lambda: not running([driver]))
    go()
    own_manager.start()
    assert job.wait().restarts == 1
    assert written() == list(range(RECORDS))
    assert f"(pid {driver}) died; another one takes over" in own_manager.log


def test_a_killed_driver_without_checkpoints_fails_the_job(manager: ManagerProcess) -> None:
    """With a line that says why."""
    job = begun(numbered(manager, restart=None))
    wait_until((manager.root / job.id / "progress.json").exists)
    killed = kill_driver(job)
    expected = rf"driver \(pid {killed}\) was killed by SIGKILL without a result, and there is no"
    with pytest.raises(DataflowError, match=expected) as raised:
        job.wait()
    result = raised.value.result
    assert (result.status, result.restarts) == (JobStatus.FAILED, 0)
    # What it had done a moment before.
    assert result.records_out > 0
    assert job.status is JobState.FAILED


def test_a_cancelled_job_whose_driver_hangs(manager: ManagerProcess) -> None:
    """What does not return is left behind, and the driver ends all the same."""
    env = manager.environment("hanging")
    env.from_collection([1]).map(lambda record: time.sleep(600)).sink(lambda record: None)
    job = env.submit()
    wait_until(lambda: job.status is JobState.RUNNING)
    assert job.cancel().status is JobStatus.CANCELLED
    wait_until(lambda: not manager.drivers())


def test_a_stopped_job_is_resumed(manager: ManagerProcess) -> None:
    """By the manager, from the checkpoint with which it ended."""
    job = begun(numbered(manager, checkpoint=CHECKPOINTS))
    job.tell("stop")
    go()
    stopped = job.wait()
    assert stopped.status is JobStatus.STOPPED
    assert stopped.records_out < RECORDS
    job.resume()
    result = job.wait()
    assert result.status is JobStatus.FINISHED
    assert result.resumed_from is not None
    assert written() == list(range(RECORDS))
    with pytest.raises(JobManagerError, match="there is nothing left to resume"):
        job.resume()


def test_checkpoints_of_an_earlier_job_are_not_gone_on_from(manager: ManagerProcess) -> None:
    """A driver that takes over before the job's first checkpoint begins anew, as the job did."""
    first = begun(numbered(manager, checkpoint=CHECKPOINTS))
    first.tell("stop")
    go()
    first.wait()
    Path("go").unlink()
    job = numbered(manager, checkpoint=CHECKPOINTS | {"interval": 600}).submit()
    wait_until(lambda: bool(job.metrics) and job.metrics[-1].records_out > 0)
    kill_driver(job)
    go()
    result = job.wait()
    assert (result.restarts, result.resumed_from) == (1, None)
    assert result.records_out == RECORDS
