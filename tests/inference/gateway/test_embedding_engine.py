"""Shared calls to the packaged embedding engine: the vectors are those of asking alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from tests.conftest import MODELS_DIR
from tests.support import wait_until

from sage.inference.scheduling.request import Kind

pytestmark = [pytest.mark.anyio, pytest.mark.engines]

MODEL = "all-minilm-l6-v2"
TEXT = "the keeper lit the lamp at dusk and wrote down every ship that passed the rock "


@pytest.fixture
def engine(free_port: int) -> Iterator[Any]:
    """The engine's own process, as the gateway's ``add`` takes it."""
    command = [sys.executable, "-m", "sage.inference.embeddings.server", "--name", MODEL]
    command += ["--model", str(MODELS_DIR / MODEL), "--port", str(free_port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{free_port}"

    def answers() -> bool:
        try:
            return httpx2.get(f"{url}/health", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    try:
        wait_until(answers, 40)
        yield type("Address", (), {"url": url})
    finally:
        process.terminate()
        process.wait(20)


def text(number: int) -> str:
    return f"{number} " + (TEXT * 6)[number % 70 : number % 70 + 10 + 7 * (number % 50)]


async def test_vectors_are_those_of_asking_alone(kit: Any, engine: Any) -> None:
    """Openai's client gets each text's own vector, in order, whoever shared the call."""
    served = await kit.gateway()
    served.add(engine, "alone", kind=Kind.EMBEDDING, models=(MODEL,), coalesce=False)
    groups = [[text(40 * n + i) for i in range(n % 4 + 1)] for n in range(40)]
    groups.append([text(n) for n in range(60)])
    async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="none") as client:

        async def embed(group: list[str]) -> Any:
            return await client.embeddings.create(model=MODEL, input=group)

        alone = [await embed(group) for group in groups]
        await served.gateway.remove_instance("alone")
        served.add(engine, kind=Kind.EMBEDDING, models=(MODEL,), max_calls=2, max_batch_tokens=600)
        together = await asyncio.gather(*map(embed, groups))
    for one, other in zip(alone, together, strict=True):
        assert [row.index for row in other.data] == list(range(len(one.data)))
        for row, same in zip(one.data, other.data, strict=True):
            left, right = np.asarray(row.embedding), np.asarray(same.embedding)
            assert left @ right / np.linalg.norm(left) / np.linalg.norm(right) > 0.9999
    tokens = [sum(answer.usage.prompt_tokens for answer in side) for side in (alone, together)]
    assert tokens[0] == tokens[1]
    counts = served.instance("a")["embedding_calls"]
    assert counts["shared"] > 20
    assert counts["split"] == 1
