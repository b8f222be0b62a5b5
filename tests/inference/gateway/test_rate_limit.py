"""Rate limits by key: the arithmetic, and what clients see of it."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import ConfigError, UnknownKeyError
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.gateway.edge import duration
from sage.inference.gateway.keys import ApiKey, KeyRing
from sage.inference.gateway.mapping import from_mapping
from sage.inference.gateway.rate_limit import KeyLimiter, RateLimit, RateLimits

CHAT = {"model": "m", "messages": []}
KEY, FREE = "limited-key-1", "unlimited-key-1"

rates = st.one_of(st.floats(0.05, 20), st.floats(0.01, 1e5))
# Bursts and rests are what limits are about.
pauses = st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 100))
step = st.tuples(pauses, st.integers(1, 5000), st.integers(0, 8000))
steps = st.lists(step, min_size=1, max_size=60)


@given(rates, steps)
def test_requests_never_exceed_the_rate_and_the_burst(rate: float, steps: Any) -> None:
    """Over any span: at most one second's worth (or one), and what flowed in since."""
    limiter = KeyLimiter(RateLimit(requests_per_second=rate), 0.0)
    now, taken = 0.0, []
    for wait, tokens, _ in steps:
        now += wait
        if limiter.admit(tokens, now)[0] == 0:
            taken.append(now)
    burst = max(1.0, rate)
    for i, start in enumerate(taken):
        for j in range(i, len(taken)):
            allowed = burst + rate * (taken[j] - start)
            assert j - i + 1 <= allowed * (1 + 1e-6) + 1e-6


@given(rates, steps)
def test_tokens_average_within_the_rate(rate: float, steps: Any) -> None:
    """What engines really used stays within a burst, the flow, and one request's surplus."""
    limiter = KeyLimiter(RateLimit(tokens_per_minute=rate), 0.0)
    now, used, most = 0.0, 0, 0
    for wait, estimated, actual in steps:
        now += wait
        if limiter.admit(estimated, now)[0] == 0:
            limiter.put_right(estimated, actual, now)
            used += actual
            most = max(most, estimated, actual)
    assert used <= (rate + rate / 60 * now + most) * (1 + 1e-6) + 1e-3


@given(rates, rates, steps)
def test_the_wait_that_is_named_is_enough_and_needed(rps: float, tpm: float, steps: Any) -> None:
    """A request that comes when it was told to goes through; well before that it does not."""
    limiter = KeyLimiter(RateLimit(rps, tpm), 0.0)
    now = 0.0
    for pause, tokens, _ in steps:
        now += pause
        wait, name = limiter.admit(tokens, now)
        assert (wait > 0) == (name in ("requests", "tokens"))
        if wait > 1e-3:
            assert limiter.admit(tokens, now + wait * 0.9)[0] > 0
            now += wait
            assert limiter.admit(tokens, now)[0] < 1e-3


@given(rates, st.lists(st.integers(1, 10**6), max_size=20))
def test_a_refusal_takes_nothing(tpm: float, sizes: list[int]) -> None:
    """However often it is asked, a refused key's standing stays the same."""
    limiter = KeyLimiter(RateLimit(1.0, tpm), 0.0)
    limiter.admit(10, 0.0)
    before = limiter.standing(0.0)
    for size in sizes:
        assert limiter.admit(size, 0.0)[0] > 0
    assert limiter.standing(0.0) == before


def test_a_request_above_the_limit_goes_when_the_bucket_is_full() -> None:
    """And its debt is paid before the next; nothing is refused for ever."""
    limiter = KeyLimiter(RateLimit(tokens_per_minute=60), 0.0)
    assert limiter.admit(180, 0.0) == (0.0, "")
    assert limiter.admit(1, 0.0) == (121.0, "tokens")
    assert limiter.standing(0.0)[0].remaining == 0
    assert limiter.admit(1, 121.0) == (0.0, "")


def test_estimates_are_put_right() -> None:
    """Fewer tokens than estimated come back, more are charged."""
    limiter = KeyLimiter(RateLimit(tokens_per_minute=100), 0.0)
    limiter.admit(80, 0.0)
    limiter.put_right(80, 10, 0.0)
    assert limiter.standing(0.0)[0].remaining == 90
    limiter.put_right(10, 110, 0.0)
    assert limiter.admit(1, 0.0)[0] == pytest.approx(11 / (100 / 60))


def test_a_reload_keeps_what_was_used_under_the_same_limits() -> None:
    """A key whose limits change begins anew; one without limits has no limiter."""
    limits = RateLimits()
    one, two = RateLimit(1.0), RateLimit(2.0)
    limits.set({"a": one, "b": one, "c": RateLimit()}, 0.0)
    kept, changed = limits.get("a"), limits.get("b")
    assert kept is not None
    limits.set({"a": RateLimit(1.0), "b": two}, 1.0)
    assert limits.get("a") is kept
    assert limits.get("b") is not changed
    assert limits.get("c") is None
    limits.set({}, 2.0)
    assert not limits


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, b"0ms"), (0.0121, b"12ms"), (1.5, b"1.5s"), (59.96, b"1m0s"), (361, b"6m1s")],
)
def test_durations_are_written_as_openai_does(seconds: float, text: bytes) -> None:
    """Milliseconds, seconds, minutes and seconds."""
    assert duration(seconds) == text


