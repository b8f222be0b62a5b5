"""from_kafka_source, against the broker that librdkafka has inside: real sockets, real protocol."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.kafka_broker import PARTITIONS, Broker

from sage.dataflow import KafkaRecord, LocalEnvironment
from sage.dataflow.context import RuntimeContext
from sage.dataflow.kafka.client import KafkaClient
from sage.dataflow.kafka.options import KafkaOptions
from sage.dataflow.kafka.source import KafkaSource
from sage.errors import ConfigError, DataflowError, OperatorError, UnknownKeyError


@pytest.fixture(scope="module")
def broker() -> Broker:
    return Broker()


def read(env: LocalEnvironment, broker: Broker, topics: Any, **options: Any) -> list[Any]:
    out: list[Any] = []
    env.from_kafka_source(broker.servers, topics, bounded=True, **options).sink(out.append)
    env.submit(autostop=True)
    return out


def open_source(
    broker: Broker, *topics: str, index: int = 0, parallelism: int = 1, **options: Any
) -> KafkaSource:
    options = {"value_format": "json", "start": "earliest", **options}
    source = KafkaSource(KafkaOptions.read(broker.servers, topics, **options))
    source.context = RuntimeContext("kafka", index, parallelism)
    source.open(source.context)
    return source


def take(source: KafkaSource, count: int) -> list[Any]:
    """Take records of a source as they come, or all of a bounded one that has fewer."""
    taken: list[Any] = []
    deadline = time.monotonic() + 20
    while len(taken) < count:
        assert time.monotonic() < deadline, taken
        try:
            record = source.execute()
        except StopIteration:
            return taken
        if record is None:
            time.sleep(0.001)
        else:
            taken.append(record)
    return taken


@pytest.fixture
def sources() -> Iterator[Callable[..., KafkaSource]]:
    """Open sources that are closed after the test."""
    opened: list[KafkaSource] = []

    def make(*args: Any, **kwargs: Any) -> KafkaSource:
        opened.append(open_source(*args, **kwargs))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


@pytest.mark.parametrize("parallelism", [1, 2, 3, PARTITIONS + 1])
def test_a_bounded_source_gives_what_the_topics_hold(
    env: LocalEnvironment, broker: Broker, parallelism: int
) -> None:
    """Every record of every topic once, whichever replica reads it; then the job ends."""
    topics = [broker.numbers(500), broker.numbers(300)]
    out = read(env, broker, topics, parallelism=parallelism)
    assert sorted(out) == sorted([*range(500), *range(300)])


def test_an_empty_topic_ends_at_once(env: LocalEnvironment, broker: Broker) -> None:
    """There is nothing to wait for."""
    topic = broker.numbers(4)
    assert read(env, broker, topic, start="latest") == []


def test_lists_of_servers(env: LocalEnvironment, broker: Broker) -> None:
    """Servers can be given one by one."""
    out: list[Any] = []
    servers = broker.servers.split(",")
    env.from_kafka_source(servers, broker.numbers(3), bounded=True).sink(out.append)
    env.submit(autostop=True)
    assert sorted(out) == [0, 1, 2]


def test_what_comes_after_the_start_is_not_read(
    broker: Broker, sources: Callable[..., KafkaSource]
) -> None:
    """The end of a bounded source is fixed when it begins."""
    topic = broker.numbers(8)
    source = sources(broker, topic, bounded=True)
    first = take(source, 1)
    broker.write(topic, *[b"99"] * 50)
    assert sorted(first + take(source, 100)) == list(range(8))


def test_partitions_keep_their_order(env: LocalEnvironment, broker: Broker) -> None:
    """The records of a partition come in the order of their offsets."""
    out = read(env, broker, broker.numbers(2000), metadata=True)
    for partition in range(PARTITIONS):
        offsets = [record.offset for record in out if record.partition == partition]
        assert offsets == list(range(500))


def test_metadata(env: LocalEnvironment, broker: Broker) -> None:
    """A record says where it comes from, and what came with it."""
    topic = broker.topic(
        b'{"a": [1]}', key=b"k", timestamp=1_500, headers=[("h", b"1"), ("h", b"")]
    )
    assert read(env, broker, topic, metadata=True) == [
        KafkaRecord({"a": [1]}, b"k", topic, 0, 0, 1.5, (("h", b"1"), ("h", b"")))
    ]


@pytest.mark.parametrize(
    ("format_", "value"), [("json", {"é": 1}), ("text", '{"é": 1}'), ("bytes", '{"é": 1}'.encode())]
)
def test_formats(env: LocalEnvironment, broker: Broker, format_: str, value: Any) -> None:
    """The value is what its bytes are said to be."""
    topic = broker.topic('{"é": 1}'.encode())
    assert read(env, broker, topic, value_format=format_) == [value]


def test_records_without_a_value(env: LocalEnvironment, broker: Broker) -> None:
    """They are counted, as None cannot be a record; with metadata they are records."""
    topic = broker.topic(None, b"null", b"1")
    out: list[Any] = []
    env.from_kafka_source(broker.servers, topic, bounded=True, name="k").sink(out.append)
    result = env.submit(autostop=True)
    assert out == [1]
    assert result.operator("k").metrics == {"empty_values": 2}
    values = read(LocalEnvironment(), broker, topic, metadata=True)
    values.sort(key=lambda record: record.partition)
    assert [record.value for record in values] == [None, None, 1]


def test_an_unbounded_source(broker: Broker) -> None:
    """It goes on with what comes until the job is stopped, which drains it."""
    topic = broker.numbers(10)
    env = LocalEnvironment()
    out: list[Any] = []
    env.from_kafka_source(broker.servers, [topic]).sink(out.append)
    job = env.submit()
    for count in (10, 20):
        deadline = time.monotonic() + 20
        while len(out) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        broker.write(topic, *(b"7" for _ in range(10)))
    result = job.stop(drain=True)
    assert result.records_out == len(out) >= 20


def test_latest(broker: Broker, sources: Callable[..., KafkaSource]) -> None:
    """It begins with what comes after it."""
    topic = broker.numbers(10)
    source = sources(broker, topic, start="latest")
    assert source.execute() is None
    broker.write(topic, b"98", b"99")
    assert sorted(take(source, 2)) == [98, 99]


@pytest.mark.parametrize("bounded", [True, False])
def test_reading_goes_on_from_any_offset(
    broker: Broker, sources: Callable[..., KafkaSource], bounded: bool
) -> None:
    """A source that is put at an offset gives what was left there, each record once."""
    topics = broker.numbers(9), broker.numbers(6)
    source = sources(broker, *topics, bounded=bounded, metadata=True)
    whole: list[Any] = []
    for taken in range(16):
        offset = source.offset()
        assert sum(sum(numbers.values()) for numbers in offset.values()) == taken
        again = sources(broker, *topics, bounded=bounded, metadata=True)
        again.seek(offset)
        rest = take(again, 15 - taken)
        assert sorted(whole + rest) == sorted(set(whole + rest))
        assert len(whole) + len(rest) == 15
        if taken < 15:
            whole += take(source, 1)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 3), (3, 2), (4, 1)])
def test_parallelism_can_change(
    broker: Broker, sources: Callable[..., KafkaSource], before: int, after: int
) -> None:
    """The offsets of all replicas together are those of any other number of replicas."""
    topic = broker.numbers(40)

    def replicas(count: int) -> list[KafkaSource]:
        return [
            sources(broker, topic, index=index, parallelism=count, bounded=True)
            for index in range(count)
        ]

    out: list[Any] = []
    first = replicas(before)
    for source in first:
        out += take(source, 5)
    states = KafkaSource.redistribute([source.offset() for source in first], after)
    for source, state in zip(replicas(after), states, strict=True):
        source.seek(state)
        out += take(source, 100)
    assert sorted(out) == list(range(40))


def test_parallelism_cannot_change_when_replicas_had_ended() -> None:
    """Their offsets are not kept, and to read their partitions again would be silent."""
    with pytest.raises(DataflowError, match="go on with their number, parallelism=2"):
        KafkaSource.redistribute([{"t": {0: 1}}, None], 1)


def test_a_partition_without_an_offset_is_read_from_its_beginning(
    broker: Broker, sources: Callable[..., KafkaSource]
) -> None:
    """It was added after the checkpoint, so nothing of it has been read, whatever start says."""
    topic = broker.numbers(8)
    source = sources(broker, topic, bounded=True, start="latest")
    source.seek({topic: {0: 2, 1: 2, 2: 1}})
    assert sorted(take(source, 10)) == [3, 6, 7]


def test_marks_at_the_end_of_a_partition(
    broker: Broker, sources: Callable[..., KafkaSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition whose last offset is a transaction's mark, not a record, has an end too."""
    bounds = KafkaClient.bounds

    def with_a_mark(client: KafkaClient, place: tuple[str, int]) -> tuple[int, int]:
        first, end = bounds(client, place)
        return first, end + 1

    monkeypatch.setattr(KafkaClient, "bounds", with_a_mark)
    source = sources(broker, broker.numbers(8), bounded=True)
    assert sorted(take(source, 100)) == list(range(8))


