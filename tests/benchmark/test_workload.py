"""The requests of a run follow from its configuration, and go over the wire as JSON."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
from sage.benchmark.lengths import parse_lengths
from sage.benchmark.prompts import built_in_text, file_text
from sage.benchmark.run import Bench
from sage.benchmark.target import Found
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import PlannedRequest, plan_requests
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.gateway.target import parse_target
from sage.inference.scheduling.slo import SLO

from .server import TinyServer


def _sent(request: PlannedRequest, **options: Any) -> tuple[str, dict[str, Any]]:
    target = parse_target("http://127.0.0.1:8000/proxy")
    writer = RequestWriter(target, Models("c", "e"), built_in_text(), **options)
    head, body = writer.write(request).split(b"\r\n\r\n", 1)
    assert f"content-length: {len(body)}" in head.decode()
    return head.decode(), json.loads(body)


def test_the_same_seed_gives_the_same_requests() -> None:
    """Another seed gives others."""
    config = HybridBenchmarkConfig(requests=50, tenants=3, priorities=(0, 5))
    assert plan_requests(config) == plan_requests(config)
    assert plan_requests(config) != plan_requests(HybridBenchmarkConfig(requests=50, seed=1))


def test_another_rate_changes_no_prompt_and_another_length_no_arrival() -> None:
    """What is drawn for one purpose does not move what is drawn for another."""
    base = plan_requests(LLMBenchmarkConfig(requests=30))
    fast = plan_requests(LLMBenchmarkConfig(requests=30, rate=99))
    short = plan_requests(LLMBenchmarkConfig(requests=30, prompt_tokens="5"))
    assert [r.prompt_tokens for r in base] == [r.prompt_tokens for r in fast]
    assert [r.at for r in base] == [r.at for r in short]


def test_the_share_of_chat_is_the_one_asked_for() -> None:
    """At 0.7, seven of ten; 0 and 1 are pure."""
    for ratio in (0.0, 0.7, 1.0):
        requests = plan_requests(HybridBenchmarkConfig(requests=4000, llm_ratio=ratio))
        chat = sum(request.traffic is TrafficClass.CHAT for request in requests)
        assert chat / 4000 == pytest.approx(ratio, abs=0.02)


def test_a_trace_gives_times_and_lengths(tmp_path: Path) -> None:
    """Replayed ten times as fast, all of it when no number is asked for."""
    path = tmp_path / "t.jsonl"
    lines = [{"timestamp": i * 100, "input_length": 5, "output_length": 2} for i in range(7)]
    path.write_text("\n".join(map(json.dumps, lines)))
    config = LLMBenchmarkConfig(trace=str(path), requests=None, time_scale=10)
    config.validate()
    requests = plan_requests(config)
    assert [request.at for request in requests] == pytest.approx([i * 0.01 for i in range(7)])
    assert {request.output_tokens for request in requests} == {2}


def test_a_chat_request_on_the_wire() -> None:
    """Streamed with usage, greedy, as many words as tokens; tenant, priority and SLO are told."""
    request = PlannedRequest(0, 0.0, TrafficClass.CHAT, 300, 20, start=99, tenant="t", priority=2)
    request.slo = SLO(ttft_s=0.3, deadline_s=20.0)
    head, body = _sent(request, ignore_eos=True, api_key="k")
    assert head.startswith("POST /proxy/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8000\r\n")
    assert "authorization: Bearer k" in head
    assert len(body.pop("messages")[0]["content"].split()) == 300
    assert body == {
        "model": "c",
        "max_tokens": 20,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "user": "t",
    }
    asked = [line for line in head.split("\r\n") if line.startswith("x-")]
    assert asked == ["x-request-priority: 2", "x-slo-ttft-ms: 300", "x-slo-deadline-ms: 20000"]


def test_an_embedding_request_on_the_wire() -> None:
    """As many texts as asked, each of the length asked, no two the same."""
    request = PlannedRequest(0, 0.0, TrafficClass.EMBEDDING, 40, batch=3, start=7)
    head, body = _sent(request)
    assert head.startswith("POST /proxy/v1/embeddings ")
    assert [len(text.split()) for text in body["input"]] == [40, 40, 40]
    assert len(set(body["input"])) == 3


def test_equal_blocks_are_equal_text() -> None:
    """Two prompts of a trace share as much text as they share leading blocks."""

    def prompt(tokens: int, *blocks: int) -> list[str]:
        request = PlannedRequest(0, 0.0, TrafficClass.CHAT, tokens, 1, blocks=blocks)
        words: list[str] = _sent(request)[1]["messages"][0]["content"].split()
        return words

    one, two = prompt(1100, 4, 9, 2), prompt(1300, 4, 9, 3)
    assert (len(one), len(two)) == (1100, 1300)
    assert one[:1024] == two[:1024]
    assert one[1024:1100] != two[1024:1100]


def test_blocks_a_whole_text_apart_differ() -> None:
    """Ids 100,000 apart begin at the same word of the text, yet no two have the same beginning."""
    seen = set()
    for block in (7, 100_007, 200_007, 300_007):
        request = PlannedRequest(0, 0.0, TrafficClass.CHAT, 512, 1, blocks=(block,))
        words = _sent(request)[1]["messages"][0]["content"].split()
        assert len(words) == 512
        seen.add((words[0], words[1]))
    assert len(seen) == 4


def test_another_round_and_another_run_have_other_prompts() -> None:
    """A round's seed changes the words of a trace's blocks; a run's mark changes the first two."""
    request = PlannedRequest(0, 0.0, TrafficClass.CHAT, 600, 1, blocks=(4, 5), start=8)

    def words(**options: Any) -> list[str]:
        found: list[str] = _sent(request, **options)[1]["messages"][0]["content"].split()
        assert len(found) == 600
        return found

    assert words(seed=3) == words(seed=3)
    assert sum(map(str.__eq__, words(seed=3), words(seed=4))) < 60
    first, second = words(seed=3, mark=1), words(seed=3, mark=2)
    assert first[:2] != second[:2]
    assert first[512:] == second[512:]


