"""What an actor has to tell the driver beside its counts."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

from sage.dataflow.checkpoint.gathering import States
from sage.dataflow.control import Barrier
from sage.dataflow.dead_letters import DeadLetter
from sage.dataflow.runtime.failure import Failure

# Records for a list of the driver's that may wait to be fetched.
MOST_GATHERED = 8192
# News that can wait a moment are fetched together.
LINGER = 0.02


@dataclass(slots=True)
class Gathered:
    """Records for a list in the driver.

    Attributes:
        operator: id of the sink.
        keep: how many records the list is to be cut to before; None leaves it as it is.
        records: to append.
    """

    operator: int
    keep: int | None = None
    records: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class News:
    """What has happened since the last report, to be taken in this order.

    Attributes:
        gathered: for lists in the driver.
        letters: records that were given up.
        saved: states at barriers.
        ended: the last states, the input having ended.
        failure: what ends the job.
    """

    gathered: list[Gathered] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    saved: list[tuple[Barrier, States]] = field(default_factory=list)
    ended: States | None = None
    failure: Failure | None = None


class Outbox:
    """Gathers news, from any thread, until they are fetched.

    Args:
        loop: the event loop on which they are waited for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news = News()
        self._some = asyncio.Event()
        self._urgent = asyncio.Event()
        self._lock = threading.Lock()
        self._fetched = threading.Condition(self._lock)
        self._closed = False

    async def wait(self, patience: float) -> None:
        """Wait until there are news, or for so many seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._some.wait()
        except TimeoutError:
            return
        try:
            async with asyncio.timeout(LINGER):
                await self._urgent.wait()
        except TimeoutError:
            return

    def fetch(self) -> News:
        """Return the news; on the event loop."""
        with self._lock:
            news, self._news = self._news, News()
            self._some.clear()
            self._urgent.clear()
            self._fetched.notify_all()
        return news

    def letter(self, letter: DeadLetter) -> None:
        """Take a dead letter."""
        with self._lock:
            self._news.letters.append(letter)
            self._tell(urgent=False)

    def saved(self, barrier: Barrier, states: States) -> None:
        """Take the state at a barrier."""
        with self._lock:
            self._news.saved.append((barrier, states))
            self._tell(urgent=True)

    def ended(self, states: States) -> None:
        """Take the last state."""
        with self._lock:
            self._news.ended = states
            self._tell(urgent=True)

    def failed(self, failure: Failure) -> None:
        """Take what ends the job; only the first counts."""
        with self._lock:
            self._news.failure = self._news.failure or failure
            self._tell(urgent=True)

    def over(self) -> None:
        """Tell that all is done."""
        with self._lock:
            self._tell(urgent=True)

    def gather(self, operator: int, record: Any) -> None:
        """Take a record for a list in the driver, waiting while many wait to be fetched."""
        with self._lock:
            records = self._gathered(operator).records
            records.append(record)
            full = len(records) >= MOST_GATHERED
            if full or len(records) == 1:
                self._tell(urgent=full)
            while full and not self._closed and self._news.gathered:
                self._fetched.wait()

    def cut(self, operator: int, keep: int) -> None:
        """Have a list in the driver cut to what it was at a checkpoint."""
        with self._lock:
            self._news.gathered.append(Gathered(operator, keep))
            self._tell(urgent=False)

    def close(self) -> None:
        """Let nobody wait any more: the job was stopped."""
        with self._lock:
            self._closed = True
            self._fetched.notify_all()

    def _gathered(self, operator: int) -> Gathered:
        gathered = self._news.gathered
        if not gathered or gathered[-1].operator != operator:
            gathered.append(Gathered(operator))
        return gathered[-1]

    def _tell(self, *, urgent: bool) -> None:
        self._loop.call_soon_threadsafe(self._some.set)
        if urgent:
            self._loop.call_soon_threadsafe(self._urgent.set)
