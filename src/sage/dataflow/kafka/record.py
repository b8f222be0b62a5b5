"""A record of a topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from sage.dataflow.kafka.options import ValueFormat
from sage.errors import DataflowError


class KafkaRecord(NamedTuple):
    """A record with where it comes from.

    Attributes:
        value: decoded; None when the record has none (a tombstone).
        key: as it is, or None.
        topic: its name.
        partition: its number.
        offset: the record's place in the partition.
        timestamp: seconds since the epoch, or None.
        headers: names and values, in their order; a name may come twice.
    """

    value: Any
    key: bytes | None
    topic: str
    partition: int
    offset: int
    timestamp: float | None
    headers: tuple[tuple[str, bytes | None], ...]


def _text(value: bytes) -> str:
    return value.decode("utf-8")


def _bytes(value: bytes) -> bytes:
    return value


DECODERS: dict[ValueFormat, Callable[[bytes], Any]] = {
    ValueFormat.JSON: msgspec.json.Decoder().decode,
    ValueFormat.TEXT: _text,
    ValueFormat.BYTES: _bytes,
}


DECODE_ERRORS = (ValueError, msgspec.DecodeError)


def decoding_failed(message: Any, format_: ValueFormat, error: Exception) -> DataflowError:
    """Return an error that names the record."""
    return DataflowError(
        f"topic {message.topic()!r}, partition {message.partition()}, offset {message.offset()}: "
        f"the value is not {format_.value}: {error}; to go on past such records, read "
        "value_format='bytes' and decode in a map with on_error"
    )


def described(message: Any, value: Any) -> KafkaRecord:
    """Return a message of the client as a record."""
    kind, milliseconds = message.timestamp()
    return KafkaRecord(
        value,
        message.key(),
        message.topic(),
        message.partition(),
        message.offset(),
        milliseconds / 1000 if kind else None,
        tuple(message.headers() or ()),
    )
