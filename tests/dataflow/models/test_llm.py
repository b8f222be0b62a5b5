"""stream.llm against a real server that speaks OpenAI's routes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.dataflow.models.busy import Busy
from tests.inference.client.conftest import Answer, FakeServer, Seen, echo_chat

from sage.dataflow import Answered, DeadLetter, LocalEnvironment, ModelRetry, Usage
from sage.dataflow.context import RuntimeContext
from sage.dataflow.models.clients import create_client
from sage.dataflow.models.operator import ModelOperator, ModelSettings
from sage.dataflow.services import Services
from sage.errors import BadRequestError, ConfigError, OperatorError, UnknownKeyError
from sage.inference.client import UnifiedInferenceClient

CHAT = "/v1/chat/completions"


def asked(server: FakeServer) -> list[str]:
    """The last message of each request."""
    return [body["messages"][-1]["content"] for body in server.posted(CHAT)]


def ask(
    env: LocalEnvironment, records: list[Any], *args: Any, **kwargs: Any
) -> tuple[list[Any], Any]:
    """Run one llm operator; return what came out and the operator's report."""
    out: list[Any] = []
    env.from_collection(records).llm(*args, name="llm", **kwargs).sink(out.append)
    return out, env.submit(autostop=True).operator("llm")


def test_dicts(env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient) -> None:
    """A template is filled with a dict's fields, and the answer is a field of a copy."""
    records = [{"q": "why?", "n": 1}, {"q": "how?", "n": 2}]
    out, report = ask(
        env, records, "{q} {n:02d} {{}}", client=client, temperature=0.0, max_tokens=7,
        price=(2.0, 1.5), extra_body={"top_k": 4},
    )  # fmt: skip
    assert out == [
        {"q": "why?", "n": 1, "answer": "echo: why? 01 {}"},
        {"q": "how?", "n": 2, "answer": "echo: how? 02 {}"},
    ]
    assert "answer" not in records[0]
    body = server.posted(CHAT)[0]
    assert (body["temperature"], body["max_tokens"], body["top_k"]) == (0.0, 7, 4)
    assert body["model"] == "small-llm"
    # 3 tokens read and 2 written each, for 2 and 1.5 a million.
    assert report.metrics == {
        "requests": 2, "prompt_tokens": 6, "completion_tokens": 4, "cost_micros": 18,
    }  # fmt: skip


def test_other_records(env: LocalEnvironment, client: UnifiedInferenceClient) -> None:
    """Any other record comes back beside its answer and what that took."""
    out, _ = ask(env, ["a", ("b", 1)], "<{record}>", client=client, model="other")
    usage = Usage("other", 3, 2, cached=False)
    assert out == [
        Answered("a", "echo: <a>", usage),
        Answered(("b", 1), "echo: <('b', 1)>", usage),
    ]


