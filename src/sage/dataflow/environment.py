"""A pipeline that runs on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

from sage.dataflow.dead_letters import DeadLetters
from sage.dataflow.guard import JobServices
from sage.dataflow.job import JobHandle
from sage.dataflow.launch import Resume
from sage.dataflow.pipeline import Pipeline
from sage.dataflow.result import JobResult
from sage.dataflow.services import Services
from sage.dataflow.submission import make_job
from sage.dataflow.workers import Workers
from sage.errors import ConfigError


class LocalEnvironment(Pipeline):
    """Builds a pipeline and runs it on this machine.

    Args:
        name: for logs and the summary.
        config: keys of `EnvironmentConfig`.
        clock: seconds since the epoch that timers, processing-time windows and batch timeouts go
            by, for tests: with workers "inline", jobs are then the same in every run. By default
            the machine's, without its jumps.

    Raises:
        UnknownKeyError: a key of ``config`` does not exist.
        ConfigError: a value is wrong.
    """

    def __init__(
        self,
        name: str = "pipeline",
        config: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(name, config)
        self._clock = clock
        self.last_job: JobHandle | None = None

    @overload
    def submit(
        self,
        autostop: Literal[False] = False,
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> JobHandle: ...

    @overload
    def submit(
        self,
        autostop: Literal[True],
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> JobResult: ...

    @overload
    def submit(
        self,
        autostop: bool,
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> JobHandle | JobResult: ...

    def submit(
        self,
        autostop: bool = False,
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> JobHandle | JobResult:
        """Run the pipeline.

        Args:
            autostop: wait until the input has ended and return the result. Otherwise return a
                handle at once. `last_job` is the handle in either case, also after an error.
            progress: with ``autostop``, show progress: True does, on a terminal or as lines;
                False does not; None does on a terminal.
            profile: measure the time of every operator over every batch; `JobResult.profile`
                prints it.
            resume: go on from a checkpoint that a job of the same pipeline has left in the folder
                of ``config={"checkpoint": {"dir": …}}``: "latest" takes the last one that is whole,
                or begins anew when there is none; a number takes that one. None begins anew.

        With ``autostop`` in the main thread, SIGTERM drains the job: its sources end, what they
        gave flows through, and the result is returned, with the status "stopped". A second
        SIGTERM, or the end of ``config={"grace": 30.0}``, cancels it. A program that handles
        SIGTERM itself is left alone.

        Raises:
            GraphError: the pipeline cannot run.
            CheckpointError: there is no such checkpoint, or it is of another pipeline.
            OperatorError: with ``autostop``, an operator raised; ``error.result`` has the counts.
            JobCancelledError: with ``autostop``, the job was cancelled; likewise.
            KeyboardInterrupt: with ``autostop``, Ctrl-C; every operator was closed.
        """
        if self.config.workers is Workers.INLINE and not autostop:
            raise ConfigError(
                "workers 'inline' run in the thread that submits: use submit(autostop=True)"
            )
        job = self._prepare(profile, resume)
        return _run(job, progress) if autostop else _start(job)

    def _services(self) -> JobServices:
        letters = DeadLetters(self._dead_letter_sink)
        registered = Services(tuple(self._registrations))
        if self._clock is None:
            return JobServices(letters, registered=registered)
        return JobServices(
            letters,
            clock=self._clock,
            wall_clock=self._clock,
            clock_offset=0.0,
            injected=True,
            registered=registered,
        )

    def _prepare(self, profile: bool, resume: Resume) -> JobHandle:
        self.last_job = make_job(
            self.name,
            self._graph,
            self.config,
            self._services(),
            profile=profile,
            resume=resume,
        )
        return self.last_job


def _start(job: JobHandle) -> JobHandle:
    job.start()
    return job


def _run(job: JobHandle, progress: bool | None) -> JobResult:
    """Run to the end; on Ctrl-C, or any error here, leave nothing running."""
    with job.terminable():
        try:
            job.start()
            if progress or (progress is None and sys.stderr.isatty()):
                from sage.dataflow.progress import watch

                watch(job, force=progress is True)
            return job.wait()
        except BaseException:
            job.cancel()
            raise
