"""The manager's jobs, as it has them at hand: their records, folders, and news of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from sage.dataflow.jobs.folder import JobFolder
from sage.dataflow.jobs.life import JobLife
from sage.dataflow.jobs.store import JobRecord, JobStore
from sage.dataflow.jobs.wire import JobView, Progress


class JobRegistry:
    """All jobs of a manager. Used on one event loop.

    Args:
        root: the folder of the database and of the jobs' folders.
        clock: seconds since the epoch.

    Attributes:
        live: the jobs that have not ended, by id.
        closing: whether nobody is to wait for news any more.

    Raises:
        JobManagerError: the database cannot be used.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self.root = root
        self.closing = False
        self._clock = clock
        self._store = JobStore(root / "jobs.sqlite")
        self._changed = asyncio.Event()
        records = self._store.all()
        self.live = {record.id: record for record in records if not record.life.state.final}
        self._remove_orphans({record.id for record in records})

    def close(self) -> None:
        """Close the database."""
        self._store.close()

    def add(self, record: JobRecord) -> bool:
        """Add a job, whose folder is there; say whether its id was free."""
        added = self._store.add(record)
        if added:
            self.live[record.id] = record
        return added

    def get(self, id_: str) -> JobRecord:
        """Return a job.

        Raises:
            UnknownJobError: there is none of that id.
        """
        return self._store.get(id_)

    def all(self) -> list[JobRecord]:
        """Return all jobs, the newest first."""
        return self._store.all()

    def update(self, record: JobRecord) -> JobRecord:
        """Write what has become of a job; return it with the time of its end, if it has ended."""
        final = record.life.state.final
        if final and record.ended is None:
            record = msgspec.structs.replace(record, ended=self._clock())
        self._store.update(record)
        if final:
            self.live.pop(record.id, None)
        else:
            self.live[record.id] = record
        self.pulse()
        return record

    def live_on(self, record: JobRecord, life: JobLife) -> JobRecord:
        """Write where a job is in its life by now."""
        return self.update(msgspec.structs.replace(record, life=life))

    def remove(self, id_: str) -> None:
        """Forget a job."""
        self._store.remove(id_)
        self.folder(id_).remove()
        self.pulse()

    def folder(self, id_: str) -> JobFolder:
        """Return the folder of a job."""
        return JobFolder(self.root / id_)

    def result(self, record: JobRecord) -> Progress | None:
        """Return what a job's present or last driver has left; None when it has nothing."""
        result = self.folder(record.id).result()
        return result if result is not None and result.attempt == record.life.attempt else None

    def pulse(self) -> None:
        """Wake whoever waits for news."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def news(self, deadline: float) -> bool:
        """Wait for something to change; say whether it has before ``deadline`` of the loop."""
        changed = self._changed
        try:
            async with asyncio.timeout_at(deadline):
                await changed.wait()
        except TimeoutError:
            return False
        return True

    def _remove_orphans(self, known: set[str]) -> None:
        """Remove folders of jobs whose submission was never written down."""
        for path in self.root.iterdir():
            if path.is_dir() and path.name not in known:
                JobFolder(path).remove()


def shown(record: JobRecord, progress: Progress | None = None) -> JobView:
    """Return a job as it is shown.

    Args:
        record: of the job.
        progress: what its driver says or has left.
    """
    life = record.life
    if progress is not None:
        # Another driver is a restart, too.
        restarts = progress.restarts + life.takeovers
        progress = msgspec.structs.replace(progress, restarts=restarts)
    return JobView(
        id=record.id,
        name=record.name,
        state=life.state,
        created=record.created,
        started=record.started,
        ended=record.ended,
        error=life.error,
        attempt=life.attempt,
        pid=record.pid if life.state.driven else None,
        config=record.config,
        versions=record.versions,
        checkpoints_dir=record.recovery.checkpoints,
        progress=progress,
    )
