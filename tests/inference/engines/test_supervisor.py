"""Keeping engines running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from sage.errors import EngineStartError
from sage.inference.engines.process import EngineProcess
from sage.inference.engines.restarts import RestartRule
from sage.inference.engines.spec import EngineSpec
from sage.inference.engines.supervisor import EngineStatus, Supervisor, Timing
from tests.support import running, wait_until

from .conftest import SpecFactory

QUICK = Timing(start=20, poll=0.02, check=0.05, stop=3, misses=3)
RULE = RestartRule(first_delay=0.01, longest_delay=0.02, most_deaths=3)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition without holding the event loop."""
    await asyncio.to_thread(wait_until, condition)


def worker_pid(log: Path) -> int:
    """The pid of the worker that the tiny engine started last."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if "worker" in line]
    return int(lines[-1].split()[1])


def gone(pid: int) -> bool:
    return running([pid]) == []


class Events:
    """What the supervisor reported."""

    def __init__(self) -> None:
        self.up: list[str] = []
        self.down: list[tuple[str, str]] = []

    def on_up(self, spec: EngineSpec) -> None:
        self.up.append(spec.id)

    def on_down(self, spec: EngineSpec, reason: str) -> None:
        self.down.append((spec.id, reason))


def _supervisor(spec: EngineSpec, logs: Path, events: Events) -> Supervisor:
    return Supervisor(
        [spec], logs, on_up=events.on_up, on_down=events.on_down, rule=RULE, timing=QUICK
    )


@pytest.mark.anyio
async def test_an_engine_is_up_when_it_is_healthy_and_stops_with_its_workers(
    make_spec: SpecFactory, tmp_path: Path
) -> None:
    """start() returns after health; stop() leaves no process of the group."""
    events = Events()
    supervisor = _supervisor(make_spec(), tmp_path, events)
    await supervisor.start()
    (engine,) = supervisor.engines
    pid, worker = engine.process.pid, worker_pid(engine.process.log)
    assert pid is not None
    assert events.up == ["llm-1"]
    assert engine.status is EngineStatus.HEALTHY
    await supervisor.stop()
    assert gone(pid)
    await until(lambda: gone(worker))
    assert events.down == []
    assert engine.status is EngineStatus.STOPPED


@pytest.mark.anyio
async def test_a_killed_engine_is_restarted_and_its_workers_do_not_stay(
    make_spec: SpecFactory, tmp_path: Path
) -> None:
    """kill -9 is reported once as down and once as up again, under another pid."""
    events = Events()
    supervisor = _supervisor(make_spec(), tmp_path, events)
    await supervisor.start()
    (engine,) = supervisor.engines
    first, worker = engine.process.pid, worker_pid(engine.process.log)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: events.up == ["llm-1", "llm-1"])
    assert events.down == [("llm-1", "was ended by SIGKILL")]
    assert engine.process.pid not in (None, first)
    assert engine.deaths == 1
    await until(lambda: gone(worker))
    await supervisor.stop()


@pytest.mark.anyio
async def test_an_engine_that_hangs_is_restarted(make_spec: SpecFactory, tmp_path: Path) -> None:
    """A process that is there but does not answer is not healthy."""
    events = Events()
    spec = make_spec()
    supervisor = _supervisor(spec, tmp_path, events)
    await supervisor.start()
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.get(f"{spec.url}/hang")
    await until(lambda: len(events.up) == 2)
    ((_, reason),) = events.down
    assert reason == "did not answer 3 health checks in a row and was stopped"
    await supervisor.stop()


@pytest.mark.anyio
async def test_an_engine_that_keeps_dying_is_given_up(
    make_spec: SpecFactory, tmp_path: Path
) -> None:
    """After three deaths in the window it stays down, and says so."""
    events = Events()
    supervisor = _supervisor(make_spec(), tmp_path, events)
    await supervisor.start()
    (engine,) = supervisor.engines
    for life in (1, 2, 3):
        await until(lambda life=life: len(events.up) == life)  # type: ignore[misc]
        assert engine.process.pid is not None
        os.kill(engine.process.pid, signal.SIGKILL)
    await until(lambda: engine.status is EngineStatus.FAILED)
    assert len(events.down) == 3
    await supervisor.stop()


@pytest.mark.anyio
async def test_one_that_dies_while_starting_fails_the_start_with_its_last_words(
    make_spec: SpecFactory, tmp_path: Path, engine_script: Path
) -> None:
    """The other engines are stopped again: nothing is left running."""
    good = make_spec()
    command = (sys.executable, "-c", "import sys; print('bad weights'); sys.exit(3)")
    bad = make_spec(*command, id_="llm-2", port=1)  # where nothing answers
    supervisor = Supervisor([good, bad], tmp_path, rule=RULE, timing=QUICK)
    with pytest.raises(EngineStartError, match=r"llm-2 .* exited with code 3") as caught:
        await supervisor.start()
    assert caught.value.log_tail == ["bad weights"]
    assert supervisor.engines[0].process.pid is None


@pytest.mark.anyio
async def test_one_that_never_gets_healthy_fails_the_start(
    make_spec: SpecFactory, tmp_path: Path
) -> None:
    """The time limit is named."""
    spec = make_spec(sys.executable, "-c", "import time; time.sleep(600)")
    timing = Timing(start=0.3, poll=0.02, stop=3)
    supervisor = Supervisor([spec], tmp_path, timing=timing)
    with pytest.raises(EngineStartError, match="was not healthy within 0 s"):
        await supervisor.start()
    assert supervisor.engines[0].process.pid is None


@pytest.mark.anyio
async def test_a_program_that_does_not_exist_says_so(
    make_spec: SpecFactory, tmp_path: Path
) -> None:
    """As the engine's last words."""
    supervisor = Supervisor([make_spec("/no/such/engine")], tmp_path, timing=QUICK)
    with pytest.raises(EngineStartError) as caught:
        await supervisor.start()
    assert caught.value.log_tail == ["cannot run /no/such/engine: No such file or directory"]


