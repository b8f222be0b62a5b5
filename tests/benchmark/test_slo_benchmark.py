"""What benchmarks/slo.py sends, and how it counts."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.load import LoadResult
from sage.benchmark.prompts import built_in_text
from sage.benchmark.wire import Models, RequestWriter
from sage.inference.gateway.target import parse_target
from tests.documents import ROOT


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_runs_of_a_pair_differ_in_their_words_alone(part: Any) -> None:
    """Same moments, sizes and classes; other prompts, so that no engine has them cached."""
    traffic = part("_traffic")
    one, other = (
        traffic.offer(traffic.Mix(), rate=6.0, seconds=1000.0, seed=3, text=text) for text in (1, 2)
    )
    assert [(r.index, r.at, r.prompt_tokens, r.output_tokens) for r in one] == [
        (r.index, r.at, r.prompt_tokens, r.output_tokens) for r in other
    ]
    assert [r.cls for r in one] == [r.cls for r in other]
    assert all(a.start != b.start for a, b in zip(one, other, strict=True))
    counts = Counter(request.cls for request in one)
    assert counts["chat"] / (counts["chat"] + counts["bulk"]) == pytest.approx(0.7, abs=0.05)
    assert len(one) / 1000.0 == pytest.approx(6.0, rel=0.1)


def test_each_class_asks_for_its_terms(part: Any) -> None:
    """The gateway learns priority and objective from headers; the body stays whole."""
    traffic = part("_traffic")
    offered = traffic.offer(traffic.Mix(), rate=6.0, seconds=20.0, seed=1, text=1)
    target, models = parse_target("http://127.0.0.1:9"), Models("m", "e")
    writer = RequestWriter(target, models, built_in_text(), ignore_eos=True)
    asked = {}
    for request in offered:
        head, body = writer.write(request).split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        assert f"content-length: {len(body)}" in lines
        assert json.loads(body)["model"] in ("m", "e")
        asked[request.cls] = {line for line in lines if line.startswith("x-")}
    assert asked == {
        "chat": {"x-slo-ttft-ms: 1500"},
        "bulk": {"x-request-priority: -10", "x-slo-deadline-ms: 60000"},
        "embedding": {"x-slo-deadline-ms: 500"},
    }


def test_every_request_issued_is_counted_once(part: Any) -> None:
    """What fails, is refused, times out or comes late has missed; a request lost stops the run."""
    traffic, verdicts = part("_traffic"), part("_verdicts")
    whole = traffic.offer(traffic.Mix(), rate=30.0, seconds=1.0, seed=1, text=1)
    offered = [replace(whole[0], index=index, cls="chat") for index in range(5)]
    for request in offered:
        request.slo = traffic.Mix().classes()[0].slo
    ends = [None, None, Failure.REJECTED, Failure.TIMEOUT, Failure.DISCONNECTED]
    exchanges = []
    for request, failure in zip(offered, ends, strict=True):
        exchange = Exchange(request, intended=0.0, ready=0.0)
        exchange.token_times = [1.0 if request.index else 2.0]
        exchange.ended, exchange.failure = 4.0, failure
        exchanges.append(exchange)
    result = LoadResult(exchanges, 0, 0.0, 0.0, 4.0, [])
    seconds, found = verdicts.outcomes(offered, result)
    assert (seconds, found["chat"]) == (4.0, found["all"])
    counted = found["all"]
    assert (counted.issued, counted.met, counted.late) == (5, 1, 1)
    assert (counted.rejected, counted.timed_out, counted.failed) == (1, 1, 1)
    assert (counted.attainment, counted.goodput) == (0.2, 0.25)
    with pytest.raises(SystemExit, match="5 requests planned, 4 issued"):
        verdicts.outcomes(offered, LoadResult(exchanges[:4], 0, 0.0, 0.0, 4.0, []))


def test_the_page_says_what_was_measured(part: Any) -> None:
    """docs/benchmarks/slo.md is written from the results: `python benchmarks/slo.py --page`."""
    data = json.loads((ROOT / "benchmarks/results/slo.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/benchmarks/slo.md").read_text(encoding="utf-8")
    assert part("_slo_page").page(data) == page
