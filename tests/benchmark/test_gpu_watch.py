"""GPUs beside a run."""

from __future__ import annotations

import threading

from sage.benchmark.gpus import GpuWatch
from sage.dataflow.gpu import GpuProbe, GpuSample


def test_gpus_are_looked_at_until_the_runs_end() -> None:
    """At its begin at least, and no more after it."""
    looked = threading.Event()

    def read() -> list[GpuSample]:
        looked.set()
        return [GpuSample(0, "a", 10, 80, 0.5, 300.0)]

    watch = GpuWatch(lambda: GpuProbe(read))
    watch.begin()
    assert looked.wait(10)
    (found,) = watch.end()
    assert (found.name, found.utilisation_mean, found.power_mean) == ("a", 0.5, 300.0)
    looked.clear()
    assert watch.end() == (found,)
    assert not looked.is_set()


def test_no_gpu_has_no_readings() -> None:
    """They are absent, not 0."""
    watch = GpuWatch(lambda: None)
    watch.begin()
    assert watch.end() == ()
