"""What the gateway measures, and how it shows it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.metrics import Histogram
from sage.inference.gateway.terms import Terms, read_terms
from sage.inference.gateway.usage import find_usage

CHAT = {"model": "m", "messages": []}
SAMPLE = re.compile(r'^([a-z0-9_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)$')

pytestmark = pytest.mark.anyio


async def ask(url: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(f"{url}/v1/chat/completions", **{"json": CHAT, **options})


async def samples(url: str) -> dict[str, float]:
    """Scrape and parse, checking the form of every line."""
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        reply = await client.get(f"{url}/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    found, typed = {}, set()
    for line in reply.text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            assert re.sub("_(bucket|sum|count)$", "", match[1]) in typed or match[1] in typed
            found[line.rsplit(" ", 1)[0]] = float(match[3])
    return found


async def stream(request: Any, writer: asyncio.StreamWriter) -> None:
    """Three tokens, then the usage."""
    chunk = STREAM["chunk"]
    writer.write(STREAM["head"])
    for word in ("a", "b", "c"):
        writer.write(chunk(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % word.encode()))
        await writer.drain()
        await asyncio.sleep(0.01)
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    writer.write(chunk(b"data: " + json.dumps(usage).encode() + b"\n\n"))
    writer.write(chunk(b"data: [DONE]\n\n") + chunk(b""))
    await writer.drain()


STREAM: dict[str, Any] = {}


async def test_requests_are_counted_by_outcome_model_and_class(kit: Any) -> None:
    """Done, failed and rejected, with tokens and times; a made-up model makes no series."""
    STREAM.update(head=kit.STREAM_HEAD, chunk=kit.chunk)
    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine)
    await ask(served.url)
    await ask(served.url, headers={"x-request-priority": "high"})
    engine.handler = stream
    await ask(served.url)
    await ask(served.url, json={"model": 'made"up'})
    found = await samples(served.url)
    normal = 'kind="llm",model="m",class="llm"'
    assert found[f'sage_requests_total{{{normal},outcome="done"}}'] == 2
    assert found['sage_requests_total{kind="llm",model="m",class="high",outcome="done"}'] == 1
    assert found['sage_requests_total{kind="",model="",class="none",outcome="rejected"}'] == 1
    assert found[f"sage_time_to_first_token_seconds_count{{{normal}}}"] == 1
    assert found[f"sage_time_per_output_token_seconds_count{{{normal}}}"] == 1
    assert 0.005 < found[f"sage_time_per_output_token_seconds_sum{{{normal}}}"] < 0.5
    assert found[f"sage_e2e_request_latency_seconds_count{{{normal}}}"] == 2
    assert found[f"sage_request_prompt_tokens_sum{{{normal}}}"] == 10
    assert found[f"sage_request_generation_tokens_sum{{{normal}}}"] == 4
    assert found[f'sage_request_queue_time_seconds_bucket{{{normal},le="+Inf"}}'] == 2
    assert found['sage_instance_breaker_state{instance="a",state="closed"}'] == 1
    assert found['sage_instance_attempts_total{instance="a",outcome="done"}'] == 3
    assert found["sage_requests_open"] == 0


async def test_slo_attainment_counts_what_failed(kit: Any) -> None:
    """A kept deadline is met, a missed one and a failed request are missed."""
    gate = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        await kit.answer(request, writer)

    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine)
    await ask(served.url, headers={"X-SLO-Deadline-Ms": "5000"})
    await ask(served.url)
    engine.handler = slow
    await ask(served.url, headers={"X-SLO-TTFT-Ms": "1"})
    served.gateway.set_down("a", "gone")
    await ask(served.url, headers={"X-SLO-Deadline-Ms": "5000"})
    found = await samples(served.url)
    labels = 'kind="llm",model="m",class="llm"'
    assert found[f'sage_slo_requests_total{{{labels},result="met"}}'] == 1
    assert found[f'sage_slo_requests_total{{{labels},result="missed"}}'] == 2
    assert found[f"sage_slo_attainment_ratio{{{labels}}}"] == pytest.approx(1 / 3, abs=1e-5)
    assert "x-slo-deadline-ms" not in engine.requests[0].headers
    gate.set()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-SLO-Deadline-Ms", "soon"),
        ("X-SLO-TTFT-Ms", "-1"),
        ("X-SLO-TPOT-Ms", "nan"),
        ("X-Request-Priority", "URGENT"),
        ("X-Request-Priority", "5000"),
    ],
)
async def test_a_wrong_term_is_400_and_named(kit: Any, header: str, value: str) -> None:
    """The message names the header as it is documented."""
    served = await kit.gateway()
    served.add(await kit.engine())
    reply = await ask(served.url, headers={header: value})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == header


def test_terms() -> None:
    """Names and numbers are priorities; milliseconds become seconds."""
    terms = read_terms(((b"x-request-priority", b"low"), (b"x-slo-tpot-ms", b"50")))
    assert (terms.cls, terms.priority) == ("low", -10)
    assert terms.slo is not None
    assert terms.slo.tpot_s == pytest.approx(0.05)
    assert read_terms(((b"x-request-priority", b"7"),)) == Terms(7)
    with pytest.raises(ApiError):
        read_terms(((b"x-request-priority", b"1.5"),))


@given(st.lists(st.floats(0, 500), min_size=1, max_size=200))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float]) -> None:
    """P50 and P95 are off by no more than the bucket is wide."""
    bounds = (1.0, 5.0, 25.0, 100.0, 500.0)
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    assert histogram.count == len(values)
    for share in (0.5, 0.95):
        exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
        estimate = histogram.quantile(share)
        assert estimate is not None
        upper = next(bound for bound in bounds if exact <= bound)
        lower = max((bound for bound in bounds if bound < exact), default=0.0)
        assert lower <= estimate <= upper


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}', (3, 1)),
        (b'{"usage": {"completion_tokens": 1, "prompt_tokens": 3}, "id": "x"}', (3, 1)),
        (b'{"usage":{"input_tokens":3,"output_tokens":9}}', (3, 9)),
        (b'{"usage":{"cache_read_input_tokens":33,"input_tokens":1,"output_tokens":9}}', (34, 9)),
        (b'event: x\ndata: {"usage":{"output_tokens":8}}', (0, 8)),
        (b'{"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":2}}}', (3, 0)),
        (b'data: {"usage":{"prompt_tokens":3}}\n\ndata: [DONE]\n\n', (3, 0)),
        (b'{"content":"\\"usage\\":{\\"prompt_tokens\\":3}"}', None),
        (b'{"usage":null}', None),
        (b"x" * 100_000 + b'"usage":{"prompt_tokens":3,"total_tokens":3}}', (3, 0)),
        (b'{"usage":{"prompt_tokens":3},"data":"' + b"x" * 100_000, (3, 0)),
        (b"x" * 50_000 + b'"usage":{"prompt_tokens":3}' + b"x" * 50_000, None),
        (b"", None),
    ],
)
def test_usage_is_found_without_decoding(answer: bytes, usage: tuple[int, int] | None) -> None:
    """In any order and spelling, at either end of large answers, never inside a text."""
    assert find_usage(answer) == usage
