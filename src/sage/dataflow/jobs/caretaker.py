"""Looks after jobs: starts their drivers, hears of them, and starts others for those that died."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from sage.dataflow.jobs.control import ask_driver
from sage.dataflow.jobs.drivers import Drivers
from sage.dataflow.jobs.folder import DriverOrder
from sage.dataflow.jobs.life import JobState, Order
from sage.dataflow.jobs.recovery import recovery_policy
from sage.dataflow.jobs.registry import JobRegistry
from sage.dataflow.jobs.store import JobRecord

logger = logging.getLogger("sage.dataflow.jobs")

TICK = 0.1
_PAUSE = 1.0
# A driver that has not said who it is after so many seconds never will.
_BIRTH = 20.0
# Seconds for a driver to end after a cancel, more than it gives to operators itself.
PATIENCE = 15.0
# Bytes, in two files.
LOG_LIMIT = 64 << 20
# Seconds after a job's end for which its log may still grow: what a driver has started may live on.
LAST_WORDS = 5.0


class Caretaker:
    """Looks after the jobs of a registry.

    Args:
        registry: the jobs.
        clock: seconds since the epoch.
        elapsed: seconds of a clock that never goes back.
        log_limit: bytes that are kept of a job's log.
    """

    def __init__(
        self,
        registry: JobRegistry,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
        *,
        log_limit: int = LOG_LIMIT,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._elapsed = elapsed
        self._drivers = Drivers(log_limit)
        # By job: the last order that a driver has heard, and that driver's number.
        self._told: dict[str, tuple[int, Order]] = {}
        # By job and driver: since when it is to be cancelled.
        self._cancelled: dict[tuple[str, int], float] = {}

    async def run(self) -> None:
        """Look after the jobs until cancelled; the drivers go on then."""
        logger.info("%d jobs are under way", len(self._registry.live))
        while True:
            self._drivers.reap()
            # All at once: a driver that does not answer holds up its own job alone.
            await asyncio.gather(*map(self._try_to_look_after, tuple(self._registry.live)))
            await asyncio.sleep(TICK)

    def close(self) -> None:
        """Leave the drivers to themselves."""
        self._drivers.forget()

    def writes_log(self, record: JobRecord) -> bool:
        """Say whether more of a job's log is to be waited for."""
        if not record.life.state.final:
            return True
        late = self._clock() - (record.ended or 0.0) > LAST_WORDS
        return not late and self._drivers.writes_log(self._registry.folder(record.id))

    async def look_after(self, id_: str) -> None:
        """Do for a job what is to be done now."""
        record = self._registry.live.get(id_)
        if record is None:
            return
        if record.life.waits:
            if record.life.due is None or record.life.due <= self._clock():
                self.start(record)
            return
        alive = self._alive(record)
        # In this order: a driver leaves its result before it goes.
        result = self._registry.result(record)
        if result is not None:
            life = record.life.ended(JobState(result.status), result.error)
            self._registry.live_on(record, life)
            self._told.pop(id_, None)
            logger.info("job %s %s", id_, life.state)
        elif not alive:
            self._lose(record)
        elif self._is_deaf(record):
            logger.warning("job %s: its driver does not end when it is told to; it is killed", id_)
            self._drivers.kill(record.pid or 0)
        elif self._untold(record) or record.life.state is not JobState.RUNNING:
            await self._talk(record)

    async def _try_to_look_after(self, id_: str) -> None:
        try:
            await self.look_after(id_)
        except Exception:
            # The others must be looked after; this one may do better in a moment.
            logger.exception("job %s cannot be looked after", id_)
            await asyncio.sleep(_PAUSE)

    def start(self, record: JobRecord) -> None:
        """Start a job's next driver."""
        takes_over = record.life.state is JobState.LOST
        # Its number is written down before, so that none is ever given twice.
        record = self._registry.update(
            msgspec.structs.replace(
                record,
                life=record.life.started(),
                started=self._clock(),
                pid=None,
                pid_created=None,
            )
        )
        folder = self._registry.folder(record.id)
        order = DriverOrder(
            record.life.attempt, record.name, record.resume, takes_over, record.profile
        )
        try:
            folder.write_order(order)
            pid, pid_created = self._drivers.start(folder, record.folder)
        except OSError as error:
            why = f"its driver cannot be started: {error.strerror or error}"
            self._registry.live_on(record, record.life.ended(JobState.FAILED, why))
            return
        self._registry.update(msgspec.structs.replace(record, pid=pid, pid_created=pid_created))

    async def _talk(self, record: JobRecord) -> None:
        """Tell the driver what the user wants, and hear whether the pipeline runs by now."""
        driver = self._registry.folder(record.id).driver()
        if driver is None or driver.attempt != record.life.attempt:
            return
        order = self._untold(record)
        progress = await ask_driver(driver.socket, order or "progress")
        if progress is None:
            return
        if order is not None:
            self._told[record.id] = (record.life.attempt, order)
        now = self._registry.live.get(record.id)
        if progress.status == JobState.RUNNING and now is not None and now.life == record.life:
            self._registry.live_on(now, now.life.runs())

    def _is_deaf(self, record: JobRecord) -> bool:
        """Say whether a driver has had long enough to end after it was told to cancel the job."""
        if record.life.order is not Order.CANCEL or record.pid is None:
            return False
        key = (record.id, record.life.attempt)
        since = self._cancelled.setdefault(key, self._elapsed())
        return self._elapsed() - since > PATIENCE

    def _untold(self, record: JobRecord) -> Order | None:
        """Return what the driver is to be told, unless it has heard it."""
        order = record.life.order
        return None if self._told.get(record.id) == (record.life.attempt, order) else order

    def _alive(self, record: JobRecord) -> bool:
        if self._drivers.alive(record.pid, record.pid_created):
            return True
        driver = self._registry.folder(record.id).driver()
        if driver is not None and driver.attempt == record.life.attempt:
            return self._drivers.alive(driver.pid, driver.pid_created)
        # The manager may have ended between starting it and writing down its pid.
        return record.pid is None and self._clock() - (record.started or 0.0) < _BIRTH

    def _lose(self, record: JobRecord) -> None:
        how = self._drivers.farewell(record.pid)
        life = record.life.lost(self._clock(), recovery_policy(record.recovery), how)
        self._registry.live_on(record, life)
        if life.state.final:
            logger.warning("job %s %s: %s", record.id, life.state, how)
        else:
            logger.warning("job %s: %s; another one takes over", record.id, how)
