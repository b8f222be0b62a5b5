"""What users may ask of a job manager, apart from HTTP."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import msgspec

from sage.dataflow.jobs.caretaker import LOG_LIMIT, Caretaker
from sage.dataflow.jobs.control import ask_driver
from sage.dataflow.jobs.job_log import read_log
from sage.dataflow.jobs.life import Order
from sage.dataflow.jobs.recovery import recovery_policy
from sage.dataflow.jobs.registry import JobRegistry, shown
from sage.dataflow.jobs.store import JobRecord
from sage.dataflow.jobs.versions import check_versions, versions_here
from sage.dataflow.jobs.wire import JobOutcome, JobView, Progress, Submission
from sage.errors import ConfigError, JobManagerError, UnknownJobError

logger = logging.getLogger("sage.dataflow.jobs")

_LONGEST_NAME = 200


class JobManager:
    """The jobs of one user: submitted, looked after, and found again after a restart.

    Used on one event loop.

    Args:
        root: the folder of the database and of the jobs' folders.
        clock: seconds since the epoch.
        log_limit: bytes that are kept of a job's log.

    Raises:
        JobManagerError: the database cannot be used.
    """

    def __init__(
        self,
        root: Path,
        clock: Callable[[], float] = time.time,
        *,
        log_limit: int = LOG_LIMIT,
    ) -> None:
        self._clock = clock
        self._registry = JobRegistry(root, clock)
        self._caretaker = Caretaker(self._registry, clock, log_limit=log_limit)
        self._versions = versions_here()

    async def run(self) -> None:
        """Look after the jobs until cancelled; their drivers go on then."""
        await self._caretaker.run()

    def leave(self) -> None:
        """Let nobody wait any longer for the end of a job or for more of its log."""
        self._registry.closing = True
        self._registry.pulse()

    def close(self) -> None:
        """Close the database and leave the drivers to themselves."""
        self._caretaker.close()
        self._registry.close()

    def submit(self, submission: Submission) -> JobView:
        """Take a job; it starts at once.

        Raises:
            VersionMismatchError: it was made with versions that this manager does not have.
            ConfigError: its name is empty or too long, or its restart policy is wrong.
            JobManagerError: its folder cannot be written.
        """
        check_versions(submission.versions, self._versions)
        if not 0 < len(submission.name) <= _LONGEST_NAME:
            raise ConfigError(f"a job's name has 1 to {_LONGEST_NAME} characters")
        recovery_policy(submission.recovery)
        record = self._added(submission)
        logger.info("job %s was submitted", record.id)
        self._caretaker.start(record)
        return shown(self._registry.get(record.id))

    def jobs(self) -> tuple[JobView, ...]:
        """Return all jobs, the newest first."""
        return tuple(shown(record) for record in self._registry.all())

    async def job(self, id_: str) -> JobView:
        """Return a job with its progress.

        Raises:
            UnknownJobError: there is none of that id.
        """
        progress = await self._progress(self._registry.get(id_))
        # It may have ended while the driver was asked.
        return shown(self._registry.get(id_), progress)

    async def outcome(self, id_: str, wait: float) -> JobOutcome | None:
        """Return how a job ended; None when it has not after ``wait`` seconds.

        Raises:
            UnknownJobError: there is none of that id.
        """
        deadline = asyncio.get_running_loop().time() + wait
        while not (record := self._registry.get(id_)).life.state.final:
            if self._registry.closing or not await self._registry.news(deadline):
                return None
        result = self._registry.result(record)
        details = self._registry.folder(id_).details
        packed = details.read_bytes() if result is not None and details.exists() else None
        return JobOutcome(shown(record, result or self._registry.folder(id_).progress()), packed)

    async def order(self, id_: str, order: Order) -> JobView:
        """Tell a job to end.

        Raises:
            UnknownJobError: there is none of that id.
            JobManagerError: it has ended already.
        """
        record = self._registry.get(id_)
        self._registry.live_on(record, record.life.ordered(order))
        logger.info("job %s is told to %s", id_, order)
        await self._caretaker.look_after(id_)
        return await self.job(id_)

    def resume(self, id_: str, checkpoint: Literal["latest"] | int) -> JobView:
        """Have a job that has ended go on from a checkpoint.

        Raises:
            UnknownJobError: there is none of that id.
            JobManagerError: it has not ended, has finished, or has no checkpoints.
            VersionMismatchError: this manager has other versions than the job was made with.
        """
        record = self._registry.get(id_)
        life = record.life.resumed()
        if record.recovery.checkpoints is None:
            raise JobManagerError(
                f"job {id_!r} writes no checkpoints; give its environment "
                'config={"checkpoint": {"dir": …}} and submit it again'
            )
        check_versions(record.versions, self._versions)
        self._registry.folder(id_).renew()
        record = msgspec.structs.replace(
            record, life=life, resume=checkpoint, ended=None, pid=None, pid_created=None
        )
        self._caretaker.start(self._registry.update(record))
        return shown(self._registry.get(id_))

    def delete(self, id_: str) -> None:
        """Forget a job that has ended, with its log and result; its checkpoints stay.

        Raises:
            UnknownJobError: there is none of that id.
            JobManagerError: it has not ended.
        """
        record = self._registry.get(id_)
        if not record.life.state.final:
            raise JobManagerError(
                f"job {id_!r} is {record.life.state}; stop or cancel it before you delete it"
            )
        self._registry.remove(id_)

    def log(self, id_: str, lines: int | None, *, follow: bool) -> AsyncIterator[bytes]:
        """Yield a job's log, in whole lines.

        Args:
            id_: of the job.
            lines: so many of the last ones; None for all.
            follow: go on with what is added, until the job ends.

        Raises:
            UnknownJobError: there is none of that id.
        """
        final = self._registry.get(id_).life.state.final

        def ended() -> bool:
            return self._registry.closing or not self._writes_log(id_)

        # The last lines of a job that has just ended may still be on their way.
        log = self._registry.folder(id_).log
        return read_log(log, lines, ended if follow or final else None)

    def _writes_log(self, id_: str) -> bool:
        try:
            return self._caretaker.writes_log(self._registry.get(id_))
        except UnknownJobError:  # it was deleted meanwhile
            return False

    def _added(self, submission: Submission) -> JobRecord:
        while True:
            record = JobRecord(
                id=_new_id(submission.name),
                name=submission.name,
                created=self._clock(),
                versions=submission.versions,
                config=submission.config,
                recovery=submission.recovery,
                folder=submission.folder,
                profile=submission.profile,
                resume=submission.resume,
            )
            try:
                self._registry.folder(record.id).make(submission.pipeline)
            except FileExistsError:
                continue
            except OSError as error:
                why = error.strerror or error
                raise JobManagerError(
                    f"cannot write to {self._registry.root}: {why}; free space there"
                ) from error
            if self._registry.add(record):
                return record

    async def _progress(self, record: JobRecord) -> Progress | None:
        result = self._registry.result(record)
        folder = self._registry.folder(record.id)
        driver = folder.driver()
        if result is not None:
            return result
        answer = None
        if (
            record.life.state.driven
            and driver is not None
            and driver.attempt == record.life.attempt
        ):
            answer = await ask_driver(driver.socket, "progress")
        return answer or folder.progress()


def _new_id(name: str) -> str:
    word = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].rstrip("-") or "job"
    return f"{word}-{secrets.token_hex(3)}"
