"""What can be said of a Kafka source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from sage.dataflow.choices import read_choice
from sage.errors import ConfigError, shorten


class ValueFormat(StrEnum):
    """What the bytes of a record's value are."""

    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"


class Start(StrEnum):
    """Where a partition is begun when there is no checkpoint."""

    EARLIEST = "earliest"
    LATEST = "latest"


# librdkafka's keys that the source has to set, and what to do instead.
_OURS = {
    "bootstrap.servers": "say bootstrap_servers=",
    "metadata.broker.list": "say bootstrap_servers=",
    "group.id": "say group_id=",
    "auto.offset.reset": "say start=",
    "enable.auto.commit": "offsets are kept in the job's checkpoints",
    "enable.auto.offset.store": "offsets are kept in the job's checkpoints",
    "enable.partition.eof": "say bounded=",
    "error_cb": "errors end the job or are logged",
    "logger": "it is the operator's, sage.dataflow.<name>",
}
# By itself librdkafka fetches 64 MiB ahead, which a stalled pipeline would hold for nothing.
_FETCHED_AHEAD_KIB = 16 * 1024


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """How topics are read.

    Attributes:
        bootstrap_servers: ``host:port``, several with commas between.
        topics: their names.
        value_format: what the values are.
        start: where to begin without a checkpoint.
        group_id: what the brokers know the reader as.
        bounded: end at what the topics hold when the job starts.
        metadata: give `KafkaRecord` records, not just values.
        timeout: seconds to wait for an answer of the brokers when the job starts.
        config: more of librdkafka's keys.
    """

    bootstrap_servers: str
    topics: tuple[str, ...]
    value_format: ValueFormat = ValueFormat.JSON
    start: Start = Start.EARLIEST
    group_id: str = "sage"
    bounded: bool = False
    metadata: bool = False
    timeout: float = 10.0
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for topic in self.topics:
            if not isinstance(topic, str) or not topic:
                raise ConfigError(f"topics has {topic!r}; give names")
        if len(set(self.topics)) < len(self.topics) or not self.topics:
            raise ConfigError(f"topics is {shorten(self.topics)}; give one or more, each once")
        if not isinstance(self.bootstrap_servers, str) or not self.bootstrap_servers:
            raise ConfigError(
                f"bootstrap_servers is {self.bootstrap_servers!r}; give 'host:port', or several "
                "with commas between"
            )
        if not isinstance(self.group_id, str) or not self.group_id:
            raise ConfigError(f"group_id is {self.group_id!r}; give a name")
        if self.timeout <= 0:
            raise ConfigError(f"timeout is {self.timeout!r}; give seconds above 0")
        for key in self.config:
            if key in _OURS:
                raise ConfigError(f"config of a Kafka source has {key!r}; {_OURS[key]}")

    @classmethod
    def read(
        cls,
        bootstrap_servers: str | Iterable[str],
        topics: str | Iterable[str],
        *,
        value_format: str,
        start: str,
        **options: Any,
    ) -> Self:
        """Validate what a user wrote.

        Raises:
            ConfigError: a value is wrong.
        """
        if not isinstance(bootstrap_servers, str):
            bootstrap_servers = ",".join(bootstrap_servers)
        return cls(
            bootstrap_servers,
            (topics,) if isinstance(topics, str) else tuple(topics),
            value_format=read_choice(ValueFormat, value_format, "value_format"),
            start=read_choice(Start, start, "start"),
            **options,
        )

    def client_config(self) -> dict[str, Any]:
        """Return librdkafka's configuration."""
        return {
            "queued.max.messages.kbytes": _FETCHED_AHEAD_KIB,
            **self.config,
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": self.group_id,
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": self.bounded,
        }
