"""A job in its driver: prepared, run, asked how it stands, and told to end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from sage.dataflow.checkpoint.store import CheckpointStore
from sage.dataflow.job import JobHandle
from sage.dataflow.jobs.details import Details
from sage.dataflow.jobs.folder import Begun, DriverOrder, JobFolder
from sage.dataflow.jobs.gathering import GatheredList, gathered_lists
from sage.dataflow.jobs.life import Order
from sage.dataflow.jobs.spec import PipelineSpec
from sage.dataflow.jobs.wire import Progress, Resume
from sage.dataflow.result import JobResult, error_text
from sage.errors import DataflowError, JobCancelledError

logger = logging.getLogger("sage.dataflow.jobs")

STARTING = "starting"
# Seconds from one note of what has been done to the next.
_EVERY = 1.0


class DrivenJob:
    """Runs one job in the main thread; its other methods are called from any.

    Args:
        order: what to do.
        folder: the job's.
    """

    def __init__(self, order: DriverOrder, folder: JobFolder) -> None:
        self._order = order
        self._folder = folder
        # What drivers before this one have counted; all others go on from the checkpoint.
        self._before = (folder.progress() if order.takes_over else None) or Progress("", 0)
        self._lock = threading.Lock()
        self._job: JobHandle | None = None
        self._wanted: Order | None = None
        self._asked = threading.Event()

    def run(self, spec: PipelineSpec, resume: Resume) -> tuple[Progress, Details]:
        """Run the pipeline to its end; return what it did.

        Args:
            spec: the pipeline.
            resume: the checkpoint it goes on from.

        Raises:
            JobCancelledError: it was told to end before the pipeline ran.
        """
        gathered = gathered_lists(spec.graph)
        if spec.config.checkpoint is not None:
            for number, records in enumerate(gathered.values()):
                records.keep(self._folder.gathered(number), anew=resume is None)
        with spec.backend(self._sleep) as backend:
            job = spec.job(backend, profile=self._order.profile, resume=resume)
            with job.terminable():
                job.start()
                try:
                    self._follow(job)
                except BaseException:
                    job.cancel()
                    raise
        for records in gathered.values():
            records.close()
        result = job.result
        assert result is not None
        return self._result_progress(job, result), _details(result, gathered)

    def _sleep(self, seconds: float) -> None:
        """Wait before the pipeline runs, unless the job is not to run any more."""
        if self._asked.wait(seconds):
            raise JobCancelledError(f"job {self._order.name!r} was cancelled before it began")

    def _follow(self, job: JobHandle) -> None:
        with self._lock:
            self._job = job
            wanted = self._wanted
        if wanted is not None:
            _tell(job, wanted)
        # In slices within: SIGTERM drains the job.
        while not job.poll(_EVERY):
            self._note()

    def _note(self) -> None:
        """Leave word of what has been done, should this process be killed."""
        try:
            self._folder.write_progress(self.progress())
        except OSError as error:
            # The job itself may do without.
            logger.warning("cannot note how far the job has come: %s", error)

    def progress(self) -> Progress:
        """Return what the job has done until now."""
        with self._lock:
            job = self._job
        if job is None:
            return Progress(STARTING, self._order.attempt)
        result = job.result
        if result is not None:
            return self._result_progress(job, result)
        history = job.history
        return Progress(
            status="running",
            attempt=self._order.attempt,
            duration=job.elapsed,
            operators=job.metrics,
            dead_letter_count=job.dead_letter_count,
            resumed_from=history.resumed_from,
            restarts=self._before.restarts + history.restarts,
            checkpoints=self._before.checkpoints + history.checkpoints,
            failed_checkpoints=self._before.failed_checkpoints + history.failed_checkpoints,
            last_checkpoint=history.last_checkpoint,
            gpus=job.gpus,
        )

    def stop(self) -> Progress:
        """Have the job drain."""
        return self._ask(Order.STOP)

    def cancel(self) -> Progress:
        """Have the job stop at once."""
        return self._ask(Order.CANCEL)

    def _ask(self, order: Order) -> Progress:
        with self._lock:
            job = self._job
            if job is None and self._wanted is not Order.CANCEL:
                self._wanted = order
                self._asked.set()
        if job is not None:
            _tell(job, order)
        return self.progress()

    def _result_progress(self, job: JobHandle, result: JobResult) -> Progress:
        return Progress(
            status=result.status.value,
            attempt=self._order.attempt,
            duration=result.duration,
            operators=result.operators,
            error=None if result.error is None else error_text(result.error),
            abandoned=result.abandoned,
            dead_letter_count=result.dead_letter_count,
            resumed_from=result.resumed_from,
            restarts=self._before.restarts + result.restarts,
            checkpoints=self._before.checkpoints + result.checkpoints,
            failed_checkpoints=self._before.failed_checkpoints + result.failed_checkpoints,
            last_checkpoint=job.history.last_checkpoint,
            gpus=result.gpus,
        )


def _tell(job: JobHandle, order: Order) -> None:
    if order is Order.STOP:
        job.stop_soon()
    else:
        job.cancel_soon()


def where_from(spec: PipelineSpec, order: DriverOrder, folder: JobFolder) -> Resume:
    """Return the checkpoint that a driver goes on from.

    That is what the user asked for; of one that takes over, the last checkpoint that the job has
    written itself, if there is one. Those of an earlier job in the same folder do not count.
    """
    if spec.config.checkpoint is None:
        return order.resume
    store = CheckpointStore(spec.config.checkpoint.dir, spec.config.checkpoint.keep)
    try:
        latest = max(store.numbers(), default=0)
    finally:
        store.close()
    begun = folder.begun()
    if begun is None:
        folder.write_begun(Begun(latest))
        return order.resume
    return "latest" if order.takes_over and latest > begun.earlier else order.resume


def _details(result: JobResult, lists: Mapping[str, GatheredList]) -> Details:
    if isinstance(result.error, DataflowError):
        # It has the result in turn, of which the client makes one of its own.
        result.error.result = None
    gathered = {name: list(records) for name, records in lists.items()}
    return Details(result.error, result.dead_letters, gathered)
