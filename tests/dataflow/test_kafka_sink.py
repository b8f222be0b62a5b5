"""KafkaSink, against the broker that librdkafka has inside."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from tests.kafka_broker import Broker

from sage.dataflow import KafkaSink, LocalEnvironment
from sage.errors import ConfigError, OperatorError


def written(broker: Broker, topic: str) -> list[Any]:
    """Return what a topic holds beside the record with which `empty_topic` made it."""
    env = LocalEnvironment()
    out: list[Any] = []
    env.from_kafka_source(
        broker.servers, topic, bounded=True, metadata=True, value_format="bytes"
    ).filter(lambda record: record.value is not None).sink(out)
    env.submit(autostop=True)
    return out


def empty_topic(broker: Broker) -> str:
    """Make a topic; for that the broker needs a record, which has no value."""
    return broker.topic(None)


@pytest.fixture(scope="module")
def broker() -> Broker:
    return Broker()


@pytest.mark.parametrize("parallelism", [1, 2])
def test_every_record_is_there_when_the_job_has_ended(
    env: LocalEnvironment, broker: Broker, parallelism: int
) -> None:
    """Once each, whichever replica wrote it."""
    topic = empty_topic(broker)
    records = env.from_collection({"n": number} for number in range(3000))
    records.map(dict, parallelism=parallelism).sink(
        KafkaSink, broker.servers, topic, parallelism=parallelism
    )
    result = env.submit(autostop=True)
    assert result.operator("KafkaSink").records_out == 3000
    values = sorted(record.value for record in written(broker, topic))
    assert values == sorted(b'{"n":%d}' % number for number in range(3000))


def test_keys_decide_the_partition(env: LocalEnvironment, broker: Broker) -> None:
    """The records of a key keep their order."""
    topic = empty_topic(broker)
    sink = KafkaSink(broker.servers.split(","), topic, key=lambda n: str(n % 7), name="out")
    env.from_collection(range(700)).sink(sink)
    env.submit(autostop=True)
    by_key: dict[bytes, list[Any]] = {}
    for record in written(broker, topic):
        by_key.setdefault(record.key, []).append(record)
    assert len(by_key) == 7
    for key, records in by_key.items():
        assert len({record.partition for record in records}) == 1
        assert [int(record.value) for record in records] == list(range(int(key), 700, 7))


@pytest.mark.parametrize(("format_", "record"), [("text", "é"), ("bytes", b"\xff"), ("json", "é")])
def test_formats(env: LocalEnvironment, broker: Broker, format_: str, record: Any) -> None:
    """A record is written as it is said to be."""
    topic = empty_topic(broker)
    env.from_collection([record]).sink(KafkaSink, broker.servers, topic, value_format=format_)
    env.submit(autostop=True)
    values = {"text": "é".encode(), "bytes": b"\xff", "json": '"é"'.encode()}
    assert [found.value for found in written(broker, topic)] == [values[format_]]


@pytest.mark.parametrize(
    ("format_", "record", "message"),
    [
        ("text", 1, "value_format is 'text', but the record is a int"),
        ("bytes", "a", "value_format is 'bytes', but the record is a str"),
        ("json", threading.Event(), "a Event cannot be written as JSON"),
        ("bytes", b"x" * 2_000_000, "Message size too large"),
    ],
)
def test_records_that_cannot_be_written(
    env: LocalEnvironment, broker: Broker, format_: str, record: Any, message: str
) -> None:
    """They are errors of the record, to which on_error applies."""
    topic = empty_topic(broker)
    good = {"text": "a", "bytes": b"a", "json": "a"}[format_]
    env.from_collection([good, record, good]).sink(
        KafkaSink, broker.servers, topic, value_format=format_, on_error="dead_letter"
    )
    result = env.submit(autostop=True)
    (letter,) = result.dead_letters
    assert message in str(letter.error)
    assert len(written(broker, topic)) == 2


def test_backpressure(env: LocalEnvironment, broker: Broker) -> None:
    """When too many records are on their way, the sink waits; none is lost."""
    topic = empty_topic(broker)
    config = {"queue.buffering.max.messages": 10}
    env.from_collection(range(500)).sink(KafkaSink, broker.servers, topic, config=config)
    env.submit(autostop=True)
    assert len(written(broker, topic)) == 500


def test_records_that_are_not_delivered(env: LocalEnvironment) -> None:
    """The job fails, and says how many; with on_error too."""
    broker = Broker()
    topic = empty_topic(broker)

    def stop_it(record: int) -> int:
        if record == 5:
            del broker.producer
        return record

    env.from_collection(range(10)).map(stop_it).sink(
        KafkaSink, broker.servers, topic, on_error="skip", config={"message.timeout.ms": 300}
    )
    with pytest.raises(
        OperatorError, match=rf"topic '{topic}' at .*: \d+ records were not deliver"
    ):
        env.submit(autostop=True)


def test_no_broker_and_no_topic(env: LocalEnvironment, broker: Broker, free_port: int) -> None:
    """Fail before any record is taken."""
    env.from_collection([1]).sink(KafkaSink, f"127.0.0.1:{free_port}", "t", timeout=0.3)
    with pytest.raises(OperatorError, match=r"<open>.*no Kafka broker answers at 127"):
        env.submit(autostop=True)
    env = LocalEnvironment()
    env.from_collection([1]).sink(KafkaSink, broker.servers, "nothing")
    with pytest.raises(OperatorError, match=r"<open>.*there is no topic 'nothing'"):
        env.submit(autostop=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value_format": "xml"}, "value_format is 'xml'"),
        ({"config": {"bootstrap.servers": "x"}}, "say bootstrap_servers="),
        ({"tpoic": "x"}, "unknown key 'tpoic'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """Wrong options fail where they are written."""
    with pytest.raises(ConfigError, match=message):
        KafkaSink("localhost:9092", "t", **options)


def test_a_key_that_librdkafka_does_not_know(env: LocalEnvironment, broker: Broker) -> None:
    """Its own words name the key."""
    env.from_collection([1]).sink(KafkaSink, broker.servers, "t", config={"lingering": 1})
    with pytest.raises(OperatorError, match=r'of a Kafka sink: No such .*"lingering"'):
        env.submit(autostop=True)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match=r"pip install 'sage-stack\[kafka\]'"):
        KafkaSink("localhost:9092", "t")
