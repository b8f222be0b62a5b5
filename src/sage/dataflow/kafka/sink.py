"""A sink that writes a topic of Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Event
from typing import Any

import msgspec

from sage.dataflow.choices import read_choice
from sage.dataflow.context import RuntimeContext
from sage.dataflow.functions.edges import SinkFunction
from sage.dataflow.guard import JobServices
from sage.dataflow.kafka.client import find_topics, load_client, reason_of
from sage.dataflow.kafka.log import ClientLog
from sage.dataflow.kafka.options import ValueFormat
from sage.dataflow.lifecycle import Bound
from sage.dataflow.meter import Meter
from sage.dataflow.sinks.json_lines import plain
from sage.errors import ConfigError, DataflowError

SLICE = 0.1
POLL_EVERY = 256
_OURS = {
    "bootstrap.servers": "say bootstrap_servers=",
    "metadata.broker.list": "say bootstrap_servers=",
    "on_delivery": "the sink counts deliveries itself",
    "dr_cb": "the sink counts deliveries itself",
    "logger": "it is the operator's, sage.dataflow.<name>",
}


class KafkaSink(SinkFunction, Bound):
    """Writes records to a topic: ``stream.sink(KafkaSink, "host:9092", "topic")``.

    Every record is on the brokers when the job has ended well, and when a checkpoint is taken.
    Going on from a checkpoint writes again what came after it: each record at least once.

    Args:
        bootstrap_servers: ``host:port``, one or several.
        topic: its name.
        key: returns a record's key, text or bytes, which decides its partition; None gives none.
        value_format: "json", "text" (records are str) or "bytes".
        timeout: seconds to wait for an answer of the brokers when the job starts.
        config: more of librdkafka's keys; ``message.timeout.ms`` is how long a record waits for a
            broker, 5 minutes by default.
        options: the operator's options.

    Raises:
        ConfigError: a value is wrong, or confluent-kafka is not installed.
    """

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str],
        topic: str,
        *,
        key: Callable[[Any], str | bytes | None] | None = None,
        value_format: str = "json",
        timeout: float = 10.0,
        config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        load_client()
        for name in config or {}:
            if name in _OURS:
                raise ConfigError(f"config of a Kafka sink has {name!r}; {_OURS[name]}")
        one = isinstance(bootstrap_servers, str)
        self._servers = str(bootstrap_servers) if one else ",".join(bootstrap_servers)
        self._topic = topic
        self._key = key
        self._encode = _ENCODERS[read_choice(ValueFormat, value_format, "value_format")]
        self._timeout = timeout
        self._config = dict(config or {})
        self._producer: Any = None
        self._cancelled = Event()
        self._failure: str | None = None
        self._undelivered = 0
        self._until_poll = POLL_EVERY

    def bind(self, services: JobServices, meter: Meter) -> None:  # noqa: ARG002 - counts nothing
        """Learn when the job is cancelled, which ends every wait."""
        self._cancelled = services.cancelled

    def open(self, context: RuntimeContext) -> None:
        """Reach the brokers.

        Raises:
            ConfigError: librdkafka refuses a key of ``config``.
            DataflowError: no broker answers, or the topic is missing.
        """
        kafka = load_client()
        # Without it, a record that is sent again may come twice, or behind a later one.
        config = {"enable.idempotence": True, **self._config, "bootstrap.servers": self._servers}
        try:
            producer = kafka.Producer(config, logger=ClientLog(context.logger))
        except (kafka.KafkaException, TypeError, ValueError) as error:
            raise ConfigError(f"config of a Kafka sink: {reason_of(error)}") from None
        find_topics(producer, [self._topic], self._servers, self._timeout)
        self._producer = producer

    def execute(self, data: Any) -> None:
        """Hand one record to the client, waiting while too many are on their way.

        Raises:
            DataflowError: the record cannot be sent, or one before it was not delivered.
            TypeError: it is not of the format.
        """
        value = self._encode(data)
        key = None if self._key is None else self._key(data)
        self._until_poll -= 1
        if not self._until_poll:
            self._until_poll = POLL_EVERY
            self._producer.poll(0)
        self._check()
        while not self._taken(value, key):
            self._producer.poll(SLICE)
            self._check()

    def flush(self) -> None:
        """Wait until every record is on the brokers.

        Raises:
            DataflowError: one was not delivered.
        """
        while self._producer.flush(SLICE) and not self._cancelled.is_set():
            self._check()
        self._check()

    def close(self) -> None:
        """Give up what is still on its way: there is none when the job has ended well."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(SLICE)
            self._producer = None

    def _taken(self, value: bytes, key: str | bytes | None) -> bool:
        """Hand a record over; say whether there was room for it."""
        try:
            self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
        except BufferError:
            return False
        except load_client().KafkaException as error:
            raise DataflowError(f"topic {self._topic!r}: {reason_of(error)}") from None
        return True

    def _delivered(self, error: Any, message: Any) -> None:  # noqa: ARG002 - of librdkafka
        if error is not None:
            self._undelivered += 1
            self._failure = self._failure or error.str()

    def _check(self) -> None:
        if self._failure is not None:
            raise DataflowError(
                f"topic {self._topic!r} at {self._servers}: {self._undelivered} records were not "
                f"delivered: {self._failure}"
            )


def _text(record: Any) -> bytes:
    if not isinstance(record, str):
        raise TypeError(f"value_format is 'text', but the record is a {type(record).__name__}")
    return record.encode()


def _bytes(record: Any) -> bytes:
    if not isinstance(record, bytes):
        raise TypeError(f"value_format is 'bytes', but the record is a {type(record).__name__}")
    return record


_ENCODERS: dict[ValueFormat, Callable[[Any], bytes]] = {
    ValueFormat.JSON: msgspec.json.Encoder(enc_hook=plain).encode,
    ValueFormat.TEXT: _text,
    ValueFormat.BYTES: _bytes,
}
