"""What watches a job: nothing, unless a limit or figures of the GPUs are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.gpu import GpuProbe, open_gpus
from sage.dataflow.graph import Node
from sage.dataflow.monitor import Monitor, Probe
from sage.dataflow.runtime.runtime import Runtime


def watch_gpus(nodes: Sequence[Node], *, profile: bool) -> GpuProbe | None:
    """Return what reads the GPUs, for a job that is profiled or has an operator with ``gpus``."""
    asked = profile or any(getattr(node.options, "gpus", None) for node in nodes)
    return open_gpus() if asked else None


def make_monitor(
    job: str,
    config: EnvironmentConfig,
    *,
    nodes: Sequence[Node],
    runtime: Runtime,
    gpus: GpuProbe | None,
) -> Monitor:
    """Return what watches a job.

    Args:
        job: its name, for messages.
        config: of the environment.
        nodes: the graph's operators.
        runtime: what runs them.
        gpus: what reads the GPUs.
    """
    probes: list[Probe] = [gpus] if gpus is not None else []
    if config.memory_limit is not None:
        from sage.dataflow import memory

        def used() -> int:
            return memory.resident_bytes(runtime.worker_pids())

        def queue() -> str:
            return largest_queue(nodes, runtime)

        guard = memory.MemoryGuard(config.memory_limit, memory.GRACE)
        release = memory.release_freed_memory
        probes.append(memory.MemoryProbe(job, guard, runtime, used, queue, release=release))
    return Monitor(probes, lambda: runtime.ended)


def largest_queue(nodes: Sequence[Node], runtime: Runtime) -> str:
    """Describe the largest of a job's queues."""
    queued = runtime.queued()
    node = max(queued, key=lambda id_: queued[id_], default=None)
    if node is None or not queued[node]:
        return "no records wait in a queue"
    return f"the largest queue is that before {nodes[node].name!r}, of {queued[node]:,} records"
