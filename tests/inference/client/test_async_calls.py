"""The async methods: the same answers, in any number of event loops."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sage.errors import InferenceError, UpstreamError
from sage.inference.client import UnifiedInferenceClient


@pytest.mark.anyio
async def test_the_async_twins_answer_alike(fake: Any) -> None:
    """achat, agenerate, aembed and aget_status give what their sync twins give."""
    async with UnifiedInferenceClient.create(fake.url) as client:
        assert await client.achat("hi", temperature=0.0) == client.chat("hi") == "echo: hi"
        assert await client.agenerate("a", max_tokens=3) == client.generate("a") == "a…"
        assert await client.aembed("abc") == client.embed("abc") == [3.0, 0.0]
        assert await client.aembed(["a", "ab"]) == client.embed(["a", "ab"])
        assert await client.aembed([]) == []
        assert await client.aget_status() == client.get_status()
        result = await client.achat("hi", return_result=True)
        assert (result.text, result.instance, result.prompt_tokens) == ("echo: hi", "llm-1", 3)
    assert client.closed
    with pytest.raises(InferenceError, match="closed"):
        await client.achat("a")


@pytest.mark.anyio
async def test_many_texts_are_split_in_a_loop_too(fake: Any) -> None:
    """300 texts go as five requests and come back in order; one failed part fails the call."""
    async with UnifiedInferenceClient.create(fake.url) as client:
        vectors = await client.aembed(["x" * n for n in range(300)])
        assert [vector[0] for vector in vectors] == [float(n) for n in range(300)]
        assert len(fake.posted("/v1/embeddings")) == 5
        answer = fake.routes["/v1/embeddings"]

        def one_fails(seen: Any) -> Any:
            made = answer(seen)
            if "t70" in seen.json["input"]:
                made.status, made.body = 500, {"error": {"message": "boom"}}
            return made

        fake.routes["/v1/embeddings"] = one_fails
        with pytest.raises(UpstreamError, match="boom"):
            await client.aembed([f"t{n}" for n in range(200)])


@pytest.mark.anyio
async def test_requests_of_one_call_are_bounded_in_a_loop(fake: Any) -> None:
    """No more than embedding_concurrency requests of a call are in flight."""
    answer, lock = fake.routes["/v1/embeddings"], threading.Lock()
    at_once, most, pair = 0, 0, threading.Barrier(2, timeout=20)

    def counted(seen: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        pair.wait()  # answered in twos, so the bound is reached
        with lock:
            at_once -= 1
        return answer(seen)

    fake.routes["/v1/embeddings"] = counted
    async with UnifiedInferenceClient.create(
        fake.url, default_embedding_model="m", embedding_batch_size=1, embedding_concurrency=2
    ) as client:
        assert len(await client.aembed(["x"] * 20)) == 20
    assert most == 2


@pytest.mark.anyio
async def test_the_default_model_is_asked_once_in_a_loop(fake: Any) -> None:
    """Many tasks at once cause one question."""
    async with UnifiedInferenceClient.create(fake.url) as client:
        await asyncio.gather(*(client.achat("a") for _ in range(20)))
    assert [seen.path for seen in fake.seen].count("/v1/models") == 1


def test_one_loop_after_the_other(fake: Any) -> None:
    """asyncio.run may be called again and again; each loop's connections end with it."""
    with UnifiedInferenceClient.create(fake.url) as client:
        for n in range(3):
            assert asyncio.run(client.achat(str(n))) == f"echo: {n}"
            assert client._pools._by_loop == {}
    assert fake.connections == 3


def test_several_loops_at_once(fake: Any) -> None:
    """Loops in several threads share a client; close() ends their connections, too."""
    client = UnifiedInferenceClient.create(fake.url, default_llm_model="m")
    ready, closed = threading.Barrier(5, timeout=20), threading.Event()
    failures: list[BaseException] = []

    async def work(n: int) -> None:
        for _ in range(5):
            assert await client.achat(str(n)) == f"echo: {n}"
        await asyncio.to_thread(ready.wait)
        await asyncio.to_thread(closed.wait, 20)
        with pytest.raises(InferenceError, match="closed"):
            await client.achat("a")
        async with asyncio.timeout(20):
            # The closing was scheduled in this loop; there is no event to wait for.
            while asyncio.get_running_loop() in client._pools._by_loop:  # noqa: ASYNC110
                await asyncio.sleep(0)

    def run(n: int) -> None:
        try:
            asyncio.run(work(n))
        except BaseException as error:  # noqa: BLE001 - shown by the test, whatever it is
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    client.close()
    closed.set()
    for thread in threads:
        thread.join(20)
    assert failures == []


@pytest.mark.anyio
async def test_a_timeout_around_a_call_cancels_it(fake: Any) -> None:
    """asyncio.timeout ends a call, and the client works on."""
    stuck = threading.Event()
    answer = fake.routes["/v1/chat/completions"]

    def wait(seen: Any) -> Any:
        stuck.wait(20)
        return answer(seen)

    fake.routes["/v1/chat/completions"] = wait
    async with UnifiedInferenceClient.create(fake.url, default_llm_model="m") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.achat("a")
        stuck.set()
        fake.routes["/v1/chat/completions"] = answer
        assert await client.achat("b") == "echo: b"
