"""Streamed answers: text as it arrives, and every way a stream can end."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sage.errors import RequestTimeoutError, UpstreamError
from sage.inference.client import AsyncTextStream, TextStream, UnifiedInferenceClient

DONE = b"data: [DONE]\n\n"


def delta(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One event of a streamed chat."""
    choice = {"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}
    event = {"id": "c", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


@pytest.fixture
def client(fake: Any) -> Iterator[UnifiedInferenceClient]:
    """A client of the fake server, with its model named."""
    with UnifiedInferenceClient.create(fake.url, default_llm_model="m", timeout=10) as made:
        yield made


def endless(stop: threading.Event) -> Iterator[bytes]:
    """Text until the client leaves or the test ends."""
    while not stop.wait(0.002):
        yield delta("x" * 1000)


def test_text_comes_as_it_is_written(client: UnifiedInferenceClient, fake: Any) -> None:
    """The first piece is there while the server still waits to write the second."""
    read_first = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield delta("", role="assistant")
        yield delta("你")
        assert read_first.wait(10)
        yield delta("好")
        yield delta(finish="stop")
        yield DONE

    fake.streams(chunks())
    stream = client.chat("a", stream=True)
    assert next(stream) == "你"
    read_first.set()
    assert list(stream) == ["好"]
    assert fake.posted("/v1/chat/completions")[0]["stream"] is True
    assert "stream_options" not in fake.posted("/v1/chat/completions")[0]


def test_generate_streams_too(client: UnifiedInferenceClient, fake: Any) -> None:
    """The text of /v1/completions events is yielded."""
    event = {"choices": [{"index": 0, "text": "word", "finish_reason": None}]}
    fake.streams([f"data: {json.dumps(event)}\r\n\r\n".encode(), DONE])
    assert list(client.generate("a", stream=True)) == ["word"]


def test_bytes_cut_anywhere_give_the_same_text(client: UnifiedInferenceClient, fake: Any) -> None:
    """Keep-alive comments, and characters cut into single bytes, change nothing."""
    raw = b": ping\r\n\r\n" + delta("多字节") + b": ping\n\n" + delta("ü", "stop") + DONE
    fake.streams([raw[at : at + 1] for at in range(len(raw))])
    assert "".join(client.chat("a", stream=True)) == "多字节ü"


def test_a_result_of_a_stream_has_its_times(client: UnifiedInferenceClient, fake: Any) -> None:
    """stream with return_result reads to the end, asks for token counts, and measures TTFT."""
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    fake.streams(
        [delta("a"), delta("b", "length"), b"data: " + json.dumps(usage).encode() + b"\n\n", DONE]
    )
    result = client.chat("a", stream=True, return_result=True)
    assert (result.text, result.finish_reason) == ("ab", "length")
    assert (result.prompt_tokens, result.completion_tokens) == (7, 2)
    assert result.ttft_s is not None
    assert 0 < result.ttft_s <= result.latency_s
    assert fake.posted("/v1/chat/completions")[0]["stream_options"] == {"include_usage": True}


def test_tool_calls_are_put_together(client: UnifiedInferenceClient, fake: Any) -> None:
    """A tool call streamed in parts is whole in the result."""
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": text}} for text in ('{"a"', ": 1}")]
    fake.streams(
        [delta(tool_calls=[part]) for part in (first, *parts)] + [delta(finish="tool_calls"), DONE]
    )
    result = client.chat("a", stream=True, return_result=True, tools=[{"type": "function"}])
    assert result.text == ""
    assert result.tool_calls == (
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    )


def test_an_error_event_comes_after_the_text(client: UnifiedInferenceClient, fake: Any) -> None:
    """Text before the failure is yielded, then the server's words are raised."""
    failure = b'data: {"error": {"message": "engine died"}}\n\n'
    fake.streams([delta("so far") + failure])
    stream = client.chat("a", stream=True)
    assert next(stream) == "so far"
    with pytest.raises(UpstreamError, match="engine died"):
        next(stream)
    assert stream.result.text == "so far"


def test_an_event_of_type_error_is_one(client: UnifiedInferenceClient, fake: Any) -> None:
    """``event: error`` is a failure, whatever its data looks like."""
    fake.streams([b'event: error\ndata: {"message": "out of slots"}\n\n'])
    with pytest.raises(UpstreamError, match="out of slots"):
        list(client.chat("a", stream=True))


@pytest.mark.parametrize("cut", [True, False])
def test_a_cut_stream_is_an_error(client: UnifiedInferenceClient, fake: Any, cut: bool) -> None:
    """A stream that ends without [DONE] or a finish reason is not taken for a whole answer."""
    fake.streams([delta("half an ans")], cut=cut)
    stream = client.chat("a", stream=True)
    assert next(stream) == "half an ans"
    with pytest.raises(UpstreamError, match="cut off"):
        next(stream)
    assert list(stream) == []


@pytest.mark.parametrize("last", [DONE, delta("", "stop"), delta("", "stop") + DONE])
def test_done_or_a_finish_reason_ends_a_stream(
    client: UnifiedInferenceClient, fake: Any, last: bytes
) -> None:
    """Either mark makes an answer whole."""
    fake.streams([delta("all"), last])
    assert list(client.chat("a", stream=True)) == ["all"]


def test_an_unclean_end_after_done_is_fine(client: UnifiedInferenceClient, fake: Any) -> None:
    """What happens to the connection behind [DONE] does not matter."""
    fake.streams([delta("all"), DONE], cut=True)
    assert list(client.chat("a", stream=True)) == ["all"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"data: {oops\n\n", "not JSON"),
        (b"data: 3\n\n", "failed"),
        (b'data: {"choices": [3]}\n\n', "choice"),
    ],
)
def test_nonsense_in_a_stream_is_an_error(
    client: UnifiedInferenceClient, fake: Any, data: bytes, said: str
) -> None:
    """Events that are not OpenAI's are an UpstreamError."""
    fake.streams([data])
    with pytest.raises(UpstreamError, match=said):
        list(client.chat("a", stream=True))


