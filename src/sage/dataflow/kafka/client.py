"""The client of the brokers: confluent-kafka's consumer, with its errors turned into ours."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from sage.dataflow.kafka.log import ClientLog
from sage.dataflow.kafka.options import KafkaOptions
from sage.errors import ConfigError, DataflowError, nearest

Place = tuple[str, int]


def load_client() -> Any:
    """Return the module of the client.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError:
        raise ConfigError("Kafka needs confluent-kafka: pip install 'sage-stack[kafka]'") from None


class KafkaClient:
    """Reads partitions that it is told to, from offsets that it is told.

    Args:
        options: how to reach the brokers.
        logger: for what goes wrong and rights itself.

    Raises:
        ConfigError: librdkafka does not know a key, or refuses its value.
    """

    def __init__(self, options: KafkaOptions, logger: logging.Logger) -> None:
        self._kafka = load_client()
        self._servers = options.bootstrap_servers
        self._timeout = options.timeout
        self._logger = logger
        self._fatal: Any = None
        config = {**options.client_config(), "error_cb": self._on_error}
        try:
            self._consumer = self._kafka.Consumer(config, logger=ClientLog(logger))
        except (self._kafka.KafkaException, TypeError, ValueError) as error:
            raise ConfigError(f"config of a Kafka source: {reason_of(error)}") from None

    def partitions(self, topics: Iterable[str]) -> list[Place]:
        """Return the partitions of topics.

        Raises:
            DataflowError: no broker answers, or there is no such topic.
        """
        found = find_topics(self._consumer, topics, self._servers, self._timeout)
        return [(topic, number) for topic in topics for number in sorted(found[topic].partitions)]

    def bounds(self, place: Place) -> tuple[int, int]:
        """Return the first offset that a partition holds, and the one after its last.

        Raises:
            DataflowError: no broker answers for it.
        """
        try:
            bounds: tuple[int, int] = self._consumer.get_watermark_offsets(
                self._kafka.TopicPartition(*place), timeout=self._timeout
            )
        except self._kafka.KafkaException as error:
            raise DataflowError(f"{shown(place)}: {reason_of(error)}") from None
        return bounds

    def assign(self, offsets: Mapping[Place, int]) -> None:
        """Begin to read partitions, each from an offset."""
        self._consumer.assign(
            [self._kafka.TopicPartition(*place, offset) for place, offset in offsets.items()]
        )

    def pause(self, place: Place) -> None:
        """Fetch no more of a partition."""
        self._consumer.pause([self._kafka.TopicPartition(*place)])

    def poll(self, limit: int) -> list[Any]:
        """Return messages that are here already, without waiting.

        Raises:
            DataflowError: the client cannot go on.
        """
        messages: list[Any] = self._consumer.consume(limit, 0)
        if self._fatal is not None:
            raise DataflowError(f"Kafka at {self._servers}: {self._fatal.str()}")
        return messages

    def is_end(self, message: Any) -> bool:
        """Say whether a message says that its partition holds no more for now.

        Raises:
            DataflowError: it says that the partition cannot be read.
        """
        code = message.error().code()
        if code == self._kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            return True
        place = shown((message.topic(), message.partition()))
        if code == self._kafka.KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - as above
            raise out_of_range(place, message.offset())
        raise DataflowError(f"{place}: {message.error().str()}")

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def _on_error(self, error: Any) -> None:
        codes = self._kafka.KafkaError
        if error.fatal() or error.code() in (codes._AUTHENTICATION, codes._SSL):  # noqa: SLF001
            self._fatal = error
        elif error.code() == codes._ALL_BROKERS_DOWN:  # noqa: SLF001 - as above
            self._logger.warning("no Kafka broker answers at %s; trying on", self._servers)


def find_topics(
    client: Any, topics: Iterable[str], servers: str, timeout: float
) -> Mapping[str, Any]:
    """Return what the brokers say of topics.

    Args:
        client: a consumer or producer.
        topics: their names.
        servers: the brokers, for errors.
        timeout: seconds to wait for an answer.

    Raises:
        DataflowError: no broker answers, or there is no such topic.
    """
    try:
        # Of all topics: asked for one that is not there, a broker may create it.
        known: Mapping[str, Any] = client.list_topics(timeout=timeout).topics
    except load_client().KafkaException as error:
        raise DataflowError(
            f"no Kafka broker answers at {servers} within {timeout} s ({reason_of(error)}); check "
            "bootstrap_servers and that it runs; the log says what it tried"
        ) from None
    for topic in topics:
        if topic not in known:
            close = nearest(topic, known)
            hint = f"did you mean {close!r}?" if close else "create it first"
            raise DataflowError(f"there is no topic {topic!r} at {servers}; {hint}")
    return known


def shown(place: Place) -> str:
    """Return a partition's name for messages."""
    return f"topic {place[0]!r}, partition {place[1]}"


def out_of_range(place: str, offset: int, bounds: tuple[int, int] | None = None) -> DataflowError:
    """Return the error for an offset that the broker does not have."""
    held = f"it holds {bounds[0]} to {bounds[1] - 1}" if bounds else "they were deleted"
    return DataflowError(
        f"{place}: the records from offset {offset} on are not there ({held}); the checkpoint is "
        "older than what the topic keeps, or the topic was made anew. Start without resume="
    )


def reason_of(error: BaseException) -> str:
    """Return what the client says, without its codes."""
    first = error.args[0] if error.args else error
    return str(first.str()) if hasattr(first, "str") else str(first)
