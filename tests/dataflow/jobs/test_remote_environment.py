"""Pipelines that a job manager runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.job_manager import ManagerProcess, run_script
from tests.slow_calls import add_slow_calls
from tests.support import wait_until

from sage.dataflow import JobStatus, LocalEnvironment, MapFunction, RemoteEnvironment
from sage.dataflow.jobs import versions
from sage.dataflow.jobs.handle import RemoteJob
from sage.dataflow.jobs.life import JobState
from sage.errors import (
    ConfigError,
    DataflowError,
    GraphError,
    JobCancelledError,
    JobManagerError,
    OperatorError,
    OperatorTimeoutError,
    TokenError,
    UnknownJobError,
    UnknownKeyError,
    VersionMismatchError,
)
from sage.kernel.api import remote_environment as kernel_api


class Doubled(MapFunction):
    def execute(self, data: int) -> int:
        self.context.metrics.add("doubled")
        return data * 2


class NotSeven(Exception):
    """Raised on one record."""


def not_seven(record: int) -> int:
    if record == 7:
        raise NotSeven("seven came")
    return record


def slow(record: Any) -> Any:
    time.sleep(0.01)
    return record


def build(env: LocalEnvironment | RemoteEnvironment, out: list[Any]) -> None:
    stream = env.from_collection(range(100)).map(Doubled)
    stream.filter(lambda record: record % 3 == 0).sink(out, name="gathered")


def endless(manager: ManagerProcess) -> RemoteJob:
    env = manager.environment("endless")
    env.from_collection(range(10_000_000)).map(slow).sink(lambda record: None)
    job = env.submit()
    wait_until(lambda: job.status is JobState.RUNNING)
    return job


def test_the_same_result_as_locally(manager: ManagerProcess) -> None:
    """Records in the caller's list, counts by operator, the user's own counters."""
    here: list[int] = []
    there: list[int] = []
    local = LocalEnvironment("same")
    build(local, here)
    expected = local.submit(autostop=True)
    env = manager.environment("same")
    build(env, there)
    result = env.submit(autostop=True)
    assert there == here
    assert result.status is JobStatus.FINISHED
    counted = ("name", "kind", "records_in", "records_out", "dropped", "failed", "metrics")
    for theirs, ours in zip(result.operators, expected.operators, strict=True):
        assert [getattr(theirs, name) for name in counted] == [
            getattr(ours, name) for name in counted
        ]
    assert (result.records_in, result.records_out) == (100, 34)
    assert result.abandoned == 0


def test_the_plan_is_drawn_as_locally(manager: ManagerProcess) -> None:
    """Nothing is sent for that."""
    local = LocalEnvironment("same")
    build(local, [])
    env = manager.environment("same")
    build(env, [])
    assert env.explain() == local.explain()


def test_submit_returns_a_handle_at_once(manager: ManagerProcess) -> None:
    """By which the job is looked at and stopped; what its sources gave has flowed through."""
    job = endless(manager)
    assert isinstance(job, RemoteJob)
    assert job.result is None
    with pytest.raises(TimeoutError, match="it goes on"):
        job.wait(timeout=0.0)
    wait_until(lambda: job.metrics[0].records_out > 0)
    result = job.stop()
    assert result.status is JobStatus.STOPPED
    assert job.status is JobState.STOPPED
    assert result.abandoned == 0
    assert result.records_in == result.records_out > 0
    assert job.metrics == result.operators


def test_a_cancelled_job(manager: ManagerProcess) -> None:
    """Ends at once; whoever waits for it is told."""
    job = endless(manager)
    assert job.cancel().status is JobStatus.CANCELLED
    with pytest.raises(JobCancelledError, match="cancelled before its input ended") as raised:
        job.wait()
    assert raised.value.result is job.result
    job.tell("cancel")  # a second time is no error


def test_an_operators_error_comes_back(manager: ManagerProcess) -> None:
    """With operator, record, cause and counts."""
    env = manager.environment("failing")
    env.from_collection(range(20)).map(not_seven, name="picky").sink(lambda record: None)
    with pytest.raises(OperatorError, match="operator 'picky' failed on record 7") as raised:
        env.submit(autostop=True)
    error = raised.value
    assert (error.operator, error.record) == ("picky", 7)
    assert isinstance(error.__cause__, NotSeven)
    assert error.result.status is JobStatus.FAILED
    assert error.result.operator("picky").failed == 1
    assert env.last_job is not None
    assert env.last_job.result is error.result


class Homely:
    """Comes back from a pickle only in the process that made it."""

    def __reduce__(self) -> Any:
        return at_home, (os.getpid(),)


def at_home(pid: int) -> Homely:
    if os.getpid() != pid:
        raise RuntimeError("far from home")
    return Homely()


def test_records_that_cannot_be_unpickled_here(manager: ManagerProcess) -> None:
    """Are told as such; the counts are there."""
    env = manager.environment("homely")
    out: list[Any] = []
    env.from_collection([1]).map(lambda record: Homely()).sink(out)
    with pytest.raises(DataflowError, match=r"finished, but .* here: RuntimeError: far") as raised:
        env.submit(autostop=True)
    assert raised.value.result.records_out == 1


def test_dead_letters_come_back(manager: ManagerProcess) -> None:
    """The count, the record, and what was raised."""
    env = manager.environment("letters")
    env.from_collection(range(20)).map(not_seven, name="picky", on_error="dead_letter").sink(
        lambda record: None
    )
    result = env.submit(autostop=True)
    assert result.dead_letter_count == 1
    (letter,) = result.dead_letters
    assert (letter.record, letter.operator) == (7, "picky")
    assert isinstance(letter.error, NotSeven)


def test_services_and_a_sink_of_dead_letters_travel(
    manager: ManagerProcess, tmp_path: Path
) -> None:
    """The driver runs in the client's folder, so a relative path means the same there."""
    env = manager.environment("services")
    env.register_service("offset", lambda: 5)
    env.on_dead_letter("letters.jsonl")
    env.from_collection(range(20)).map(not_seven, on_error="dead_letter").sink("out.jsonl")
    env.submit(autostop=True)
    assert len(Path("out.jsonl").read_text().splitlines()) == 19
    assert '"record": 7' in Path("letters.jsonl").read_text()


