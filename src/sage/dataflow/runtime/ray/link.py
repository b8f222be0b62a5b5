"""From one actor to the inboxes of others: couriers that carry what a channel holds.

A replica puts what it emits into channels of its own, as it does on threads. Behind each of them
stands a courier for every inbox that it leads to: one, or, where the replicas of a stage share what
comes, one for each of them, so that the one with room takes next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sage.cluster.opening import load_ray
from sage.dataflow.channel import Channel, ChannelClosed, EndOfStream
from sage.dataflow.control import ControlItem
from sage.dataflow.runtime.failure import Failure
from sage.dataflow.runtime.ray.wire import dump
from sage.errors import OperatorError

# What goes through the object store costs the raylet and both sides some 5 ms of CPU however small
# it is: measured with 1 KB records, 6 µs each in batches of 1 MB and 2 µs in batches of 4 MB.
BATCH_BYTES = 4_000_000
# Calls that are not answered yet: enough to bridge the way of an answer. Where several replicas
# share what comes, it is one: an answer says how much the replica has room for.
CALLS = 4
# Records that come one by one are gathered for so many seconds, the first of them excepted.
LINGER = 0.002


@dataclass(frozen=True, slots=True)
class Route:
    """How a replica reaches the replicas of one stage.

    Attributes:
        stage: the stage's id.
        name: its name, for errors.
        seat: by which its inboxes know this producer.
        capacity: records that may wait here.
        inboxes: the actors, by the channel that leads to them.
    """

    stage: int
    name: str
    seat: int
    capacity: int
    inboxes: tuple[tuple[Any, ...], ...]

    def channels(self) -> list[Channel]:
        """Make the channels that lead there."""
        return [Channel(self.capacity, consumers=len(actors)) for actors in self.inboxes]


class Courier:
    """Carries what a channel holds to one inbox, in its order, with few calls under way.

    Args:
        operator: name of the operator that emits, for errors.
        route: where it leads.
        channel: what it carries.
        consumer: its number among those that take from the channel.
        inbox: the actor that it goes to.
        batch_size: most records in a batch.
        window: bytes that may be under way; one batch always may.
        failed: called with what ends the job.

    Attributes:
        stage: id of the stage that it leads to.
        bytes_out: pickled bytes that were sent.
        under_way: records that are sent and not taken in yet.
    """

    def __init__(
        self,
        operator: str,
        route: Route,
        channel: Channel,
        consumer: int,
        inbox: Any,
        *,
        batch_size: int,
        window: int,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.stage = route.stage
        self._operator = operator
        self._route = route
        self._channel = channel
        self._consumer = consumer
        self._inbox = inbox
        self._batch_size = batch_size
        self._window = window
        self._failed = failed
        self._sent = 0
        self._room = batch_size
        self._fitting = 1
        # Each call that is not answered, with its bytes and its records.
        self._calls: deque[tuple[Any, int, int]] = deque()
        self._most_calls = CALLS if len(route.inboxes[0]) == 1 else 1
        self.bytes_out = 0
        self.under_way = 0
        self._thread = threading.Thread(
            target=self._run, name=f"{operator} to {route.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def join(self) -> None:
        """Wait until all is delivered, or the job was stopped."""
        self._thread.join()

    def _run(self) -> None:
        ray_error = load_ray().exceptions.RayError
        try:
            self._carry()
        except ChannelClosed:
            pass
        except ray_error as error:
            self._failed(self._unreachable(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not go on without
            self._failed(error)

    def _carry(self) -> None:
        while True:
            while len(self._calls) >= self._most_calls:
                self._settle()
            limit = min(self._fitting, self._room)
            try:
                taken = self._channel.take(limit, consumer=self._consumer)
            except EndOfStream:
                self._send(None)
                while self._calls:
                    self._settle()
                return
            began = time.perf_counter()
            self._send(taken)
            if not isinstance(taken, ControlItem) and len(taken) < limit:
                time.sleep(max(LINGER + began - time.perf_counter(), 0.0))

    def _send(self, sent: list[Any] | ControlItem | None) -> None:
        records = len(sent) if isinstance(sent, list) else 0
        self.under_way += records
        payload = self._dumped(sent)
        self._learn(len(payload), records)
        while self._calls and self._bytes + len(payload) > self._window:
            self._settle()
        call = self._inbox.push.remote(self._route.seat, self._sent, payload)
        self._sent += 1
        self.bytes_out += len(payload)
        self._calls.append((call, len(payload), records))

    @property
    def _bytes(self) -> int:
        return sum(size for _, size, _ in self._calls)

    def _learn(self, size: int, records: int) -> None:
        """Let a batch at most double, and hold what is worth a call."""
        if records:
            fitting = min(BATCH_BYTES, self._window // 2) * records // size
            self._fitting = max(1, min(fitting, 2 * self._fitting, self._batch_size))

    def _settle(self) -> None:
        """Wait for the answer to the oldest call."""
        # Not ray.get: in an async actor it warns that it might hold up the event loop.
        answer = self._calls[0][0].future().result()
        _, _, records = self._calls.popleft()
        self.under_way -= records
        if answer is None:
            raise ChannelClosed
        if isinstance(answer, Failure):
            raise answer.error(self._route.name)
        self._room = answer

    def _dumped(self, sent: list[Any] | ControlItem | None) -> bytes:
        try:
            return dump(sent)
        except Exception as error:
            raise OperatorError(self._operator, "<emitted records>", error) from error

    def _unreachable(self, error: BaseException) -> OperatorError:
        reason, *_ = str(error).strip().splitlines() or [type(error).__name__]
        cause = RuntimeError(f"its actor cannot be reached: {reason}")
        return OperatorError(self._route.name, "<batch>", cause)
