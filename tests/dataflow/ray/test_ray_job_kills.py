"""Whatever of a remote job is killed, at random: nothing is lost, and keys keep their order."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
import ray_parts
from ray_parts import Counting
from tests.job_manager import ManagerProcess
from tests.support import running, wait_until

from sage.dataflow import JobStatus, MapFunction, RuntimeContext, SinkFunction
from sage.dataflow.jobs.handle import RemoteJob

RECORDS = int(os.environ.get("SOAK_RECORDS", "100000"))
# Records a second of a job that is left alone.
RATE = 1_200
INTERVAL = 0.5
KEYS = 7
KILLS = int(os.environ.get("SOAK_KILLS", "10"))


class Numbered(MapFunction):
    """Counts the records of each key in its state, and gives the count with the record."""

    def execute(self, data: int) -> tuple[int, int]:
        count = self.context.state.value("count", default=0)
        count.set(count.get() + 1)
        return data, count.get()


class Appending(SinkFunction):
    """Appends each record to a file, which is not taken back: duplicates are seen."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._file = -1

    def open(self, context: RuntimeContext) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def execute(self, data: tuple[int, int]) -> None:
        os.write(self._file, b"%d %d\n" % data)

    def close(self) -> None:
        os.close(self._file)


@pytest.fixture
def manager(raylets: Any, tmp_path: Path) -> Iterator[ManagerProcess]:
    """A manager whose jobs run on the cluster of the other tests, and which is killed."""
    del raylets
    for module in (ray_parts, __import__(__name__)):
        cloudpickle.register_pickle_by_value(module)
    with ManagerProcess(tmp_path / "home") as process:
        yield process
    for module in (ray_parts, __import__(__name__)):
        cloudpickle.unregister_pickle_by_value(module)


def submit(manager: ManagerProcess, raylets: Any, out: Path) -> RemoteJob:
    env = manager.environment(
        "kills",
        ray={"address": raylets.address},
        checkpoint={"dir": str(out.parent / "checkpoints"), "interval": INTERVAL},
        restart={"strategy": "fixed_delay", "attempts": 1000, "delay": 0.1},
        channel_capacity=256,
    )
    source = env.from_source(Counting, RECORDS, every=20, pause=20 / RATE)
    keyed = source.keyby(lambda number: number % KEYS)
    keyed.map(Numbered(), parallelism=2).sink(Appending(str(out)))
    return env.submit()


class Faults:
    """Kills parts of a job, each asserted to have been there and to be gone."""

    def __init__(self, manager: ManagerProcess, raylets: Any, job: RemoteJob, seed: int) -> None:
        self._manager = manager
        self._raylets = raylets
        self._job = job
        self._random = random.Random(seed)
        self._added: list[Any] = []

    def manager(self) -> None:
        self._manager.kill()
        self._manager.start()

    def driver(self) -> None:
        (driver,) = self._manager.drivers()
        self._kill(driver)

    def worker(self) -> None:
        # Of the raylets of this process: those of other clusters of the machine are not the test's.
        actors = [
            process.pid
            for process in psutil.Process().children(recursive=True)
            if "StageActor" in command_of(process)
        ]
        self._kill(self._random.choice(sorted(actors)))

    def raylet(self) -> None:
        # The head's stays: the driver is connected to it.
        node = self._random.choice(sorted(self._raylets.worker_nodes, key=str))
        self._raylets.remove_node(node, allow_graceful=False)
        for _ in range(3):
            # On a busy machine it may take longer than Ray waits for it.
            with contextlib.suppress(Exception):
                self._raylets.add_node(num_cpus=4, object_store_memory=80_000_000)
                return
        raise AssertionError("no other raylet could be started")

    def _kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not running([pid]))


def command_of(process: psutil.Process) -> str:
    """Return what a process calls itself; nothing when it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def settled(job: RemoteJob) -> None:
    """Wait until the job runs again and has written another checkpoint."""

    def number() -> int | None:
        progress = job.view.progress
        return None if progress is None else progress.last_checkpoint

    wait_until(lambda: number() is not None, 60)
    first = number()
    wait_until(lambda: number() not in (None, first), 60)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_random_kills(manager: ManagerProcess, raylets: Any, tmp_path: Path) -> None:
    """Of the manager, the driver, actors and raylets; SOAK_SEED=… repeats those of a failure."""
    seed = int(os.environ.get("SOAK_SEED") or time.time_ns() % 1_000_000)
    print(f"SOAK_SEED={seed}")
    out = tmp_path / "out"
    job = submit(manager, raylets, out)
    faults = Faults(manager, raylets, job, seed)
    kinds: list[Callable[[], None]] = [faults.manager, faults.driver, faults.worker, faults.raylet]
    order = [kind for kind in kinds for _ in range(KILLS)]
    shuffled = random.Random(seed)
    shuffled.shuffle(order)
    fired: Counter[str] = Counter()
    begun = time.monotonic()
    for kind in order:
        settled(job)
        time.sleep(shuffled.uniform(0, INTERVAL))
        assert not job.poll(0), "the job ended before every fault had fired"
        kind()
        fired[kind.__name__] += 1
    result = job.wait()
    assert result.status is JobStatus.FINISHED
    assert fired == {"manager": KILLS, "driver": KILLS, "worker": KILLS, "raylet": KILLS}
    assert result.records_in == result.records_out == RECORDS
    duplicates, rewinds = check(out)
    # One that is lost may have written what came in an interval and while the barrier was on its
    # way.
    assert duplicates <= (len(order) - KILLS) * RATE * INTERVAL * 4
    assert rewinds <= KEYS * (len(order) - KILLS)
    print(
        f"{time.monotonic() - begun:.0f} s, kills: {dict(fired)}; {result.restarts} restarts, "
        f"{duplicates:,} of {RECORDS:,} delivered twice"
    )


def check(out: Path) -> tuple[int, int]:
    """Assert that no record is lost and that keys keep order and state; count what came twice."""
    lines = [tuple(map(int, line.split())) for line in out.read_text().splitlines()]
    assert {number for number, _ in lines} == set(range(RECORDS))
    rewinds = 0
    for key in range(KEYS):
        mine = [line for line in lines if line[0] % KEYS == key]
        assert all(count == number // KEYS + 1 for number, count in mine)
        for (before, _), (after, _) in itertools.pairwise(mine):
            assert after <= before + KEYS, "a record was passed over"
            rewinds += after != before + KEYS
    return len(lines) - RECORDS, rewinds