def test_what_the_job_writes_is_its_log(manager: ManagerProcess) -> None:
    """Printed lines and all; followed, the log ends with the job."""
    env = manager.environment("talking")
    env.from_collection(["one", "two"]).print()
    job = env.submit()
    followed = list(job.logs(follow=True))
    assert job.wait().status is JobStatus.FINISHED
    assert [line for line in followed if line in ("one", "two")] == ["one", "two"]
    assert "job 'talking' finished" in followed[-1]
    assert list(job.logs(lines=1)) == followed[-1:]


def test_a_plain_call_that_takes_too_long_is_ended(manager: ManagerProcess) -> None:
    """Worker processes get the code that no module on the manager's machine has, too."""
    env = manager.environment("timeouts")
    out = add_slow_calls(env)
    result = env.submit(autostop=True)
    assert [wait.seconds for wait in out] == [0, 0]
    assert isinstance(result.dead_letters[0].error, OperatorTimeoutError)


def test_progress_is_shown_while_waiting(
    manager: ManagerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """As lines where there is no terminal."""
    env = manager.environment("shown")
    env.from_collection(range(5), name="numbers").sink(lambda record: None, name="out")
    env.submit(autostop=True, progress=True)
    assert "numbers 5, out 5" in capsys.readouterr().err


def test_the_code_of_a_script_and_of_its_folder_travels(manager: ManagerProcess) -> None:
    """Classes of the main module and of one beside it, and their instances in checkpoints.

    The driver is killed after a checkpoint; the next one knows the same classes.
    """
    assert run_script(manager) == "finished 1 True 200 19900\n"


def test_sigterm_has_the_job_drain(
    manager: ManagerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a local one does, when its client waits for it."""
    Path("job.py").write_text(
        "import sys, time\n"
        "from sage import RemoteEnvironment\n"
        "env = RemoteEnvironment('drained', port=int(sys.argv[1]))\n"
        "env.from_collection(range(10**7)).map(lambda r: time.sleep(0.01)).sink(print)\n"
        "print(env.submit(autostop=True).status)\n"
    )
    monkeypatch.setenv("SAGE_JOB_MANAGER_TOKEN", manager.token)
    with subprocess.Popen(
        [sys.executable, "job.py", str(manager.port)], stdout=subprocess.PIPE
    ) as script:
        client = manager.client()
        wait_until(
            lambda: any(
                job.name == "drained" and job.state is JobState.RUNNING for job in client.jobs()
            )
        )
        client.close()
        script.terminate()
        assert script.stdout is not None
        assert script.stdout.read() == b"stopped\n"
        assert script.wait(timeout=20) == 0


def test_a_job_is_found_again_by_its_id(manager: ManagerProcess) -> None:
    """By another program, whose list gets the records."""
    env = manager.environment("found")
    build(env, [])
    id_ = env.submit().id
    out: list[int] = []
    other = manager.environment("found")
    build(other, out)
    job = other.job(id_)
    assert job.wait().records_out == len(out) == 34
    with pytest.raises(UnknownJobError, match=f"did you mean {id_!r}"):
        other.job(id_ + "0")


def test_the_tutorials_environment() -> None:
    """As it is written there, at the path where it is written."""
    env = kernel_api.RemoteEnvironment(
        name="distributed_app",
        host="127.0.0.1",
        port=19001,
        config={"ray": {"address": "ray://localhost:10001", "num_cpus": 32, "num_gpus": 4}},
    )
    assert env.name == "distributed_app"
    with pytest.raises(UnknownKeyError, match="did you mean 'num_cpus'"):
        RemoteEnvironment(config={"ray": {"num_cpu": 32}})
    with pytest.raises(ConfigError, match=r'config\["ray"\] is .auto.; give a dict'):
        RemoteEnvironment(config={"ray": "auto"})


def test_no_manager_at_the_address(free_port: int) -> None:
    """One line, with the command that starts one."""
    env = RemoteEnvironment(port=free_port, token="t")
    env.from_collection([1]).sink(lambda record: None)
    with pytest.raises(JobManagerError, match=rf"127\.0\.0\.1:{free_port} .*sage jobmanager start"):
        env.submit()


@pytest.mark.parametrize(("token", "shown"), [(None, "no token"), ("wrong", "another token")])
def test_a_wrong_token(manager: ManagerProcess, token: str | None, shown: str) -> None:
    """Nothing runs, and the message says where the right one is."""
    env = RemoteEnvironment(port=manager.port, token=token)
    env.from_collection([1]).sink(lambda record: None)
    with pytest.raises(TokenError, match=f"{shown}.*SAGE_JOB_MANAGER_TOKEN"):
        env.submit()


def test_a_client_of_another_version(
    manager: ManagerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is refused with both versions, and leaves no job behind."""
    here = versions.versions_here()
    other = msgspec.structs.replace(here, python="3.9.1")
    monkeypatch.setattr(versions, "versions_here", lambda: other)
    env = manager.environment("old")
    env.from_collection([1]).sink(lambda record: None)
    with pytest.raises(VersionMismatchError, match=rf"3\.9\.1, and .* Python {here.python}"):
        env.submit()
    client = manager.client()
    assert "old" not in [job.name for job in client.jobs()]
    client.close()


def test_mistakes_are_told_before_anything_is_sent(free_port: int) -> None:
    """No manager is needed to find them."""
    with pytest.raises(UnknownKeyError, match="did you mean 'checkpoint'"):
        RemoteEnvironment(config={"checkpont": {}})
    with pytest.raises(ConfigError, match="workers='process'; leave it out"):
        RemoteEnvironment(config={"workers": "process"})
    nowhere = RemoteEnvironment(port=0)
    nowhere.from_collection([1]).sink(print)
    with pytest.raises(ConfigError, match="port is 0"):
        nowhere.submit()
    env = RemoteEnvironment(port=free_port)
    with pytest.raises(GraphError, match="the pipeline is empty"):
        env.submit()
    env.from_collection([1]).map(slow).sink(print)
    with pytest.raises(ConfigError, match="needs a folder of checkpoints"):
        env.submit(resume="latest")
    lock = __import__("threading").Lock()
    other = RemoteEnvironment(port=free_port)
    other.from_collection([1]).map(lambda record: lock).sink(print)
    with pytest.raises(GraphError, match="cannot be sent to the job manager"):
        other.submit()


def test_a_list_that_would_grow_too_long_fails_the_job(manager: ManagerProcess) -> None:
    """Nothing is left out in silence."""
    env = manager.environment("long")
    out: list[int] = []
    env.from_collection(range(100_001)).sink(out)
    with pytest.raises(OperatorError, match="at most 100,000 records"):
        env.submit(autostop=True)
