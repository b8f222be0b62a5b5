"""``sage-cp-bench experiment``: the four questions, simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

_LOAD = ("--simulate", "--engines", "1", "--rate", "20", "--seconds", "4", "--rounds", "2")
_SIZES = ("--prompt-tokens", "1000", "--output-tokens", "64")
_CLASSES = (
    *("--class", "interactive:share=0.7,ttft_ms=300,tpot_ms=50"),
    *("--class", "bulk:share=0.3,ttft_ms=20000,tpot_ms=200"),
)


def _result() -> Any:
    return json.loads(Path("r.json").read_text())


def test_throughput(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Loads lie around the first policy's knee, which is found first; past it goodput falls."""
    line = ("experiment", "throughput", *_LOAD, *_SIZES, "--policies", "fifo,hybrid_slo")
    assert bench(*line, "--output", "r.json") == 0
    result = _result()
    values = sorted({point["value"] for point in result["sweep"]["points"]})
    knee = values[2]
    assert values == pytest.approx([knee * f for f in (0.5, 0.75, 1, 1.25, 1.5, 2, 3)], rel=0.001)
    good = {
        level["value"]: level["classes"]["all"]["goodput"]["mean"]
        for level in result["sweep"]["levels"]
        if level["policy"] == "fifo"
    }
    assert good[values[-1]] < good[knee]
    said = capsys.readouterr().out
    assert "How much is served as the load grows past the knee" in said
    assert result["experiment"]["name"] == "throughput"
    (finding, _) = result["experiment"]["findings"]
    assert finding.startswith("fifo: at most ")
    assert finding in said


def test_latency_compares_the_tails_at_each_load(bench: Any) -> None:
    """Loads that are named are taken as they are."""
    line = ("experiment", "latency", *_LOAD, *_SIZES, "--policies", "fifo,hybrid_slo")
    assert bench(*line, "--rates", "5,10", "--output", "r.json") == 0
    result = _result()
    findings = result["experiment"]["findings"]
    assert [line.split(":")[0] for line in findings] == ["rate 5", "rate 10"] * 2
    assert "hybrid_slo's TTFT P99, ms to fifo's" in findings[0]
    assert "E2E P99" in findings[-1]


def test_slo_by_class(bench: Any) -> None:
    """Each class has its own load up to which it is in its SLO: bulk's reaches further."""
    line = ("experiment", "slo", *_LOAD, *_SIZES, *_CLASSES, "--policies", "fifo")
    assert bench(*line, "--rates", "10,40,120", "--output", "r.json") == 0
    assert _result()["experiment"]["findings"] == [
        "fifo, interactive: 90% in SLO up to 40 requests/s",
        "fifo, bulk: 90% in SLO up to 120 requests/s",
        "fifo, all: 90% in SLO up to 40 requests/s",
    ]


def test_mixed_ratio(bench: Any) -> None:
    """It is of mode hybrid by itself, and goes from embeddings alone to chat alone."""
    line = ("experiment", "mixed_ratio", *_LOAD, "--policies", "fifo,hybrid_slo")
    assert bench(*line, "--output", "r.json") == 0
    result = _result()
    assert result["config"]["mode"] == "hybrid"
    points = result["sweep"]["points"]
    assert sorted({point["value"] for point in points}) == [0, 0.25, 0.5, 0.75, 1]
    assert len(result["experiment"]["findings"]) == 5
    mixed = next(point for point in points if point["value"] == 0.5)
    assert set(mixed["classes"]) == {"chat", "embedding", "all"}


def test_an_slo_out_of_reach_says_so(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no knee to place loads around."""
    line = ("experiment", "throughput", *_LOAD, *_SIZES, "--slo-ttft-ms", "1")
    assert bench(*line) == 2
    assert "keeps 90% in SLO; can one request alone? Else name loads: --rates" in (
        capsys.readouterr().err
    )
