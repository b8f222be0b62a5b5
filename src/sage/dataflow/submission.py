"""From a pipeline to a job that can be started."""

from __future__ import annotations

from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.graph import Graph
from sage.dataflow.guard import JobServices
from sage.dataflow.job import JobHandle
from sage.dataflow.launch import Launch, Resume
from sage.dataflow.runtime.backend import Backend
from sage.dataflow.runtime.local import LocalBackend
from sage.dataflow.watching import make_monitor, watch_gpus


def make_job(
    name: str,
    graph: Graph,
    config: EnvironmentConfig,
    services: JobServices,
    *,
    profile: bool = False,
    resume: Resume = None,
    backend: Backend | None = None,
) -> JobHandle:
    """Return a job, to be started.

    Args:
        name: the environment's.
        graph: what to run.
        config: how.
        services: of the job.
        profile: measure every batch operator by operator.
        resume: the checkpoint to go on from: "latest", a number, or None to begin anew.
        backend: where its stages live; by default, in this process.

    Raises:
        GraphError: the pipeline cannot run.
        CheckpointError: there is no such checkpoint, or it is of another pipeline.
    """
    backend = backend or LocalBackend()
    launch = Launch(name, graph, config, services, profile, backend=backend)
    letters = services.dead_letters
    letters.open()
    try:
        runtime = launch.prepare(resume)
    except BaseException:
        letters.close()
        raise
    nodes = graph.nodes
    # GPUs of other machines are not to be seen from here.
    gpus = watch_gpus(nodes, profile=profile) if isinstance(backend, LocalBackend) else None
    return JobHandle(
        name,
        nodes,
        runtime,
        letters,
        history=launch.history,
        grace=config.grace,
        monitor=make_monitor(name, config, nodes=nodes, runtime=runtime, gpus=gpus),
        gpus=gpus,
    )
