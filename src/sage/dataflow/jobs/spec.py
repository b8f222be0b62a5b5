"""A pipeline as it travels: its graph, and all that a driver needs to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.dead_letters import DeadLetters
from sage.dataflow.graph import Graph
from sage.dataflow.guard import JobServices
from sage.dataflow.job import JobHandle
from sage.dataflow.jobs.pickling import dump
from sage.dataflow.launch import Resume
from sage.dataflow.runtime.backend import Backend
from sage.dataflow.runtime.local import LocalBackend
from sage.dataflow.services import Registration, Services
from sage.dataflow.submission import make_job

if TYPE_CHECKING:
    from sage.dataflow.runtime.ray import RayJobConfig


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """What a client submits.

    Attributes:
        name: the environment's.
        graph: what to run.
        config: how.
        ray: on which cluster; None runs the pipeline in the driver's own threads.
        registrations: of the services that operators share.
        dead_letter_sink: given every dead letter; None keeps them for the result.
    """

    name: str
    graph: Graph
    config: EnvironmentConfig
    ray: RayJobConfig | None = None
    registrations: tuple[Registration, ...] = ()
    dead_letter_sink: Any = None

    @contextmanager
    def backend(self, sleep: Callable[[float], None]) -> Iterator[Backend]:
        """Give where the stages live, for the time of the job.

        Args:
            sleep: waits for seconds, while the job waits for a cluster that has enough; what it
                raises ends that.

        Raises:
            ConfigError: Ray is not installed.
            ClusterError: there is no cluster at the address, or it is of another version.
        """
        if self.ray is None:
            yield LocalBackend(dump)
            return
        from sage.dataflow.runtime.ray import JobCluster, RayBackend

        with JobCluster(self.ray, pause=sleep) as cluster:
            yield RayBackend(cluster)

    def job(self, backend: Backend, *, profile: bool, resume: Resume) -> JobHandle:
        """Return the job, to be started.

        Args:
            backend: where its stages live.
            profile: measure every batch operator by operator.
            resume: the checkpoint to go on from.

        Raises:
            GraphError: the pipeline cannot run.
            CheckpointError: there is no such checkpoint, or it is of another pipeline.
            ClusterError: the cluster has too little.
        """
        services = JobServices(
            DeadLetters(self.dead_letter_sink), registered=Services(self.registrations)
        )
        return make_job(
            self.name,
            self.graph,
            self.config,
            services,
            profile=profile,
            resume=resume,
            backend=backend,
        )