def test_a_run_has_nothing_of_the_one_before_in_an_engines_cache() -> None:
    """Both policies of a round ask the same lengths in other words from the first one on."""
    config = LLMBenchmarkConfig(requests=4, rate=500, warmup_requests=0, prompt_tokens="30")
    config = replace(config, policies=("fifo", "priority"), rounds=1)
    with TinyServer(policy="fifo") as server:
        list(Bench(config, Found(server.url, Models("chat"))).compare())
        prompts = [body["messages"][0]["content"].split() for body in server.bodies]
    assert [len(words) for words in prompts] == [30] * 8
    assert not {tuple(words[:2]) for words in prompts[:4]} & {tuple(w[:2]) for w in prompts[4:]}


def test_a_prompt_longer_than_the_text_goes_round() -> None:
    """A quarter of a million tokens are there."""
    assert len(built_in_text().take(250_000, 5).split()) == 250_000


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    """Whatever is not plain ASCII is left out, so that it stands in JSON as it is."""
    path = tmp_path / "text"
    path.write_text('He said "no" – näh\\\n' * 40)
    stretch = file_text(path).take(50, 3).decode()
    assert json.loads(f'"{stretch}"') == stretch
    assert len(stretch) == pytest.approx(50 * 4.3, rel=0.1)
    path.write_text("too short")
    with pytest.raises(ConfigError, match="has 2 words"):
        file_text(path)


def test_lengths_have_the_mean_and_spread_asked_for() -> None:
    """A lognormal one by its mean and coefficient of variation."""
    rng = random.Random(3)
    draws = [parse_lengths("lognormal:200:0.8", "x").draw(rng) for _ in range(20_000)]
    mean = sum(draws) / len(draws)
    assert mean == pytest.approx(200, rel=0.03)
    assert (sum((d - mean) ** 2 for d in draws) / len(draws)) ** 0.5 / mean == pytest.approx(
        0.8, rel=0.06
    )
    uniform = {parse_lengths("uniform:2:4", "x").draw(rng) for _ in range(99)}
    assert uniform == {2, 3, 4}
    assert parse_lengths("17", "x").draw(rng) == 17


@pytest.mark.parametrize(
    "text", ["", "many", "fixed", "0", "uniform:5", "uniform:5:2", "lognormal:3:0", "fixed:inf"]
)
def test_what_is_no_distribution_is_refused(text: str) -> None:
    """The option and the text are named."""
    with pytest.raises(ConfigError, match="prompt_tokens"):
        parse_lengths(text, "prompt_tokens")


def test_a_misspelt_distribution_names_the_nearest() -> None:
    """Not a guess, an error."""
    with pytest.raises(UnknownKeyError, match="'lognormal'"):
        parse_lengths("lognorml:3:1", "prompt_tokens")
