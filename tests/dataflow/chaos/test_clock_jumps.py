"""The machine's clock jumps by an hour, there and back, while a job runs: nobody notices."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from chaos_parts import Numbers, await_checkpoint

from sage.dataflow import JobHandle, LocalEnvironment, ProcessFunction, TumblingWindows

TOTAL = 600
HOUR = 3600.0


class Reminder(ProcessFunction):
    """Asks to be woken a moment later, by the clock, and says when that was."""

    def execute(self, data: int) -> None:
        assert self.context is not None
        if data % 50 == 0:
            self.context.timer(self.context.processing_time + 0.05, time="processing")

    def on_timer(self, at: float) -> list[float]:
        return [at]


class Clock:
    """The machine's clock, that is set by hand now and then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.offset)


def run_with_jumps(
    env: LocalEnvironment, gates: list[int], clock: Clock, folder: Path
) -> JobHandle:
    """Let the source go on by thirds, with a jump before each but the first."""
    job = env.submit()
    await_checkpoint(job, folder, 1)
    for jump, gate in ((HOUR, 400), (-2 * HOUR, TOTAL)):
        clock.offset += jump
        gates[0] = gate
        await_checkpoint(job, folder, last_number(folder) + 2)
    return job


def last_number(folder: Path) -> int:
    return max(int(path.stem.removeprefix("checkpoint-")) for path in folder.glob("*.sage"))


def environment(folder: Path) -> LocalEnvironment:
    return LocalEnvironment("job", config={"checkpoint": {"dir": folder, "interval": 0.03}})


def test_event_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of event time have what they have; checkpoints go on at their interval."""
    clock, gates, out = Clock(monkeypatch), [200], []
    env = environment(tmp_path)
    (
        env.from_source(Numbers(TOTAL + 1, lambda number: number < gates[0]), name="numbers")
        .event_time(lambda number: number, idle_after=600)
        .keyby(lambda number: number % 3)
        .window(TumblingWindows(30), timestamp=lambda number: number)
        .apply(sum, parallelism=2)
        .sink(lambda result: out.append(tuple(result)))
    )
    job = run_with_jumps(env, gates, clock, tmp_path)
    gates[0] = TOTAL + 1
    result = job.wait(20)
    assert result.failed_checkpoints == 0
    wanted = [
        (key, start, start + 30, sum(range(start + key, min(start + 30, TOTAL + 1), 3)), 0)
        for start in range(0, TOTAL + 1, 30)
        for key in range(3)
        if start + key <= TOTAL
    ]
    assert sorted(out) == sorted(wanted)


def test_processing_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and timers by the clock end when they would have, of consecutive times."""
    clock, gates = Clock(monkeypatch), [200]
    windows: list[Any] = []
    woken: list[float] = []
    batches: list[list[int]] = []
    begun = time.time()
    env = environment(tmp_path)
    numbers = env.from_source(Numbers(TOTAL + 1, lambda number: number < gates[0]), name="numbers")
    numbers.keyby(lambda number: 0).window(TumblingWindows(0.05)).apply(len).sink(windows.append)
    numbers.keyby(lambda number: 0).process(Reminder).sink(woken.append)
    numbers.batch(1000, timeout=0.05).sink(batches.append)
    job = run_with_jumps(env, gates, clock, tmp_path)
    # All but the last record have come, and nothing waits for an hour to pass.
    while sum(window.value for window in windows) < TOTAL or len(woken) < TOTAL // 50:
        assert not job.poll(0.002)
    while sum(map(len, batches)) < TOTAL:
        assert not job.poll(0.002)
    took = time.time() + HOUR - begun
    assert took < 60
    gates[0] = TOTAL + 1
    job.wait(20)
    assert sum(window.value for window in windows) == TOTAL + 1
    assert all(begun - 1 < window.start < begun + took + 1 for window in windows)
    assert all(begun < at < begun + took + 1 for at in woken)
    assert len(batches) >= 3
