"""stream.embed against a real server that speaks OpenAI's routes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dataflow.models.busy import Busy
from tests.inference.client.conftest import Answer, FakeServer, Seen, lengths
from tests.support import wait_until

from sage.dataflow import Embedded, LocalEnvironment, ModelRetry
from sage.dataflow.models.embedding import pack, unpack
from sage.errors import ConfigError, OperatorError
from sage.inference.client import UnifiedInferenceClient

EMBEDDINGS = "/v1/embeddings"


def sent(server: FakeServer) -> list[list[str]]:
    """The texts of each request."""
    return [body["input"] for body in server.posted(EMBEDDINGS)]


def by_length(seen: Seen) -> Answer:
    """[length] alone, so that a vector depends on its text only."""
    data = [{"index": n, "embedding": [len(text)]} for n, text in enumerate(seen.json["input"])]
    usage = {"prompt_tokens": 2 * len(data), "total_tokens": 2 * len(data)}
    return Answer({"model": seen.json["model"], "data": data, "usage": usage})


def embed(env: LocalEnvironment, records: list[Any], **kwargs: Any) -> tuple[list[Any], Any]:
    """Run one embed operator; return what came out and the job's result."""
    out: list[Any] = []
    env.from_collection(records).embed(name="embed", **kwargs).sink(out.append)
    return out, env.submit(autostop=True)


@pytest.fixture(autouse=True)
def plain_vectors(server: FakeServer) -> None:
    """Vectors do not tell their place in the request."""
    server.routes[EMBEDDINGS] = by_length


def test_texts(env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient) -> None:
    """Each text comes back with its vector, in order; many go in one request, none twice."""
    records = ["x" * (n % 40) for n in range(100)]
    out, result = embed(env, records, client=client, batch_size=16, price=0.5)
    assert out == [Embedded(text, [float(len(text))]) for text in records]
    assert all(len(texts) == len(set(texts)) <= 16 for texts in sent(server))
    metrics = result.operator("embed").metrics
    assert metrics["texts"] + metrics["shared"] == 100
    assert metrics["texts"] == sum(map(len, sent(server)))
    assert metrics["prompt_tokens"] == 2 * metrics["texts"]
    assert metrics["cost_micros"] == metrics["texts"]
    assert metrics["requests"] == len(sent(server)) <= 12


def test_dicts_and_functions(env: LocalEnvironment, client: UnifiedInferenceClient) -> None:
    """A dict is copied with its vector; a function finds the text in any other record."""
    records = [{"id": 1, "text": "abc"}, {"id": 2, "text": "de"}]
    out, _ = embed(env, records, client=client, field="text", into="vector")
    assert out == [{**records[0], "vector": [3.0]}, {**records[1], "vector": [2.0]}]
    assert "vector" not in records[0]
    out, _ = embed(
        LocalEnvironment("f"), [(1, "abc")], client=client, field=lambda record: record[1]
    )
    assert out == [Embedded((1, "abc"), [3.0])]


