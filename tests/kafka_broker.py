"""The broker that librdkafka has inside: real sockets and the real protocol, for tests."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import confluent_kafka

PARTITIONS = 4  # of a topic that the broker makes by itself


class Broker:
    """Two brokers in this process, for as long as the producer that they belong to lives."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        self.producer = confluent_kafka.Producer(
            {"bootstrap.servers": "none", "test.mock.num.brokers": 2, "linger.ms": 1},
            logger=logging.getLogger("test.kafka"),
        )
        brokers = self.producer.list_topics(timeout=10).brokers.values()
        self.servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def topic(self, *values: bytes | None, **extra: Any) -> str:
        """Make a topic that holds values, one partition after the other."""
        name = f"topic-{next(self._numbers)}"
        self.write(name, *values, **extra)
        return name

    def write(self, topic: str, *values: bytes | None, **extra: Any) -> None:
        """Write values to a topic, from its first partition on."""
        for number, value in enumerate(values):
            self.producer.produce(topic, value, partition=number % PARTITIONS, **extra)
        assert self.producer.flush(10) == 0

    def numbers(self, count: int) -> str:
        """Make a topic that holds numbers."""
        return self.topic(*(str(number).encode() for number in range(count)))
