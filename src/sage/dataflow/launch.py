"""Makes a job of a graph: its replicas, what runs them, and where it goes on from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Literal

from sage.dataflow.checkpoint.checkpointer import Checkpointer
from sage.dataflow.checkpoint.gathering import Part
from sage.dataflow.checkpoint.resumption import Resumption
from sage.dataflow.checkpoint.signature import check_same_graph, sign
from sage.dataflow.checkpoint.snapshot import JobSnapshot
from sage.dataflow.checkpoint.store import CheckpointStore
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.graph import Graph, Kind
from sage.dataflow.guard import JobServices
from sage.dataflow.history import JobHistory
from sage.dataflow.plan import Plan, make_plan
from sage.dataflow.restart import NoRestart
from sage.dataflow.runtime.backend import Attempt, Backend
from sage.dataflow.runtime.local import LocalBackend
from sage.dataflow.runtime.restarting import RestartingRuntime
from sage.dataflow.runtime.runtime import Runtime
from sage.dataflow.source import check_replayable
from sage.errors import ConfigError

logger = logging.getLogger("sage.dataflow")

Resume = Literal["latest"] | int | None


@dataclass(slots=True)
class Launch:
    """Makes the attempts at one job.

    Attributes:
        name: the environment's.
        graph: what to run.
        config: how.
        services: of the job.
        profile: measure every batch operator by operator.
        history: what becomes of it.
        backend: where its stages live; by default, this machine.
        plan: the graph's stages.
    """

    name: str
    graph: Graph
    config: EnvironmentConfig
    services: JobServices
    profile: bool
    history: JobHistory = field(default_factory=JobHistory)
    backend: Backend = field(default_factory=LocalBackend)
    plan: Plan = field(init=False)
    _store: CheckpointStore | None = None
    _resumed: JobSnapshot | None = None

    def __post_init__(self) -> None:
        self.plan = make_plan(self.graph)
        self.backend.check(self.plan, self.config, self.services)
        check_sources(self.graph, self.config)

    def prepare(self, resume: Resume) -> Runtime:
        """Return what runs the job, to be started.

        Raises:
            ConfigError: there is no folder to resume from, or ``resume`` is something else.
            CheckpointError: the folder is another job's, or the checkpoint does not fit.
        """
        _check_resume(resume)
        if self.config.checkpoint is not None:
            self._store = CheckpointStore(self.config.checkpoint.dir, self.config.checkpoint.keep)
        elif resume is not None:
            raise ConfigError(
                f"submit(resume={resume!r}) needs a folder of checkpoints; give the environment "
                'config={"checkpoint": {"dir": …}}'
            )
        try:
            self._resume(resume)
            return self._runtime()
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        """Let another job use the folder of checkpoints."""
        if self._store is not None:
            self._store.close()

    def _resume(self, resume: Resume) -> None:
        if self._store is None:
            return
        if resume is None:
            if self._store.begin_anew():
                logger.warning(
                    "job %r begins anew beside checkpoints of an earlier run, which its first one "
                    "replaces; submit(resume='latest') goes on from them",
                    self.name,
                )
            return
        self._resumed = self._loaded(None if resume == "latest" else resume)
        if self._resumed is None:
            logger.info("job %r begins anew: there is no checkpoint to resume from", self.name)
            return
        self.history.resumed_from = self._resumed.number
        logger.info("job %r goes on from checkpoint %d", self.name, self._resumed.number)

    def _loaded(self, number: int | None) -> JobSnapshot | None:
        assert self._store is not None
        snapshot = self._store.load(number)
        if snapshot is not None:
            check_same_graph(snapshot.number, snapshot.graph, sign(self.graph.nodes))
        return snapshot

    def _runtime(self) -> Runtime:
        policy = self.config.restart
        if isinstance(policy, NoRestart):
            return self._attempt(on_end=self._close)
        return RestartingRuntime(self.name, self._attempt, policy, self.history, on_end=self._close)

    def _attempt(self, on_end: Callable[[], object] | None = None) -> Runtime:
        """Make the next attempt, from the last checkpoint of this job or what it resumes from."""
        snapshot = self._resumed
        if self._store is not None and self.history.last_checkpoint is not None:
            latest = self._store.load()
            snapshot = latest or snapshot
        services = replace(self.services, cancelled=Event())
        return self.backend.runtime(
            Attempt(
                plan=self.plan,
                config=self.config,
                services=services,
                profile=self.profile,
                checkpointer=self._checkpointer(services),
                resumption=None if snapshot is None else Resumption(snapshot),
                on_end=on_end,
            )
        )

    def _checkpointer(self, services: JobServices) -> Checkpointer | None:
        if self._store is None or self.config.checkpoint is None:
            return None
        parts = [
            Part(stage.id, index)
            for stage in self.plan.stages
            for index in range(stage.parallelism)
        ]
        return Checkpointer(
            self._store,
            sign(self.graph.nodes),
            parts,
            interval=self.config.checkpoint.interval,
            first=self._store.next_number(),
            history=self.history,
            wall_clock=services.wall_clock,
        )


def check_sources(graph: Graph, config: EnvironmentConfig) -> None:
    """Raise `GraphError` for a source that cannot be read again although the job may need to."""
    again = not isinstance(config.restart, NoRestart)
    if again or config.checkpoint is not None:
        for node in graph.nodes:
            if node.kind is Kind.SOURCE:
                check_replayable(node, again=again)


def _check_resume(resume: object) -> None:
    number = isinstance(resume, int) and not isinstance(resume, bool)
    if resume is not None and resume != "latest" and not number:
        raise ConfigError(
            f"submit() got resume={resume!r}; give 'latest', the number of a checkpoint, or None"
        )