def test_functions_and_messages(
    env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """A function makes texts or messages; without a prompt the records are such themselves."""

    def messages(record: dict[str, str]) -> list[dict[str, str]]:
        return [{"role": "system", "content": "Be brief."}, {"role": "user", **record}]

    out, _ = ask(env, [{"content": "x"}], messages, client=client, into="said")
    assert out == [{"content": "x", "said": "echo: x"}]
    assert [each["role"] for each in server.posted(CHAT)[0]["messages"]] == ["system", "user"]

    plain = LocalEnvironment("plain")
    out, _ = ask(plain, ["y", [{"role": "user", "content": "z"}]], client=client)
    assert [each.text for each in out] == ["echo: y", "echo: z"]


@pytest.mark.parametrize(
    ("record", "prompt", "message"),
    [
        ({"question": 1}, "{qestion}", "no field 'qestion'; its fields: question"),
        ("text", "{question}", "the record is a str, not a dict"),
        ({"a": 1}, None, "neither a text nor a list of messages"),
        ({"a": 1}, lambda record: 5, "neither a text nor a list of messages"),
        ({"a": 1}, "{a.b}", "does not fit"),
    ],
)
def test_prompts_that_do_not_fit(
    env: LocalEnvironment, client: UnifiedInferenceClient, record: Any, prompt: Any, message: str
) -> None:
    """A prompt that does not fit a record is an error that says why, and is not tried again."""
    with pytest.raises(OperatorError, match=message):
        ask(env, [record], prompt, client=client)
    assert env.last_job is not None
    assert env.last_job.metrics[1].retried == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temprature": 0.0}, UnknownKeyError, "did you mean 'temperature'"),
        ({"concurency": 4}, UnknownKeyError, "did you mean 'concurrency'"),
        ({"concurrency": 0}, ConfigError, "concurrency is 0"),
        ({"prompt": "{"}, ConfigError, "prompt"),
        ({"prompt": "{}"}, ConfigError, "has no name"),
        ({"prompt": 3}, ConfigError, "prompt is 3"),
        ({"client": object()}, ConfigError, "no `async def achat`"),
        ({"requests_per_second": 0}, ConfigError, "requests_per_second is 0"),
        ({"price": "cheap"}, ConfigError, "price is 'cheap'"),
        ({"cache": 3}, ConfigError, "cache is 3"),
        ({"n": 2}, ConfigError, "one text for each record"),
        ({"into": ""}, ConfigError, "into is ''"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """A wrong option is an error where it is written, before anything runs."""
    with pytest.raises(error, match=message):
        LocalEnvironment("wrong").from_collection(["a"]).llm(**options)


def test_concurrency(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """As many requests are under way as asked for, and never more."""
    server.routes[CHAT] = busy = Busy(6, echo_chat)
    out, _ = ask(
        LocalEnvironment("busy"), [str(n) for n in range(60)], client=client, concurrency=6
    )
    assert busy.most == 6
    assert [each.record for each in out] == [str(n) for n in range(60)]


def test_in_order(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """A slow answer holds those after it back."""
    asked_last = threading.Event()

    def slow_first(seen: Seen) -> Answer:
        text = seen.json["messages"][-1]["content"]
        if text == "9":
            asked_last.set()
        assert text != "0" or asked_last.wait(20)
        return echo_chat(seen)

    server.routes[CHAT] = slow_first
    out, _ = ask(LocalEnvironment("order"), [str(n) for n in range(10)], client=client)
    assert [int(each.record) for each in out] == list(range(10))


def test_as_they_come(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """With ordered=False the others overtake a slow answer."""
    others_out = threading.Event()
    out: list[str] = []

    def slow_first(seen: Seen) -> Answer:
        assert seen.json["messages"][-1]["content"] != "0" or others_out.wait(20)
        return echo_chat(seen)

    def take(answered: Answered) -> None:
        out.append(answered.record)
        if len(out) == 9:
            others_out.set()

    server.routes[CHAT] = slow_first
    env = LocalEnvironment("order")
    records = [str(n) for n in range(10)]
    env.from_collection(records).llm(client=client, ordered=False).sink(take)
    env.submit(autostop=True)
    assert sorted(out) == records
    assert out[-1] == "0"


def refusing(times: int, answer: Answer) -> tuple[Callable[[Seen], Answer], list[float]]:
    """A route that refuses so many requests first; and when each request came."""
    came: list[float] = []

    def route(seen: Seen) -> Answer:
        came.append(time.monotonic())
        return answer if len(came) <= times else echo_chat(seen)

    return route, came


def test_retry_after(
    env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """A refused request is sent again, no earlier than the server asks, and is counted."""
    server.routes[CHAT], came = refusing(2, Answer({"error": "busy"}, 429, {"retry-after": "0.3"}))
    out, report = ask(env, ["a"], client=client, retry=ModelRetry(first_delay=0.0))
    assert [each.text for each in out] == ["echo: a"]
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(came))
    assert (report.retried, report.metrics["requests"]) == (2, 3)


def test_what_is_tried_again(
    env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """A server's failure is tried again; a wrong request is not."""
    server.routes[CHAT], came = refusing(1, Answer({"error": "oh"}, 500))
    out, report = ask(env, ["a"], client=client, retry=ModelRetry(first_delay=0.001))
    assert (len(out), report.retried) == (1, 1)
    server.routes[CHAT], came = refusing(9, Answer({"error": "no"}, 400))
    with pytest.raises(OperatorError, match="BadRequestError"):
        ask(LocalEnvironment("wrong"), ["a"], client=client)
    assert len(came) == 1


def test_dead_letters(
    env: LocalEnvironment, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """A record that is given up is a dead letter as the user knows it, and the sums agree."""

    def picky(seen: Seen) -> Answer:
        if "3" in seen.json["messages"][-1]["content"]:
            return Answer({"error": "no threes"}, 400)
        return echo_chat(seen)

    server.routes[CHAT] = picky
    records = [{"n": n} for n in range(40)]
    out: list[Any] = []
    env.from_collection(records).llm(
        "n is {n}", client=client, on_error="dead_letter", name="llm"
    ).sink(out.append)
    result = env.submit(autostop=True)
    letters: tuple[DeadLetter, ...] = result.dead_letters
    bad = [record for record in records if "3" in str(record["n"])]
    assert sorted(letter.record["n"] for letter in letters) == [record["n"] for record in bad]
    assert all(isinstance(letter.error, BadRequestError) for letter in letters)
    report = result.operator("llm")
    assert (report.records_in, report.records_out, report.failed) == (40, 27, 13)
    assert [record["n"] for record in out] == [
        record["n"] for record in records if record not in bad
    ]


def test_rates_are_kept(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """Two replicas share one limit: requests come no faster than it together."""
    came: list[float] = []

    def route(seen: Seen) -> Answer:
        came.append(time.monotonic())
        return echo_chat(seen)

    server.routes[CHAT] = route
    out, _ = ask(
        LocalEnvironment("rates"), [str(n) for n in range(30)], client=client, parallelism=2,
        requests_per_second=50, ordered=False,
    )  # fmt: skip
    assert len(out) == 30
    # 5 at once are a tenth of a second's.
    assert came[-1] - came[0] >= 24 / 50 - 0.05


def test_token_rate(server: FakeServer, client: UnifiedInferenceClient) -> None:
    """Tokens are limited too; what an estimate was too high is given back."""
    start = time.monotonic()
    # Each is thought to take 100,001 tokens, which are 20 s, and takes 5.
    ask(
        LocalEnvironment("tokens"), [str(n) for n in range(4)], client=client, concurrency=1,
        tokens_per_second=5000, max_tokens=100_000,
    )  # fmt: skip
    assert time.monotonic() - start < 20


def test_a_rerun_asks_nothing(
    tmp_path: Path, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """What was asked once is never asked again; another parameter, model or version asks anew."""
    path = tmp_path / "answers.sqlite"
    records = [{"q": f"question {n % 20}"} for n in range(60)]

    def run(**options: Any) -> tuple[list[Any], Any, int]:
        before = len(asked(server))
        out, report = ask(
            LocalEnvironment("rerun"), records, "{q}", client=client, cache=path, **options
        )
        return out, report, len(asked(server)) - before

    out, report, sent = run(temperature=0.0)
    assert sent == 20  # each question once, also when it is asked twice at the same time
    assert report.metrics["cached"] == 40
    again, report, sent = run(temperature=0.0)
    assert (again, sent, report.metrics) == (out, 0, {"cached": 60})
    assert run(temperature=0.5)[2] == 20
    assert run(temperature=0.0, version="2")[2] == 20
    assert run(temperature=0.0, model="other")[2] == 20
    assert run(temperature=0.0, model="small-llm", timeout=9, retry=2)[2] == 0


def test_failures_are_not_kept(
    tmp_path: Path, server: FakeServer, client: UnifiedInferenceClient
) -> None:
    """When a question that others wait for fails, the next one asks it itself."""
    server.routes[CHAT], came = refusing(1, Answer({"error": "no"}, 400))
    out, report = ask(
        LocalEnvironment("failure"), ["same"] * 5, client=client, cache=tmp_path / "c.sqlite",
        on_error="skip",
    )  # fmt: skip
    assert len(came) == 2
    assert (len(out), report.failed, report.metrics["cached"]) == (4, 1, 3)


def test_the_users_own_cache(
    env: LocalEnvironment, isolated_home: Path, client: UnifiedInferenceClient
) -> None:
    """cache=True keeps answers in the user's folder."""
    ask(env, ["a"], client=client, cache=True)
    assert (isolated_home / "sage" / "cache" / "models.sqlite").exists()


def test_the_default_client(
    env: LocalEnvironment, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without client= a job's operators share the one of create(); it is closed at the end."""
    monkeypatch.setenv("SAGE_CHAT_BASE_URL", server.url)
    monkeypatch.setenv("SAGE_EMBEDDING_BASE_URL", server.url)
    for name in ("GATEWAY", "LLM", "EMBEDDING"):
        monkeypatch.setenv(f"SAGE_{name}_PORT", str(server.port))
    made: list[UnifiedInferenceClient] = []
    create = UnifiedInferenceClient.create.__func__  # type: ignore[attr-defined]

    def counted(cls: type, *args: Any, **kwargs: Any) -> Any:
        made.append(create(cls, *args, **kwargs))
        return made[-1]

    monkeypatch.setattr(UnifiedInferenceClient, "create", classmethod(counted))
    out: list[Any] = []
    (
        env.from_collection(["a", "b"])
        .llm(parallelism=2)
        .map(lambda answered: answered.text)
        .embed()
        .sink(out.append)
    )
    env.submit(autostop=True)
    assert sorted(each.record for each in out) == ["echo: a", "echo: b"]
    assert len(made) == 1
    assert made[0].closed


def test_the_default_client_outlives_its_users(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that begins after all others have ended has the same one, until the job ends."""
    monkeypatch.setenv("SAGE_CHAT_BASE_URL", server.url)
    services = Services()

    async def replica() -> Any:
        operator = ModelOperator("llm", ModelSettings())
        await operator.open(RuntimeContext("llm", services=services))
        client = operator.client
        await operator.close()
        return client

    first, second = asyncio.run(replica()), asyncio.run(replica())
    assert first is second
    assert not first.closed
    services.close()
    assert first.closed
    assert services.share(create_client) is not first
    services.close()


def test_a_client_of_ones_own(env: LocalEnvironment, tmp_path: Path) -> None:
    """Anything with the async method will do; with a cache the model must be named."""

    class Own:
        async def achat(self, messages: Any, model: Any = None, **params: Any) -> Any:
            return Answered2(f"{messages}!", model)

    class Answered2:
        prompt_tokens = completion_tokens = None

        def __init__(self, text: str, model: str) -> None:
            self.text, self.model = text, model

    out, _ = ask(env, ["a"], client=Own(), model="m")
    assert out == [Answered("a", "a!", Usage("m", 0, 0, cached=False))]
    with pytest.raises(OperatorError, match="give model="):
        ask(LocalEnvironment("own"), ["a"], client=Own(), cache=tmp_path / "c.sqlite")
