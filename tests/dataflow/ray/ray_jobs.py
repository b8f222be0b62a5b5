"""Pipelines that run on a cluster, without a job manager between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.dataflow.dead_letters import DeadLetters
from sage.dataflow.guard import JobServices
from sage.dataflow.job import JobHandle
from sage.dataflow.launch import Resume
from sage.dataflow.pipeline import Pipeline
from sage.dataflow.result import JobResult
from sage.dataflow.runtime.ray import JobCluster, RayBackend
from sage.dataflow.services import Services
from sage.dataflow.submission import make_job


class RayPipeline(Pipeline):
    """A pipeline whose job is driven by this process."""

    def __init__(self, cluster: JobCluster, config: Mapping[str, Any] | None = None) -> None:
        super().__init__("remote", config)
        self._cluster = cluster

    def start(self, resume: Resume = None) -> JobHandle:
        """Start the job."""
        services = JobServices(
            DeadLetters(self._dead_letter_sink), registered=Services(tuple(self._registrations))
        )
        job = make_job(
            self.name,
            self._graph,
            self.config,
            services,
            resume=resume,
            backend=RayBackend(self._cluster),
        )
        job.start()
        return job

    def run(self, resume: Resume = None) -> JobResult:
        """Run to the end; leave nothing running."""
        job = self.start(resume)
        try:
            return job.wait(50)
        finally:
            job.cancel(5)
