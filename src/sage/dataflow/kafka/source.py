"""A source that reads topics of Kafka, and can begin again at any record."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from sage.dataflow.context import RuntimeContext
from sage.dataflow.functions.edges import SourceFunction
from sage.dataflow.kafka.client import KafkaClient, Place, out_of_range, shown
from sage.dataflow.kafka.options import KafkaOptions, Start
from sage.dataflow.kafka.record import DECODE_ERRORS, DECODERS, decoding_failed, described
from sage.errors import DataflowError

POLL_RECORDS = 1024

# By topic and partition: where the next record begins.
KafkaOffsets = dict[str, dict[int, int]]


class KafkaSource(SourceFunction):
    """Gives the records of topics; replicas share out the partitions.

    Each replica reads partitions of its own choosing from offsets of its own: there is no consumer
    group whose rebalancing could move them.

    Args:
        options: what to read, and how.
    """

    def __init__(self, options: KafkaOptions) -> None:
        super().__init__()
        self._options = options
        self._decode = DECODERS[options.value_format]
        self._client: KafkaClient | None = None
        self._mine: list[Place] = []
        self._sought: KafkaOffsets | None = None
        self._begun = False
        self._next: dict[Place, int] = {}
        # Of a bounded source: where each partition ends that has not been read to there.
        self._ends: dict[Place, int] = {}
        self._messages: deque[Any] = deque()

    def open(self, context: RuntimeContext) -> None:
        """Reach the brokers and take this replica's share of the partitions.

        Raises:
            ConfigError: librdkafka refuses a key of ``config``.
            DataflowError: no broker answers, or a topic is missing.
        """
        self._client = KafkaClient(self._options, context.logger)
        partitions = self._client.partitions(self._options.topics)
        self._mine = [
            place for place in partitions if _share(place, context.parallelism) == context.index
        ]
        if not self._mine:
            context.logger.warning(
                "replica %d of %r has no partition to read: there are %d for %d replicas",
                context.index,
                context.name,
                len(partitions),
                context.parallelism,
            )

    def execute(self) -> Any:
        """Return the next record, or None when there is nothing now.

        Raises:
            StopIteration: the source is bounded, and its end has come.
            DataflowError: a value is not of the format, or a partition cannot be read.
        """
        while self._messages or self._poll():
            record = self._record(self._messages.popleft())
            if record is not None:
                return record
        if self._options.bounded and not self._ends:
            raise StopIteration
        return None

    def offset(self) -> KafkaOffsets:
        """Return where the next record of each partition of this replica begins."""
        self._begin()
        offsets: KafkaOffsets = {}
        for (topic, number), offset in self._next.items():
            offsets.setdefault(topic, {})[number] = offset
        return offsets

    def seek(self, offset: KafkaOffsets) -> None:
        """Go on from offsets; after ``open`` and before any record.

        A partition that has none is new, and is read from its beginning. A bounded source ends at
        what the topics hold now.
        """
        self._sought = offset

    @staticmethod
    def redistribute(states: Sequence[KafkaOffsets | None], parallelism: int) -> list[KafkaOffsets]:
        """Give every replica all offsets, of which each takes those of its partitions.

        Raises:
            DataflowError: a replica of a bounded source had ended, whose offsets are not kept.
        """
        if any(state is None for state in states):
            raise DataflowError(
                "some replicas of the Kafka source had read their partitions to the end when the "
                f"checkpoint was taken; go on with their number, parallelism={len(states)}"
            )
        merged: KafkaOffsets = {}
        for state in states:
            for topic, offsets in (state or {}).items():
                merged.setdefault(topic, {}).update(offsets)
        return [merged] * parallelism

    def close(self) -> None:
        """Leave the brokers."""
        if self._client is not None:
            self._client.close()

    def _begin(self) -> None:
        """Find out where each partition begins, and ends; at the first call only."""
        if self._begun:
            return
        assert self._client is not None
        for place in self._mine:
            bounds = self._client.bounds(place)
            self._next[place] = self._first(place, bounds)
            if self._options.bounded and self._next[place] < bounds[1]:
                self._ends[place] = bounds[1]
        wanted = self._ends if self._options.bounded else self._next
        self._client.assign({place: self._next[place] for place in wanted})
        self._begun = True

    def _first(self, place: Place, bounds: tuple[int, int]) -> int:
        if self._sought is None:
            return bounds[1] if self._options.start is Start.LATEST else bounds[0]
        topic, number = place
        first = self._sought.get(topic, {}).get(number, bounds[0])
        if not bounds[0] <= first <= bounds[1]:
            raise out_of_range(shown(place), first, bounds)
        return first

    def _poll(self) -> bool:
        """Fetch what is here already; say whether there was anything."""
        self._begin()
        assert self._client is not None
        self._messages.extend(self._client.poll(POLL_RECORDS))
        return bool(self._messages)

    def _record(self, message: Any) -> Any:
        """Return a message's record; None when it has none for the stream."""
        assert self._client is not None
        place: Place = (message.topic(), message.partition())
        if message.error() is not None:
            if self._client.is_end(message) and place in self._ends:
                # The last offsets may be those of transactions' marks, which are no records.
                self._finish(place)
            return None
        offset: int = message.offset()
        if self._options.bounded:
            if place not in self._ends:
                return None
            if offset >= self._ends[place] - 1:
                inside = offset < self._ends[place]
                self._finish(place)
                if not inside:
                    return None
        record = self._decoded(message)
        self._next[place] = offset + 1
        return record

    def _finish(self, place: Place) -> None:
        assert self._client is not None
        self._next[place] = self._ends.pop(place)
        self._client.pause(place)

    def _decoded(self, message: Any) -> Any:
        value = message.value()
        if value is not None:
            try:
                value = self._decode(value)
            except DECODE_ERRORS as error:
                raise decoding_failed(message, self._options.value_format, error) from error
        if self._options.metadata:
            return described(message, value)
        if value is None:
            # None in a stream would mean that there is nothing now.
            assert self.context is not None
            self.context.metrics.add("empty_values")
        return value


def _share(place: Place, replicas: int) -> int:
    """Return the replica that reads a partition: the same one when partitions are added."""
    topic, number = place
    return (zlib.crc32(topic.encode()) + number) % replicas
