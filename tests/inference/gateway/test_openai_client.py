"""The official OpenAI client works against the gateway as it does against OpenAI."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from sage.inference.scheduling.request import Kind

pytestmark = pytest.mark.anyio

MESSAGES: Any = [{"role": "user", "content": "2+2?"}]


def piece(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**event, "choices": [choice]}).encode() + b"\n\n"


async def engine_of_all(kit: Any) -> Any:
    async def handler(request: Any, writer: Any) -> None:
        body = json.loads(request.body)
        if "embeddings" in request.line:
            item = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            answer = {"object": "list", "data": [item], "model": "v", "usage": usage}
            writer.write(kit.response(json.dumps(answer).encode()))
        elif body.get("stream"):
            writer.write(kit.STREAM_HEAD)
            for text in ("fo", "ur"):
                writer.write(kit.chunk(piece(text)))
            writer.write(kit.chunk(b"data: [DONE]\n\n") + kit.chunk(b""))
        else:
            await kit.answer(request, writer)
        await writer.drain()

    return await kit.engine(handler)


async def start(kit: Any) -> Any:
    engine = await engine_of_all(kit)
    served = await kit.gateway()
    served.add(engine)
    served.add(engine, "e", kind=Kind.EMBEDDING, models=("v",))
    return served


async def test_async_client(kit: Any) -> None:
    """Chat, streamed chat, embeddings and models, through AsyncOpenAI."""
    served = await start(kit)
    async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="k") as client:
        reply = await client.chat.completions.create(model="m", messages=MESSAGES)
        assert reply.choices[0].message.content == "four"
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        texts = [event.choices[0].delta.content async for event in stream]
        assert texts == ["fo", "ur"]
        vectors = await client.embeddings.create(model="v", input="x", encoding_format="float")
        assert vectors.data[0].embedding == [0.5, 0.25]
        assert [model.id async for model in client.models.list()] == ["m", "v"]
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="gpt-9", messages=MESSAGES)
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model=5, messages=MESSAGES)  # type: ignore


async def test_sync_client(kit: Any) -> None:
    """Chat, streamed chat and an unknown model, through OpenAI."""
    served = await start(kit)

    def use() -> None:
        with openai.OpenAI(base_url=served.url + "/v1", api_key="k") as client:
            reply = client.chat.completions.create(model="m", messages=MESSAGES)
            assert reply.choices[0].message.content == "four"
            stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            assert [event.choices[0].delta.content for event in stream] == ["fo", "ur"]
            assert client.models.retrieve("m").id == "m"

    await asyncio.to_thread(use)


async def test_broken_stream_raises_in_the_client(kit: Any) -> None:
    """The error event that ends a broken stream is an APIError in the client."""

    async def broken(request: Any, writer: Any) -> None:
        writer.write(kit.STREAM_HEAD + kit.chunk(piece("fo")))
        await writer.drain()
        writer.close()

    served = await kit.gateway()
    served.add(await kit.engine(broken))
    async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="k") as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        assert (await anext(stream)).choices[0].delta.content == "fo"
        with pytest.raises(openai.APIError, match="closed the connection"):
            await anext(stream)
