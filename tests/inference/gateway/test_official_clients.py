"""The official OpenAI and Anthropic clients, against the packaged engines behind a gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from tests.conftest import MODELS_DIR
from tests.support import ANY_PORTS

from sage.config.paths import UserPaths
from sage.inference.engines.spec import EngineSpec
from sage.inference.engines.stack import running_stack
from sage.inference.gateway import BackendInstanceConfig, UnifiedAPIServer, UnifiedServerConfig
from sage.inference.gateway.keys import ApiKey
from sage.inference.scheduling.request import Kind

pytestmark = [pytest.mark.engines, pytest.mark.anyio]

KEY, LIMITED = "official-client-1", ("official-client-2", "official-client-3")
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
QUESTION = "Say hello."
CITIES = ("Paris", "Rome", "Oslo")
LAST = "What is the weather in Berlin?"


class Served:
    """A gateway, and the names of the models behind it."""

    def __init__(self, url: str, llm: str, embedding: str) -> None:
        self.url = url
        self.llm = llm
        self.embedding = embedding

    def openai(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def async_openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0)

    def anthropic(self, key: str = KEY) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.url, api_key=key, max_retries=0)

    def async_anthropic(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self.url, api_key=KEY, max_retries=0)


def backend(engine: EngineSpec) -> BackendInstanceConfig:
    return BackendInstanceConfig(port=engine.port, model_name=engine.model)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("clients")
    paths = UserPaths(root, MODELS_DIR, root / "state", root / "logs", root / "cache")
    with running_stack(ANY_PORTS, paths=paths) as stack:
        llm = next(engine for engine in stack.engines if engine.kind is Kind.LLM)
        embedding = next(engine for engine in stack.engines if engine.kind is Kind.EMBEDDING)
        config = UnifiedServerConfig(
            port=0,
            llm_backends=[backend(llm)],
            embedding_backends=[backend(embedding)],
            api_keys=[KEY, *(ApiKey(key, tokens_per_minute=1) for key in LIMITED)],
        )
        with UnifiedAPIServer(config) as server:
            yield Served(server.url, llm.model, embedding.model)


# Tools: a model this small does as the conversation has done so far, which holds some calls; with
# results in it, it would rather repeat those.


def openai_turns(result: str | None = None) -> list[Any]:
    turns: list[Any] = []
    for number, city in enumerate(CITIES):
        call = {
            "id": f"call{number}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }
        turns += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        if result is not None:
            turns.append({"role": "tool", "tool_call_id": f"call{number}", "content": result})
    return [*turns, {"role": "user", "content": LAST}]


OPENAI_TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather now", "parameters": CITY},
}


def anthropic_turns(result: str | None = None) -> list[Any]:
    turns: list[Any] = []
    before: list[Any] = []
    for number, city in enumerate(CITIES):
        use = {
            "type": "tool_use",
            "id": f"call{number}",
            "name": "get_weather",
            "input": {"city": city},
        }
        ask = {"type": "text", "text": f"What is the weather in {city}?"}
        turns += [
            {"role": "user", "content": [*before, ask]},
            {"role": "assistant", "content": [use]},
        ]
        if result is not None:
            before = [{"type": "tool_result", "tool_use_id": f"call{number}", "content": result}]
    return [*turns, {"role": "user", "content": [*before, {"type": "text", "text": LAST}]}]


ANTHROPIC_TOOL: Any = {
    "name": "get_weather",
    "description": "The weather now",
    "input_schema": CITY,
}
GREEDY = {"temperature": 0}


def chat(served: Served) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": served.llm, "messages": messages, "max_tokens": 12, "temperature": 0}


def test_openai_chat_and_completions(served: Served) -> None:
    """Whole and streamed, with the usage that was asked for."""
    with served.openai() as client:
        whole = client.chat.completions.create(**chat(served))
        assert whole.usage is not None
        assert 0 < whole.usage.completion_tokens <= 12
        events = list(
            client.chat.completions.create(
                **chat(served), stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
        assert text == whole.choices[0].message.content
        assert events[-1].usage is not None
        plain = client.completions.create(model=served.llm, prompt="One, two,", max_tokens=4)
        assert plain.choices[0].text
        names = {model.id for model in client.models.list()}
        assert names == {served.llm, served.embedding}


async def test_openai_async_client(served: Served) -> None:
    """Chat, streamed chat, responses and embeddings."""
    async with served.async_openai() as client:
        whole = await client.chat.completions.create(**chat(served))
        stream = await client.chat.completions.create(**chat(served), stream=True)
        text = "".join([e.choices[0].delta.content or "" async for e in stream])
        assert text == whole.choices[0].message.content
        response = await client.responses.create(
            model=served.llm, input=QUESTION, max_output_tokens=8
        )
        assert response.output_text
        vectors = await client.embeddings.create(model=served.embedding, input=["a", "b"])
        assert [len(item.embedding) for item in vectors.data] == [384, 384]


def test_openai_structured_output(served: Served) -> None:
    """A JSON schema holds in chat, parsed by the client, and in a stream."""
    shape: Any = {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": CITY, "strict": True},
    }
    request = {**chat(served), "max_tokens": 40, "response_format": shape}
    with served.openai() as client:
        whole = client.chat.completions.create(**request)
        assert set(json.loads(whole.choices[0].message.content or "")) == {"city"}
        stream = client.chat.completions.create(**request, stream=True)
        text = "".join(event.choices[0].delta.content or "" for event in stream)
        assert set(json.loads(text)) == {"city"}


def test_openai_tools(served: Served) -> None:
    """A tool that must be called is called with arguments of its schema; results are taken in."""
    request: dict[str, Any] = {
        "model": served.llm,
        "messages": openai_turns(),
        "tools": [OPENAI_TOOL],
        "tool_choice": "required",
        "max_tokens": 60,
        "temperature": 0,
    }
    with served.openai() as client:
        choice = client.chat.completions.create(**request).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        call = choice.message.tool_calls[0]
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Berlin"}
        pieces = [
            part.function
            for event in client.chat.completions.create(**request, stream=True)
            for part in event.choices[0].delta.tool_calls or ()
            if part.function is not None
        ]
        assert [piece.name for piece in pieces if piece.name] == ["get_weather"]
        assert json.loads("".join(p.arguments or "" for p in pieces)) == {"city": "Berlin"}
        told = {"messages": openai_turns("sunny"), "tool_choice": "auto", "max_tokens": 8}
        usage = client.chat.completions.create(**{**request, **told}).usage
        before = client.chat.completions.create(**{**request, "max_tokens": 1}).usage
        assert usage is not None
        assert before is not None
        assert usage.prompt_tokens > before.prompt_tokens + 3 * len(CITIES)


def test_openai_responses(served: Served) -> None:
    """Whole, streamed, counted beforehand, and held to a schema."""
    request: dict[str, Any] = {"model": served.llm, "input": QUESTION, "max_output_tokens": 8}
    request["temperature"] = 0.0  # sampled, a small model may ramble past the limit
    with served.openai() as client:
        whole = client.responses.create(**request)
        assert whole.status == "completed"
        assert whole.usage is not None
        assert whole.usage.output_tokens <= 8
        events = list(client.responses.create(**request, stream=True))
        assert events[0].type == "response.created"
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text
        assert any(event.type == "response.output_text.delta" for event in events)
        count = client.responses.input_tokens.count(model=served.llm, input=QUESTION)
        assert count.input_tokens == whole.usage.input_tokens
        # llama.cpp takes the schema under the name it has in chat, and leaves text.format be.
        place = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY}}
        held = client.responses.create(
            **{**request, "max_output_tokens": 40}, extra_body={"response_format": place}
        )
        assert set(json.loads(held.output_text)) == {"city"}


def message(served: Served) -> dict[str, Any]:
    return {
        "model": served.llm,
        "max_tokens": 12,
        "messages": [{"role": "user", "content": QUESTION}],
        "extra_body": GREEDY,
    }


def test_anthropic_messages(served: Served) -> None:
    """Whole, streamed and counted."""
    with served.anthropic() as client:
        whole = client.messages.create(**message(served))
        assert whole.content[0].type == "text"
        assert whole.stop_reason in ("max_tokens", "end_turn")
        with client.messages.stream(**message(served)) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text == whole.content[0].text
        assert final.usage.output_tokens == whole.usage.output_tokens
        count = client.messages.count_tokens(
            model=served.llm, messages=[{"role": "user", "content": QUESTION}]
        )
        assert count.input_tokens > 5


async def test_anthropic_async_client(served: Served) -> None:
    """Whole and streamed."""
    async with served.async_anthropic() as client:
        whole = await client.messages.create(**message(served))
        async with client.messages.stream(**message(served)) as stream:
            text = "".join([piece async for piece in stream.text_stream])
        assert whole.content[0].type == "text"
        assert text == whole.content[0].text


def test_anthropic_tools(served: Served) -> None:
    """A tool use has the input its schema asks for; results are taken in."""
    request: dict[str, Any] = {
        "model": served.llm,
        "max_tokens": 60,
        "messages": anthropic_turns(),
        "tools": [ANTHROPIC_TOOL],
        "tool_choice": {"type": "any"},
        "extra_body": GREEDY,
    }
    with served.anthropic() as client:
        whole = client.messages.create(**request)
        with client.messages.stream(**request) as stream:
            streamed = stream.get_final_message()
        ask: dict[str, Any] = {"model": served.llm, "tools": [ANTHROPIC_TOOL]}
        told = client.messages.count_tokens(**ask, messages=anthropic_turns("sunny"))
        untold = client.messages.count_tokens(**ask, messages=anthropic_turns())
        assert told.input_tokens > untold.input_tokens + 3 * len(CITIES)
    for answer in (whole, streamed):
        assert answer.stop_reason == "tool_use"
        use = answer.content[-1]
        assert use.type == "tool_use"
        assert (use.name, use.input) == ("get_weather", {"city": "Berlin"})


def test_openai_exceptions(served: Served) -> None:
    """Each refusal is the client's own exception for it, from the gateway and from the engine."""
    with served.openai() as client:
        with pytest.raises(openai.NotFoundError, match="gpt-9"):
            client.chat.completions.create(**{**chat(served), "model": "gpt-9"})
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**chat(served), "messages": 5})
        # What an engine lacks is its own 404, passed on.
        with pytest.raises(openai.NotFoundError):
            client.post("/score", body={"model": served.llm}, cast_to=object)
        # And 501 where it knows the route but not with this model.
        with pytest.raises(openai.InternalServerError) as lacking:
            client.post("/rerank", body={"model": served.llm, "query": "a"}, cast_to=object)
        assert lacking.value.status_code == 501
    with served.openai("no-such-key") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with served.openai(LIMITED[0]) as client:
        client.chat.completions.create(**chat(served))
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(**chat(served))
        assert refused.value.code == "rate_limit_exceeded"
        assert refused.value.response.headers["x-ratelimit-limit-tokens"] == "1"


def test_anthropic_exceptions(served: Served) -> None:
    """Each refusal is the client's own exception for it, in Anthropic's shape."""
    with served.anthropic() as client:
        with pytest.raises(anthropic.NotFoundError) as unknown:
            client.messages.create(**{**message(served), "model": "claude-9"})
        assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(**{**message(served), "model": 5})
    with served.anthropic("no-such-key") as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**message(served))
    with served.anthropic(LIMITED[1]) as client:
        client.messages.create(**message(served))
        with pytest.raises(anthropic.RateLimitError) as refused:
            client.messages.create(**message(served))
        assert refused.value.body["type"] == "error"  # type: ignore[index]
        assert int(refused.value.response.headers["retry-after"]) > 0
