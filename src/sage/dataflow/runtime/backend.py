"""Where the stages of a job live: the seam between what is to run and what runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sage.dataflow.checkpoint.checkpointer import Checkpointer
from sage.dataflow.checkpoint.resumption import Resumption
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.guard import JobServices
from sage.dataflow.plan import Plan
from sage.dataflow.runtime.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a plan, from its beginning or from a checkpoint.

    Attributes:
        plan: what to run.
        config: sizes of batches and channels.
        services: of the job.
        profile: measure every batch operator by operator.
        checkpointer: takes checkpoints; None for none.
        resumption: what to go on from; None to begin anew.
        on_end: called when it has ended, whoever waits for it.
    """

    plan: Plan
    config: EnvironmentConfig
    services: JobServices
    profile: bool = False
    checkpointer: Checkpointer | None = None
    resumption: Resumption | None = None
    on_end: Callable[[], object] | None = None


class Backend(Protocol):
    """Makes the runtimes of a job: threads of this process, or actors of a cluster."""

    def check(self, plan: Plan, config: EnvironmentConfig, services: JobServices) -> None:
        """Look whether a plan can run here; called once, before the first attempt.

        Raises:
            DataflowError: it cannot.
            ConfigError: a setting is not for this backend.
        """

    def runtime(self, attempt: Attempt) -> Runtime:
        """Return what runs an attempt, to be started."""