def test_a_whole_answer_where_a_stream_was_asked(client: UnifiedInferenceClient, fake: Any) -> None:
    """A server that ignores stream=True is told apart from an empty stream."""
    with pytest.raises(UpstreamError, match="application/json"):
        list(client.chat("a", stream=True))


def test_silence_in_a_stream_times_out(fake: Any) -> None:
    """The timeout bounds the silence between pieces."""
    over = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield delta("a")
        over.wait(10)

    fake.streams(chunks())
    with UnifiedInferenceClient.create(fake.url, default_llm_model="m") as client:
        stream = client.chat("a", stream=True, timeout=0.5)
        assert next(stream) == "a"
        with pytest.raises(RequestTimeoutError, match=r"0\.5 s"):
            next(stream)
    over.set()


@pytest.mark.parametrize("leave", ["close", "with", "drop", "unread"])
def test_leaving_a_stream_closes_its_connection(
    client: UnifiedInferenceClient, fake: Any, leave: str
) -> None:
    """close(), the end of a with block, or dropping the iterator makes the server stop."""
    stop = threading.Event()
    fake.streams(endless(stop))
    stream: TextStream | None = client.chat("a", stream=True)
    assert stream is not None
    if leave != "unread":
        assert next(stream).startswith("x")
    if leave == "close":
        stream.close()
    elif leave == "with":
        with stream:
            next(stream)
    stream = None
    gc.collect()
    assert fake.left.wait(10)
    stop.set()


@pytest.mark.anyio
@pytest.mark.parametrize("leave", ["aclose", "with", "drop", "unread"])
async def test_leaving_an_async_stream_closes_its_connection(
    client: UnifiedInferenceClient, fake: Any, leave: str
) -> None:
    """The same holds in an event loop."""
    stop = threading.Event()
    fake.streams(endless(stop))
    stream: AsyncTextStream | None = await client.achat("a", stream=True)
    assert stream is not None
    if leave != "unread":
        assert (await anext(stream)).startswith("x")
    if leave == "aclose":
        await stream.aclose()
    elif leave == "with":
        async with stream:
            await anext(stream)
    stream = None
    gc.collect()
    assert await wait_for(fake.left)
    stop.set()
    await client.aclose()


@pytest.mark.anyio
async def test_a_cancelled_task_closes_its_stream(
    client: UnifiedInferenceClient, fake: Any
) -> None:
    """Cancelling the task that reads closes the connection."""
    stop = threading.Event()
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in await client.achat("a", stream=True):
            begun.set()

    fake.streams(endless(stop))
    task = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await wait_for(fake.left)
    stop.set()
    await client.aclose()


async def wait_for(event: threading.Event) -> bool:
    return await asyncio.to_thread(event.wait, 10)


CASES: list[tuple[str, list[bytes], bool]] = [
    ("whole", [delta("你"), delta("好", "stop"), DONE], False),
    ("error", [delta("so far"), b'data: {"error": "died"}\n\n'], False),
    ("cut", [delta("half")], True),
    ("unfinished", [delta("half")], False),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("chunks", "cut"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
async def test_async_streams_are_as_sync_ones(
    client: UnifiedInferenceClient, fake: Any, chunks: list[bytes], cut: bool
) -> None:
    """Both iterators give the same text and end with the same error."""
    fake.streams(chunks, cut=cut)

    async def read() -> tuple[list[str], str]:
        got: list[str] = []
        try:
            async for text in await client.achat("a", stream=True):
                got += [text]
        except UpstreamError as error:
            return got, str(error)
        return got, ""

    def read_sync() -> tuple[list[str], str]:
        got: list[str] = []
        try:
            got.extend(client.chat("a", stream=True))
        except UpstreamError as error:
            return got, str(error)
        return got, ""

    assert await read() == read_sync()
    await client.aclose()