def test_more_replicas_than_partitions(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Those that have none to read say so."""
    read(LocalEnvironment(), broker, broker.numbers(8), parallelism=PARTITIONS + 1)
    assert "of 'kafka' has no partition to read: there are 4 for 5 replicas" in caplog.text


@pytest.mark.parametrize(
    ("value", "format_", "message"),
    [
        (b'{"a": ', "json", r"partition 1, offset 0: the value is not json: .*truncated"),
        (b"\xff", "text", r"partition 1, offset 0: the value is not text: .*invalid start byte"),
    ],
)
def test_a_value_of_another_format(
    env: LocalEnvironment, broker: Broker, value: bytes, format_: str, message: str
) -> None:
    """The error names the record and says how to go on past it."""
    topic = broker.topic(b"1", value)
    with pytest.raises(OperatorError, match=rf"topic '{topic}', {message}.*value_format='bytes'"):
        read(env, broker, topic, value_format=format_)


def test_going_on_past_such_values(env: LocalEnvironment, broker: Broker) -> None:
    """What that error says to do works."""
    topic = broker.topic(b"1", b"{", b"3")
    out: list[Any] = []
    records = env.from_kafka_source(broker.servers, topic, bounded=True, value_format="bytes")
    records.map(json.loads, on_error="dead_letter").sink(out.append)
    result = env.submit(autostop=True)
    assert sorted(out) == [1, 3]
    assert [letter.record for letter in result.dead_letters] == [b"{"]


def test_no_broker(env: LocalEnvironment, free_port: int) -> None:
    """The error names the address."""
    env.from_kafka_source(f"127.0.0.1:{free_port}", "t", timeout=0.3).sink(print)
    with pytest.raises(
        OperatorError, match=rf"no Kafka broker answers at 127\.0\.0\.1:{free_port} within 0\.3 s"
    ):
        env.submit(autostop=True)


def test_no_such_topic(env: LocalEnvironment, broker: Broker) -> None:
    """The error names the nearest topic; asking does not create it."""
    topic = broker.numbers(1)
    missing = topic.replace("topic", "topci")
    for _ in range(2):
        env.from_kafka_source(broker.servers, missing).sink(print)
        with pytest.raises(OperatorError, match=rf"no topic '{missing}' at .* did you mean 'topic"):
            env.submit(autostop=True)
        env = LocalEnvironment()


def test_an_offset_that_is_not_there(broker: Broker, sources: Callable[..., KafkaSource]) -> None:
    """A checkpoint of another topic is an error before any record is read."""
    topic = broker.numbers(8)
    source = sources(broker, topic)
    source.seek({topic: {2: 7}})
    with pytest.raises(DataflowError, match=r"partition 2: .* offset 7 .*it holds 0 to 1.*resume="):
        source.execute()


def test_records_that_the_topic_no_longer_keeps(
    broker: Broker, sources: Callable[..., KafkaSource]
) -> None:
    """Reading begins with what is left; a checkpoint from before that is an error."""
    topic = broker.topic(b"1")
    for number in range(8):  # of 5 MB that this broker keeps of a partition
        broker.write(topic, json.dumps(f"{number}" * 900_000).encode())
    kept = [value[0] for value in take(sources(broker, topic, bounded=True), 100)]
    assert 0 < len(kept) < 8
    assert kept == [str(number) for number in range(8 - len(kept), 8)]
    source = sources(broker, topic)
    source.seek({topic: {0: 1}})
    with pytest.raises(
        DataflowError, match=rf"offset 1 .*it holds {9 - len(kept)} to 8\).*resume="
    ):
        source.execute()


def test_an_offset_that_is_gone_meanwhile(broker: Broker) -> None:
    """A reader that is slower than the topic forgets says so, rather than to leave records out."""
    topic = broker.numbers(8)
    client = KafkaClient(KafkaOptions(broker.servers, (topic,)), logging.getLogger("test.kafka"))
    client.assign({(topic, 1): 99})
    deadline = time.monotonic() + 10
    messages: list[Any] = []
    while not messages:
        assert time.monotonic() < deadline
        messages = client.poll(1)
    with pytest.raises(DataflowError, match=r"partition 1: the records from offset 99 on are not"):
        client.is_end(messages[0])
    client.close()


def test_brokers_that_fall_silent_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """The job says so and goes on; nothing is lost by it."""
    broker = Broker()
    source = open_source(broker, broker.numbers(4))
    assert len(take(source, 4)) == 4
    del broker.producer
    deadline = time.monotonic() + 20
    while "no Kafka broker answers" not in caplog.text:
        assert time.monotonic() < deadline
        assert source.execute() is None
        time.sleep(0.01)
    source.close()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, when the pipeline is written."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match=r"pip install 'sage-stack\[kafka\]'"):
        LocalEnvironment().from_kafka_source("localhost:9092", "t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": []}, "topics is ()"),
        ({"topics": ["a", "a"]}, "each once"),
        ({"topics": [3]}, "topics has 3"),
        ({"bootstrap_servers": ""}, "bootstrap_servers is ''"),
        ({"value_format": "xml"}, "value_format is 'xml'; choose one of 'json', 'text', 'bytes'"),
        ({"start": "now"}, "start is 'now'; choose one of 'earliest', 'latest'"),
        ({"group_id": ""}, "group_id is ''"),
        ({"timeout": 0}, "timeout is 0"),
        ({"config": {"group.id": "x"}}, "has 'group.id'; say group_id="),
        ({"config": {"enable.auto.commit": True}}, "offsets are kept in the job's checkpoints"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """Wrong options fail where they are written."""
    arguments = {"bootstrap_servers": "localhost:9092", "topics": "t", **options}
    with pytest.raises(ConfigError) as caught:
        LocalEnvironment().from_kafka_source(**arguments)
    assert message in str(caught.value)
    with pytest.raises(UnknownKeyError):
        LocalEnvironment().from_kafka_source("localhost:9092", "t", topic="u")


def test_a_key_that_librdkafka_does_not_know(env: LocalEnvironment, broker: Broker) -> None:
    """Its own words name the key."""
    with pytest.raises(OperatorError, match=r'No such .* property: "fetch\.maximum"'):
        read(env, broker, broker.numbers(1), config={"fetch.maximum": 1})


def test_keys_are_passed_on(env: LocalEnvironment, broker: Broker) -> None:
    """And win over the source's own defaults."""
    topic = broker.numbers(8)
    assert sorted(read(env, broker, topic, config={"fetch.min.bytes": 1})) == list(range(8))
    options = KafkaOptions("s", ("t",), config={"queued.max.messages.kbytes": 64})
    assert options.client_config()["queued.max.messages.kbytes"] == 64
