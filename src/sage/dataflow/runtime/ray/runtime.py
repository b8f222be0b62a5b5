"""Every stage replica in a Ray actor; the driver holds the checkpoints, the counts and the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sage.cluster.opening import load_ray
from sage.dataflow.control import Barrier
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.runtime.backend import Attempt
from sage.dataflow.runtime.feed import SLICE
from sage.dataflow.runtime.ray.cluster import JobCluster
from sage.dataflow.runtime.ray.crew import Crew
from sage.dataflow.runtime.ray.far_replica import FarReplica
from sage.dataflow.runtime.ray.orders import Report
from sage.dataflow.runtime.ray.wire import load
from sage.errors import DataflowError

# Seconds after which an actor reports its counts when it has nothing else to tell.
PATIENCE = 1.0
AT_FIRST = 0.1
LAST_WAIT = 1.0


class RayRuntime:
    """Runs a plan on the actors of a cluster.

    Args:
        attempt: what to run, and from where.
        orders: for each stage's replicas, what their actors are told, pickled.
        lists: of the caller's, by the id of the sink that appends to them.
        cluster: where.
        clock: seconds.
    """

    def __init__(
        self,
        attempt: Attempt,
        orders: Sequence[Sequence[bytes]],
        lists: Mapping[int, list[Any]],
        cluster: JobCluster,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._attempt = attempt
        self._orders = orders
        self._lists = lists
        self._clock = clock
        self._crew = Crew(attempt.plan, cluster, clock)
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._begun = False
        self._paused = False
        self._abandoned = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray job", daemon=True)

    @property
    def operators(self) -> list[OperatorReplica]:
        """Every operator's replicas, with the counts last reported."""
        return [operator for replica in self._crew.replicas for operator in replica.operators]

    @property
    def error(self) -> BaseException | None:
        """What stopped the job, if anything did."""
        return self._error

    @property
    def blocking(self) -> bool:
        """Whether `start` runs to the end: it does not."""
        return False

    @property
    def ended(self) -> bool:
        """Whether every replica has ended."""
        return self._done.is_set()

    def worker_pids(self) -> list[int]:
        """Return none: the processes are Ray's, on other machines too."""
        return []

    def queued(self) -> Mapping[int, int]:
        """Return how many records wait before an operator or on the way to it, by its id."""
        return self._crew.queued()

    def start(self) -> None:
        """Start to place the actors, in a thread that then follows them."""
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; say whether it has come."""
        # In slices, as on threads: a signal may come just before a lock is waited for.
        ends = None if timeout is None else self._clock() + timeout
        while not self._done.wait(SLICE if ends is None else min(SLICE, ends - self._clock())):
            if ends is not None and self._clock() >= ends:
                return False
        return True

    def pause(self, paused: bool) -> None:
        """Hold the sources, or let them go on; what they have given flows through."""
        with self._lock:
            self._paused = paused
            self._tell_sources("pause", paused)

    def stop(self) -> None:
        """Let the sources end, with a last checkpoint if there are any; what they gave flows on."""
        with self._lock:
            begun = self._begun
            if begun and self._attempt.checkpointer is None:
                self._tell_sources("stop")
        if not begun:
            # Nothing is given yet: there is nothing to drain, and nothing to save.
            self.cancel()
        elif self._attempt.checkpointer is not None:
            self._attempt.checkpointer.stop()

    def cancel(self) -> None:
        """Stop every replica after the batch it works on."""
        with self._lock:
            self._attempt.services.cancelled.set()
            for replica in self._crew.running:
                replica.actor.cancel.remote()

    def fail(self, error: BaseException) -> None:
        """End the job with an error, unless one has ended it already."""
        with self._lock:
            if not self._abandoned:
                self._error = self._error or error
        self.cancel()

    def signalled(self) -> None:
        """Do nothing: whoever waits calls `stop`."""

    def interrupt(self) -> None:
        """Do nothing: the job does not run in the caller."""

    def abandon(self) -> tuple[str, ...]:
        """Kill the actors; return the names of the replicas that had not ended."""
        self._abandoned = True
        left = tuple(replica.name for replica in self._crew.running)
        self._crew.kill()
        self._done.wait(LAST_WAIT)
        self._end()
        return left

    def _tell_sources(self, what: str, *arguments: Any) -> None:
        if self._begun:
            for replica in self._crew.running:
                if not replica.stage.inputs:
                    getattr(replica.actor, what).remote(*arguments)

    def _send_barrier(self, barrier: Barrier) -> None:
        for replica in self._crew.running:
            if replica.sends_barriers:
                replica.actor.barrier.remote(barrier)

    def _run(self) -> None:
        try:
            self._crew.place(self._orders, self._attempt.services.cancelled)
            # They may hold whole collections of records, which the actors have now.
            self._orders = ()
            self._begin()
            self._follow()
        except BaseException as error:  # noqa: BLE001 - the handle raises it to whoever waits
            self.fail(error)
        finally:
            self._crew.kill()
            self._end()

    def _begin(self) -> None:
        with self._lock:
            if self._attempt.services.cancelled.is_set():
                return
            self._crew.begin(self._attempt.config.channel_capacity)
            self._begun = True
            if self._paused:
                self._tell_sources("pause", True)
        if self._attempt.checkpointer is not None:
            self._attempt.checkpointer.on_barrier(self._send_barrier)
            self._attempt.checkpointer.start()

    def _follow(self) -> None:
        """Take the actors' reports until all have ended."""
        if not self._begun:
            return
        asked = {replica.actor.report.remote(AT_FIRST): replica for replica in self._crew.running}
        while asked:
            for call in self._crew.answered(asked):
                replica = asked.pop(call)
                self._hear(replica, call)
                if not replica.over:
                    asked[replica.actor.report.remote(PATIENCE)] = replica

    def _hear(self, replica: FarReplica, call: Any) -> None:
        ray = load_ray()

        try:
            report: Report = load(ray.get(call))
        except ray.exceptions.RayError as error:
            death = replica.death(error)
            if not self._attempt.services.cancelled.is_set():
                self.fail(death)
            return
        try:
            self._take_news(replica, report)
        except Exception as error:  # noqa: BLE001 - a user's sink of dead letters may raise anything
            self.fail(error)
        replica.learn(report)

    def _take_news(self, replica: FarReplica, report: Report) -> None:
        news, checkpointer = report.news, self._attempt.checkpointer
        for gathered in news.gathered:
            records = self._lists[gathered.operator]
            if gathered.keep is not None:
                del records[gathered.keep :]
            records.extend(gathered.records)
        for letter in news.letters:
            self._attempt.services.dead_letters.add(letter)
        if checkpointer is not None:
            for barrier, states in news.saved:
                checkpointer.save(replica.part, barrier, states)
            if news.ended is not None:
                checkpointer.end(replica.part, news.ended)
        if news.failure is not None:
            self.fail(news.failure.error(replica.stage.name))

    def _end(self) -> None:
        with self._lock:
            if self._done.is_set():
                return
            checkpointer, services = self._attempt.checkpointer, self._attempt.services
            try:
                services.registered.close()
            except DataflowError as error:
                self._error = self._error or error
            if checkpointer is not None and self._begun:
                finished = self._error is None and not services.cancelled.is_set()
                failure = checkpointer.close(finished=finished)
                self._error = self._error or failure
            if self._attempt.on_end is not None:
                self._attempt.on_end()
            self._done.set()
