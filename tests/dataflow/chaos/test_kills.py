"""Whatever is killed, nothing is lost, out of order, counted twice or left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from chaos_harness import Fault, Story, random_faults, run
from chaos_job import Spec
from chaos_steps import STEPS

KILLS = int(os.environ.get("SOAK_KILLS", "20"))
# How the source is read again, whether order is kept, and what the sink does, take turns.
VARIANTS = (
    ("numbers", "append"),
    ("files", "append"),
    ("generator", "upsert"),
    ("loop", "append"),
    ("numbers", "upsert"),
    ("loop", "upsert"),
)


@pytest.mark.parametrize(
    ("variant", "sink"), [("numbers", "append"), ("files", "append"), ("loop", "upsert")]
)
def test_kill_at_each_step_of_the_commit(variant: str, sink: str, tmp_path: Path) -> None:
    """A process that is killed at a step of a checkpoint's commit goes on from a whole one."""
    spec = Spec(
        str(tmp_path),
        variant,
        total=6_000,
        parallelism=2,
        rate=6_000,
        interval=0.05,
        sink=sink,
    )
    story = run(spec, [Fault(step, nth=2) for step in STEPS])
    assert story.fired.total() == len(STEPS)
    if sink == "append":
        assert story.duplicates > 0


def test_kill_workers_and_the_process(tmp_path: Path) -> None:
    """A worker that is killed has the job start again; its process, by whoever runs it."""
    spec = Spec(
        str(tmp_path),
        "generator",
        total=2_000,
        rate=2_000,
        interval=0.1,
        workers="process",
    )
    story = run(spec, [Fault("worker", 0.5), Fault("process", 0.5)])
    assert story.restarts == 1


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", ["thread", "process"])
@pytest.mark.parametrize("parallelism", [1, 2, 4])
@pytest.mark.parametrize(("variant", "sink"), VARIANTS)
def test_random_kills(
    variant: str, sink: str, parallelism: int, workers: str, tmp_path: Path
) -> None:
    """20 random kills, or SOAK_KILLS, over 100,000 records; SOAK_SEED=… repeats a failure's."""
    seed = int(os.environ.get("SOAK_SEED") or time.time_ns() % 1_000_000)
    spec = Spec(str(tmp_path), variant, parallelism=parallelism, workers=workers, sink=sink)
    print(f"SOAK_SEED={seed}")
    begun = time.monotonic()
    story = run(spec, random_faults(seed, KILLS, workers))
    _tell(spec, story, seed, time.monotonic() - begun)


def _tell(spec: Spec, story: Story, seed: int, seconds: float) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(story.fired.items()))
    print(
        f"{spec.variant}, {spec.sink}, {spec.workers} ×{spec.parallelism}: {seconds:.0f} s, "
        f"kills: {kinds}; {story.restarts} restarts, {story.duplicates:,} of {spec.total:,} "
        f"delivered twice, seed {seed}"
    )
