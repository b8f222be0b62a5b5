"""Retries: only when nothing was done yet, as long as asked, and never for ever."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import BadRequestError, ConfigError, InferenceError, RejectedError, UpstreamError
from sage.inference.client import UnifiedInferenceClient
from sage.inference.client.calls import Endpoint
from sage.inference.client.config import ClientConfig
from sage.inference.client.retry import RetryPolicy
from sage.inference.client.session import Timing
from sage.inference.client.target import Target
from sage.inference.scheduling.request import Kind


class Waits:
    """A sleep that takes no time and remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    async def async_sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


def retrying(url: str, waits: Waits, **options: Any) -> UnifiedInferenceClient:
    """A client whose waits are recorded and whose jitter is always one half."""
    timing = Timing(sleep=waits.sleep, async_sleep=waits.async_sleep, jitter=lambda: 0.5)
    target = Target(Kind.LLM, Endpoint(url), "m", "explicit", "test")
    return UnifiedInferenceClient(
        ClientConfig(url, **options), {Kind.LLM: target, Kind.EMBEDDING: target}, timing=timing
    )


def refusing(fake: Any, times: int, status: int, **headers: str) -> None:
    """Make the server refuse so often, then answer."""
    answer = fake.routes["/v1/chat/completions"]
    left = [times]

    def route(seen: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            return answer(seen)
        return SimpleNamespace(body=b"{}", status=status, headers=headers, chunks=None, cut=False)

    fake.routes["/v1/chat/completions"] = route


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_tried_again_when_it_asks(fake: Any, status: int) -> None:
    """The wait is never shorter than Retry-After, and a little longer to spread clients."""
    waits = Waits()
    refusing(fake, 2, status, **{"retry-after": "2"})
    with retrying(fake.url, waits) as client:
        assert client.chat("a") == "echo: a"
    assert waits.seconds == [2.125, 2.125]


def test_backoff_doubles(fake: Any) -> None:
    """Without Retry-After the wait doubles; after `retries` tries the refusal is raised."""
    waits = Waits()
    refusing(fake, 9, 503)
    with retrying(fake.url, waits, retries=3) as client, pytest.raises(RejectedError):
        client.chat("a")
    assert waits.seconds == [0.25 * 0.75, 0.5 * 0.75, 1.0 * 0.75]
    assert len(fake.seen) == 4


def test_a_long_wait_is_not_waited(fake: Any) -> None:
    """A server that asks for a minute gets its error raised at once, with the minute on it."""
    waits = Waits()
    refusing(fake, 9, 429, **{"retry-after": "60"})
    with retrying(fake.url, waits) as client, pytest.raises(RejectedError) as caught:
        client.chat("a")
    assert caught.value.retry_after == 60
    assert waits.seconds == []


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequestError), (500, UpstreamError)])
def test_other_failures_are_not_retried(fake: Any, status: int, kind: type[Exception]) -> None:
    """A wrong request stays wrong, and a server that failed may have done the work."""
    waits = Waits()
    refusing(fake, 1, status)
    with retrying(fake.url, waits) as client, pytest.raises(kind):
        client.chat("a")
    assert len(fake.seen) == 1


def test_a_refused_connection_is_retried(serve: Any, free_port: int) -> None:
    """A server that comes up while the client waits is reached; one that does not is an error."""

    class StartsTheServer(Waits):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.seconds) == 2:
                serve(free_port).openai()

    url = f"http://127.0.0.1:{free_port}/v1"
    waits = Waits()
    with retrying(url, waits) as client, pytest.raises(InferenceError, match="cannot connect"):
        client.chat("a")
    assert len(waits.seconds) == 2
    with retrying(url, StartsTheServer()) as client:
        assert client.chat("a") == "echo: a"


def test_a_stream_is_retried_only_before_it_opens(fake: Any) -> None:
    """A refusal of the stream is retried, an error inside it is not."""
    waits = Waits()
    body = b'data: {"error": "died"}\n\n'

    def chunks() -> Iterator[bytes]:
        yield body

    fake.streams(chunks())
    refusing(fake, 1, 503)
    with retrying(fake.url, waits) as client:
        stream = client.chat("a", stream=True)
        assert len(waits.seconds) == 1
        with pytest.raises(UpstreamError, match="died"):
            next(stream)
    assert len(fake.seen) == 2


@pytest.mark.anyio
async def test_async_calls_retry_alike(fake: Any) -> None:
    """The async methods wait the same."""
    waits = Waits()
    refusing(fake, 2, 429, **{"retry-after": "2"})
    async with retrying(fake.url, waits) as client:
        assert await client.achat("a") == "echo: a"
    assert waits.seconds == [2.125, 2.125]


@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 1, exclude_max=True),
)
def test_waits_are_bounded(retries: int, attempt: int, asked: float | None, jitter: float) -> None:
    """Never more tries than allowed, never earlier than asked, never longer than the bounds."""
    policy = RetryPolicy(retries)
    delay = policy.delay(attempt, asked, jitter)
    if attempt >= retries or (asked is not None and asked > policy.longest_wait_s):
        assert delay is None
    elif asked is None:
        assert delay is not None
        assert 0 < delay <= policy.cap_s
    else:
        assert delay is not None
        assert asked <= delay <= asked * 1.1 + policy.base_s


def test_negative_retries_are_refused() -> None:
    """A policy needs 0 or more retries."""
    with pytest.raises(ConfigError, match="-1"):
        RetryPolicy(-1)