SUPERVISE = """
import asyncio, sys
from pathlib import Path
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.spec import EngineSpec
from sage.inference.engines.supervisor import Supervisor
from sage.inference.scheduling.request import Kind

async def main():
    port = int(sys.argv[2])
    spec = EngineSpec("llm-1", Kind.LLM, EngineKind.LLAMA_CPP, "tiny", "127.0.0.1", port,
                      (sys.executable, sys.argv[1], sys.argv[2]))
    supervisor = Supervisor([spec], Path(sys.argv[3]))
    await supervisor.start()
    print(supervisor.engines[0].process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_engines_end_when_their_supervisor_is_killed(
    engine_script: Path, free_port: int, tmp_path: Path
) -> None:
    """kill -9 of the supervisor takes the engine and its workers with it."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(engine_script), str(free_port), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pid = int(supervisor.stdout.readline())
        worker = worker_pid(tmp_path / "llm-1.log")
        supervisor.kill()
        supervisor.wait()
    asyncio.run(until(lambda: gone(pid) and gone(worker)))


class CutOff(EngineProcess):
    """An engine that is well where nobody here can ask it."""

    async def unreachable(self) -> str | None:
        return f"{self.spec.id} is out of reach"


@pytest.mark.anyio
async def test_an_engine_out_of_reach_is_not_waited_for(
    make_spec: SpecFactory, tmp_path: Path
) -> None:
    """The start fails with what its runner says, long before its time is over."""
    spec = make_spec(sys.executable, "-c", "import time; time.sleep(600)")
    supervisor = Supervisor([spec], tmp_path, timing=QUICK, run=CutOff)
    with pytest.raises(EngineStartError, match="llm-1 is out of reach"):
        await supervisor.start()
    assert supervisor.engines[0].process.pid is None