def test_shared_vectors_are_copies(env: LocalEnvironment, client: UnifiedInferenceClient) -> None:
    """Records of the same text may each change their vector."""
    out, _ = embed(env, ["a", "a"], client=client)
    assert out[0].vector is not out[1].vector


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        ([{"a": "x"}], {"field": "text"}, "no field 'text'; its fields: a"),
        (["x"], {"field": "text"}, "the record is a str"),
        ([{"a": "x"}], {}, "is not a text; give field="),
        ([{"a": 5}], {"field": "a"}, "5 is not a text"),
    ],
)
def test_no_text(
    env: LocalEnvironment, client: UnifiedInferenceClient, records: Any, options: Any, message: str
) -> None:
    """A record without a text is an error that says what it has."""
    with pytest.raises(OperatorError, match=message):
        embed(env, records, client=client, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_timeout": -1}, "batch_timeout is -1"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"field": 3}, "field is 3"),
        ({"dimension": 3}, "did you mean 'dimensions'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """A wrong option is an error where it is written."""
    with pytest.raises(ConfigError, match=message):
        LocalEnvironment("wrong").from_collection(["a"]).embed(**options)


def test_timer(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """Texts that are alone go out by the timer, while the source still waits."""
    go_on = threading.Event()
    out: list[Any] = []

    def source() -> Any:
        yield "a"
        yield "bb"
        assert go_on.wait(20)
        yield "ccc"

    env = LocalEnvironment("timer")
    env.from_source(source).embed(client=client, batch_size=100).sink(out.append)
    job = env.submit()
    try:
        wait_until(lambda: len(out) == 2)
    finally:
        go_on.set()
    job.wait()
    assert [each.record for each in out] == ["a", "bb", "ccc"]


def test_requests_at_once(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """As many requests are under way as asked for, and never more."""
    server.routes[EMBEDDINGS] = busy = Busy(3, by_length)
    records = ["x" * n for n in range(1, 200)]
    out, _ = embed(LocalEnvironment("busy"), records, client=client, batch_size=8, concurrency=3)
    assert [each.record for each in out] == records
    assert busy.most == 3


def test_similar_lengths_go_together(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """While all requests are out, the next one is made of texts of about a length."""
    first_in, go_on = threading.Event(), threading.Event()

    def route(seen: Seen) -> Answer:
        first_in.set()
        assert go_on.wait(20)
        return by_length(seen)

    server.routes[EMBEDDINGS] = route
    short = [f"{n:02}" for n in range(20)]
    long = [f"{n:02}" + "x" * 500 for n in range(20)]
    records = ["start", "begin", *(text for pair in zip(short, long, strict=True) for text in pair)]
    env = LocalEnvironment("lengths")
    out: list[Any] = []
    env.from_collection(records).embed(
        client=client, batch_size=2, concurrency=1, ordered=False, parallelism=1
    ).sink(out.append)
    job = env.submit()
    assert first_in.wait(20)
    go_on.set()
    job.wait()
    mixed = [texts for texts in sent(server) if len({len(text) > 100 for text in texts}) > 1]
    assert len(mixed) <= 2
    assert sorted(each.record for each in out) == sorted(records)


def picky(bad: Callable[[str], bool], status: int = 400) -> Callable[[Seen], Answer]:
    """A route that refuses a request that holds a bad text."""

    def route(seen: Seen) -> Answer:
        if any(map(bad, seen.json["input"])):
            return Answer({"error": "a bad text"}, status)
        return by_length(seen)

    return route


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
def test_bad_texts(
    env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient, on_error: str
) -> None:
    """Only the texts to blame fail, each as a record of its own, and the sums agree."""
    server.routes[EMBEDDINGS] = picky(lambda text: "7" in text)
    records = [{"id": n, "t": f"text {n}"} for n in range(60)]
    out, result = embed(env, records, client=client, field="t", batch_size=16, on_error=on_error)
    bad = [record for record in records if "7" in record["t"]]
    assert [record["id"] for record in out] == [r["id"] for r in records if r not in bad]
    report = result.operator("embed")
    assert (report.records_in, report.records_out, report.failed) == (60, 54, 6)
    letters = [letter.record for letter in result.dead_letters]
    assert sorted(letters, key=lambda record: record["id"]) == (
        bad if on_error == "dead_letter" else []
    )


def test_a_wrong_key_is_not_asked_for_each_text(
    env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """An error that no text is to blame for fails the whole request, whose records all count."""
    server.routes[EMBEDDINGS] = picky(lambda text: True, status=401)
    out, result = embed(
        env, [f"{n}" for n in range(20)], client=client, batch_size=10, on_error="skip"
    )
    assert out == []
    assert result.operator("embed").failed == 20
    assert len(sent(server)) == 2


def test_retry_after(
    env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """The records of a refused request go again, and their attempts are counted."""
    refused = [Answer({"error": "busy"}, 429, {"retry-after": "0.1"})] * 2

    def route(seen: Seen) -> Answer:
        return refused.pop() if refused else by_length(seen)

    server.routes[EMBEDDINGS] = route
    records = [f"text {n}" for n in range(10)]
    out, result = embed(
        env, records, client=client, batch_size=10, retry=ModelRetry(first_delay=0.0)
    )
    assert [each.record for each in out] == records
    assert result.operator("embed").retried == 20
    assert len(sent(server)) == 4 - 1


def test_a_rerun_sends_nothing(
    tmp_path: Path, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """Texts that are kept are not sent; new ones among them are, and the vectors are the same."""
    server.routes[EMBEDDINGS] = lengths
    path = tmp_path / "vectors.sqlite"
    records = [f"text {n % 50}" for n in range(100)]
    out, _ = embed(LocalEnvironment("one"), records, client=client, cache=path)
    before = len(sent(server))
    again, result = embed(LocalEnvironment("two"), [*records, "new"], client=client, cache=path)
    assert again[:100] == out
    assert sent(server)[before:] == [["new"]]
    assert result.operator("embed").metrics["cached"] == 100


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_packed_vectors(vector: list[float]) -> None:
    """A float32 vector comes back as it was."""
    assert unpack(pack(vector)) == vector
