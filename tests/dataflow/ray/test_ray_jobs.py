"""Jobs of a job manager on a Ray cluster."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from tests.job_manager import ManagerProcess, run_script
from tests.support import wait_until

from sage.dataflow import JobStatus, LocalEnvironment, RemoteEnvironment
from sage.dataflow.jobs.life import JobState
from sage.errors import ClusterError, OperatorError

RECORDS = 20_000


@pytest.fixture(scope="module")
def job_manager(raylets: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagerProcess]:
    """A manager whose jobs run on the cluster of the other tests."""
    del raylets
    with ManagerProcess(tmp_path_factory.mktemp("manager") / "home") as manager:
        yield manager


@pytest.fixture(autouse=True)
def code_travels(request: pytest.FixtureRequest) -> Iterator[None]:
    """A driver cannot import a test's module, so what it defines is pickled whole."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)


def on_cluster(manager: ManagerProcess, raylets: Any, **config: Any) -> RemoteEnvironment:
    return manager.environment("far", ray={"address": raylets.address}, **config)


def build(env: LocalEnvironment | RemoteEnvironment, out: list[Any]) -> None:
    keyed = env.from_collection(range(1000)).keyby(lambda record: record % 7)
    keyed.map(lambda record: record * 2, parallelism=2).sink(out)


def test_the_same_result_as_locally(job_manager: ManagerProcess, raylets: Any) -> None:
    """The list of the client is filled, and every count is the same."""
    here: list[Any] = []
    there: list[Any] = []
    local = LocalEnvironment("far")
    build(local, here)
    expected = local.submit(autostop=True)
    env = on_cluster(job_manager, raylets)
    build(env, there)
    result = env.submit(autostop=True)
    assert sorted(there) == sorted(here)
    assert result.status is JobStatus.FINISHED
    counted = ("name", "records_in", "records_out", "dropped", "failed")
    for theirs, ours in zip(result.operators, expected.operators, strict=True):
        assert [getattr(theirs, name) for name in counted] == [
            getattr(ours, name) for name in counted
        ]


def halting(record: int) -> int:
    """Take a while for the first half of the records, and then wait until the test says so."""
    if record < RECORDS // 2:
        if record % 100 == 0:
            time.sleep(0.004)
    elif record == RECORDS // 2:
        while not Path(GO).exists():
            time.sleep(0.01)
    return record


GO = ""


def test_a_killed_driver_is_followed_by_one_that_goes_on(
    job_manager: ManagerProcess, raylets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its actors end with it; the next driver's go on from the last checkpoint."""
    monkeypatch.setitem(globals(), "GO", str(tmp_path / "go"))
    env = on_cluster(
        job_manager,
        raylets,
        batch_size=100,
        checkpoint={"dir": "checkpoints", "interval": 0.1},
        restart={"strategy": "fixed_delay", "delay": 0.05},
    )
    written = tmp_path / "numbers.jsonl"
    env.from_collection(range(RECORDS)).map(halting).sink(str(written))
    job = env.submit()
    wait_until(lambda: job.view.progress is not None and job.view.progress.checkpoints > 0)
    os.kill(job.view.pid or 0, signal.SIGKILL)
    Path(tmp_path / "go").touch()
    result = job.wait()
    assert (result.status, result.restarts) == (JobStatus.FINISHED, 1)
    assert result.records_in == result.records_out == RECORDS
    assert [json.loads(line) for line in written.read_text().splitlines()] == list(range(RECORDS))


def test_the_code_of_a_script_travels_to_the_actors(
    job_manager: ManagerProcess, raylets: Any
) -> None:
    """Those of the next driver know the same classes, of which there are some in checkpoints."""
    assert run_script(job_manager, raylets.address) == "finished 1 True 200 19900\n"


def test_a_cluster_that_has_too_little(job_manager: ManagerProcess, raylets: Any) -> None:
    """The driver finds that out; the client gets the error with both numbers."""
    config = {"address": raylets.address, "num_cpus": 999}
    env = job_manager.environment("large", ray=config)
    env.from_collection([1]).sink(lambda record: None)
    with pytest.raises(ClusterError, match=r"999 CPUs are asked for and .* has 8;"):
        env.submit(autostop=True)


def test_no_cluster_at_the_address(job_manager: ManagerProcess, free_port: int) -> None:
    """Likewise."""
    env = job_manager.environment("nowhere", ray={"address": f"127.0.0.1:{free_port}"})
    env.from_collection([1]).sink(lambda record: None)
    with pytest.raises(ClusterError, match=f"no Ray cluster answers at 127.0.0.1:{free_port}"):
        env.submit(autostop=True)


class NotSevenError(Exception):
    """Raised on one record."""


def not_seven(record: int) -> int:
    if record == 7:
        raise NotSevenError("seven came")
    return record


def test_an_operators_error_comes_back(job_manager: ManagerProcess, raylets: Any) -> None:
    """From the actor by the driver to the client: its record, and the client's own exception."""
    env = on_cluster(job_manager, raylets)
    env.from_collection(range(20)).map(not_seven, name="picky", parallelism=2).sink(print)
    with pytest.raises(OperatorError, match="operator 'picky' failed on record 7") as raised:
        env.submit(autostop=True)
    assert isinstance(raised.value.__cause__, NotSevenError)
    assert raised.value.result.status is JobStatus.FAILED


def test_a_job_that_waits_for_a_larger_cluster_is_cancelled(
    job_manager: ManagerProcess, raylets: Any
) -> None:
    """The log says what it waits for."""
    config = {"address": raylets.address, "num_cpus": 999, "wait": True}
    env = job_manager.environment("waiting", ray=config)
    env.from_collection([1]).sink(lambda record: None)
    job = env.submit()
    wait_until(lambda: any("waiting: 999 CPUs" in line for line in job.logs()))
    assert job.status is JobState.STARTING
    assert job.cancel().status is JobStatus.CANCELLED