def test_keys_with_names_and_limits_in_the_configuration() -> None:
    """Beside plain ones; a wrong field is named with the nearest."""
    config = from_mapping(
        UnifiedServerConfig,
        {"api_keys": [FREE, {"key": KEY, "name": "ci", "requests_per_second": 5}]},
        where="gateway.toml",
    )
    ring = config.key_ring()
    assert ring.limits == {"ci": RateLimit(5.0)}
    assert ring.tenant(b"Bearer " + KEY.encode()) == "ci"
    assert KEY not in repr(config)
    with pytest.raises(UnknownKeyError, match="did you mean 'tokens_per_minute'"):
        from_mapping(
            UnifiedServerConfig,
            {"api_keys": [{"key": KEY, "tokens_per_minutes": 5}]},
            where="gateway.toml",
        )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([{"key": KEY, "requests_per_second": 0}], "must be above 0"),
        ([{"key": KEY, "name": "a b"}], "name 'a b'"),
        ([{"key": KEY, "name": "a"}, {"key": FREE, "name": "a"}], "'a' stands there twice"),
        ([{"key": KEY, "name": "a"}, {"key": KEY, "name": "b"}], "one and the same key"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys: Any, message: str) -> None:
    """With what is wrong."""
    with pytest.raises(ConfigError, match=message):
        from_mapping(UnifiedServerConfig, {"api_keys": keys}, where="gateway.toml")


async def post(url: str, key: str, body: Any = CHAT, path: str = "/v1/chat/completions") -> Any:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        headers = {"authorization": f"Bearer {key}"}
        return await client.post(url + path, json=body, headers=headers)


@pytest.mark.anyio
async def test_too_many_requests_are_429_and_counted(kit: Any) -> None:
    """With Retry-After and where the key stands; other keys are not touched, nor told."""
    engine = await kit.engine()
    ring = KeyRing([ApiKey(KEY, "ci", requests_per_second=0.01, tokens_per_minute=1000), FREE])
    served = await kit.gateway(keys=ring)
    served.add(engine)
    first = await post(served.url, KEY)
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 1000
    second = await post(served.url, KEY)
    assert second.status_code == 429
    assert second.json()["error"]["code"] == "rate_limit_exceeded"
    assert 90 <= int(second.headers["retry-after"]) <= 100
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    free = await post(served.url, FREE)
    assert free.status_code == 200
    assert not any(name.startswith("x-ratelimit") for name in free.headers)
    assert served.requests["rejected"] == 1
    assert len(engine.requests) == 2


@pytest.mark.anyio
async def test_tokens_are_charged_at_the_estimate_and_put_right_by_usage(kit: Any) -> None:
    """The answer's usage replaces the estimate; what no engine saw costs nothing."""
    engine = await kit.engine()
    served = await kit.gateway(keys=KeyRing([ApiKey(KEY, "ci", tokens_per_minute=1000)]))
    served.add(engine)
    estimate = len(json.dumps({**CHAT, "max_tokens": 600}).encode()) // 4
    first = await post(served.url, KEY, {**CHAT, "max_tokens": 600})
    assert int(first.headers["x-ratelimit-remaining-tokens"]) == pytest.approx(
        400 - estimate, abs=30
    )
    second = await post(served.url, KEY)  # 4 tokens were used, as the engine says
    assert int(second.headers["x-ratelimit-remaining-tokens"]) > 960
    unknown = await post(served.url, KEY, {**CHAT, "model": "other", "max_tokens": 900})
    assert unknown.status_code == 404
    third = await post(served.url, KEY)
    assert int(third.headers["x-ratelimit-remaining-tokens"]) > 950


@pytest.mark.anyio
async def test_a_stream_that_states_only_its_answers_tokens(kit: Any) -> None:
    """As Anthropic's do at their end: its prompt stays charged as estimated."""

    async def streaming(request: Any, writer: Any) -> None:
        event = b'event: message_delta\ndata: {"usage":{"output_tokens":40}}\n\n'
        writer.write(kit.STREAM_HEAD + kit.chunk(event) + kit.chunk(b""))
        await writer.drain()

    served = await kit.gateway(keys=KeyRing([ApiKey(KEY, "ci", tokens_per_minute=1000)]))
    served.add(await kit.engine(streaming))
    long = {**CHAT, "pad": "x" * 1200, "max_tokens": 100}
    await post(served.url, KEY, long, "/v1/messages")
    left = await post(served.url, KEY, CHAT, "/v1/messages")
    # 300 and some for the prompt and 40 for the answer, and some 10 for the second prompt.
    assert 630 <= int(left.headers["x-ratelimit-remaining-tokens"]) <= 670


@pytest.mark.anyio
async def test_a_gateway_without_limits_does_nothing_for_them(kit: Any) -> None:
    """Until keys with limits come in by a reload, and after they have gone."""
    served = await kit.gateway(keys=KeyRing([KEY]))
    served.add(await kit.engine())
    assert served.gateway._desk.edge is None
    served.gateway.set_keys(KeyRing([ApiKey(KEY, requests_per_second=0.01)]))
    assert [(await post(served.url, KEY)).status_code for _ in range(2)] == [200, 429]
    served.gateway.set_keys(KeyRing([KEY]))
    assert served.gateway._desk.edge is None
    assert (await post(served.url, KEY)).status_code == 200
