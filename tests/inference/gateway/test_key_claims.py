"""Shares and objectives that a key's holder is entitled to."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from sage.errors import ConfigError
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.gateway.keys import ApiKey, KeyRing
from sage.inference.gateway.mapping import from_mapping
from sage.inference.scheduling.slo import SLO

HEAVY, LIGHT = "heavy-key-1", "light-key-1"


async def ask(url: str, key: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.post(
            f"{url}/v1/chat/completions",
            json={"model": "m", "messages": [], "max_tokens": 10},
            headers={"authorization": f"Bearer {key}"},
            **options,
        )


@pytest.mark.anyio
async def test_keys_take_turns_by_their_weights(kit: Any) -> None:
    """Of two keys with work waiting, the one of weight 3 is served three times as often."""
    order: list[str] = []
    gate = asyncio.Event()

    async def count(request: Any, writer: Any) -> None:
        await gate.wait()
        order.append(request.headers["x-request-id"])
        await kit.answer(request, writer)

    served = await kit.gateway()
    served.add(await kit.engine(count), max_requests=1)
    served.gateway.set_keys(KeyRing([ApiKey(HEAVY, "h", weight=3.0), ApiKey(LIGHT, "l")]))
    replies = [asyncio.ensure_future(ask(served.url, HEAVY))]
    await kit.eventually(lambda: served.requests["in_flight"] == 1)
    for key in (LIGHT, HEAVY):
        replies += [asyncio.ensure_future(ask(served.url, key)) for _ in range(12)]
    await kit.eventually(lambda: served.requests["queued"] == 24)
    gate.set()
    answers = [await reply for reply in replies]
    assert [answer.status_code for answer in answers] == [200] * 25
    light = {answer.headers["x-request-id"] for answer in answers[1:13]}
    assert 3 <= sum(name in light for name in order[1:17]) <= 5


@pytest.mark.anyio
async def test_objectives_of_a_key_are_judged(kit: Any) -> None:
    """Its requests count as met or missed; those of a key without any count as neither."""

    async def slow(request: Any, writer: Any) -> None:
        await asyncio.sleep(0.05)
        await kit.answer(request, writer)

    ring = KeyRing([ApiKey(HEAVY, "h", slo=SLO(deadline_s=0.001)), LIGHT])
    served = await kit.gateway(keys=ring)
    served.add(await kit.engine(slow))
    for key in (HEAVY, LIGHT):
        assert (await ask(served.url, key)).status_code == 200
    judged = served.gateway.metrics.summary()[0]["slo"]
    assert judged == {"met": 0, "missed": 1}


def test_claims_come_from_the_configuration() -> None:
    """A key's table names weight and objectives; a weight of 0 is refused."""
    keys = [{"key": HEAVY, "name": "h", "weight": 2, "slo": {"ttft_s": 0.5}}, LIGHT]
    config = from_mapping(UnifiedServerConfig, {"api_keys": keys}, where="test")
    claims = config.key_ring().claims
    assert list(claims) == ["h"]
    assert claims["h"].weight == 2
    assert claims["h"].slo == SLO(ttft_s=0.5)
    with pytest.raises(ConfigError, match="weight is 0"):
        ApiKey(HEAVY, weight=0)
