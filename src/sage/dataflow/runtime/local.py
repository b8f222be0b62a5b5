"""Runs jobs in this process and its workers."""

from __future__ import annotations

from collections.abc import Callable

from sage.dataflow.build import build_replicas
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.guard import JobServices
from sage.dataflow.plan import Plan
from sage.dataflow.resources import Allocation, this_machine
from sage.dataflow.runtime.backend import Attempt
from sage.dataflow.runtime.failure import Dump
from sage.dataflow.runtime.inline import InlineRuntime
from sage.dataflow.runtime.runtime import Runtime
from sage.dataflow.runtime.threads import ThreadRuntime
from sage.dataflow.workers import Workers


class LocalBackend:
    """Runs each stage in a thread, its operators there or in worker processes.

    Args:
        dump: pickles the states of operators for checkpoints, and what goes to worker processes and
            back; None for plain pickle.
    """

    def __init__(self, dump: Dump | None = None) -> None:
        self._dump = dump
        self._allocation: Allocation | None = None

    def check(self, plan: Plan, config: EnvironmentConfig, services: JobServices) -> None:  # noqa: ARG002 - all configs and services do here
        """Share out the machine's GPUs.

        Raises:
            GraphError: the operators ask for more than there are.
        """
        self._allocation = Allocation(plan, this_machine())

    def runtime(self, attempt: Attempt) -> Runtime:
        """Return what runs an attempt: the user's objects are made here."""
        assert self._allocation is not None
        replicas = build_replicas(
            attempt.plan,
            attempt.services,
            self._allocation,
            profile=attempt.profile,
            dump=self._dump,
        )
        inline = attempt.config.workers is Workers.INLINE
        make: Callable[..., Runtime] = InlineRuntime if inline else ThreadRuntime
        return make(
            attempt.plan,
            replicas,
            attempt.config,
            attempt.services,
            checkpointer=attempt.checkpointer,
            resumption=attempt.resumption,
            on_end=attempt.on_end,
        )
