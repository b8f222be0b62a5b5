"""The command line without any server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

_TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(
    f"2023-11-16 18:15:{second:02d}.5,{300 + 10 * second},{20 + second}" for second in range(60)
)


@pytest.fixture
def trace() -> str:
    """Write a trace of a minute and return its path."""
    Path("trace.csv").write_text(_TRACE)
    return "trace.csv"


def test_simulate_a_trace(bench: Any, trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report is that of a live run, and so is the file; the same command gives the same."""
    line = ("simulate", "--profile", "h100-vllm-qwen2.5-7b", "--engines", "2", "--policy")
    scaled = ("--trace", trace, "--rate-scale", "10", "--seed", "7")
    assert bench(*line, "hybrid_slo", *scaled, "--output", "a.json") == 0
    said = capsys.readouterr().out
    assert "policy hybrid_slo, seed 7" in said
    assert "60 requests: 60 judged (60 answered, 0 failed)" in said
    assert "simulated: 2 x h100-vllm-qwen2.5-7b" in said
    assert bench(*line, "hybrid_slo", *scaled, "--output", "b.json") == 0
    first, again = (json.loads(Path(name).read_text()) for name in ("a.json", "b.json"))
    assert first["runs"] == again["runs"]
    rows = first["runs"][0]["requests"]["rows"]
    assert len(rows) == 60
    assert rows[-1][2] == pytest.approx(5.9)


def test_run_and_compare_simulated(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The tutorial's lines work with --simulate, mixed loads too."""
    flags = ("--simulate", "--rate", "50")
    line = ("run", "--mode", "hybrid", "--policy", "hybrid_slo", "--llm-ratio", "0.7", *flags)
    assert bench(*line) == 0
    said = capsys.readouterr().out
    assert "1 x minilm-onnx-cpu" in said
    assert "no client had a part" in said
    line = ("compare", "--mode", "llm", "--policies", "fifo,priority,slo_aware", *flags)
    assert bench(*line, "--engines", "1", "--rounds", "3") == 0
    assert "3 paired rounds" in capsys.readouterr().out


def test_replay_simulated(bench: Any, trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As `simulate --trace`."""
    assert bench("replay", trace, "--simulate", "--requests", "10") == 0
    assert "10 requests: 10 judged" in capsys.readouterr().out


def test_plan(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """How many engines a rate needs; 1 when no number is enough."""
    sizes = ("--prompt-tokens", "1000", "--output-tokens", "100", "--requests", "300")
    assert bench("plan", "--rate", "60", *sizes, "--attainment", "0.95") == 0
    assert "LLM engines for 95.0% attainment" in capsys.readouterr().out
    hopeless = ("--slo-ttft-ms", "1", "--most-engines", "2")
    assert bench("plan", "--rate", "60", *sizes, *hopeless) == 1
    assert "2 LLM engines do not reach 95.0%" in capsys.readouterr().out
    mixed = ("--mode", "hybrid", "--rate", "40", "--requests", "300")
    assert bench("plan", *mixed) == 0
    said = capsys.readouterr().out
    assert "LLM engines for 95.0% attainment" in said
    assert "embedding engines for 95.0% attainment" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--engines", "3"), "--engines is for simulated engines; add --simulate"),
        (("run", "--simulate", "--url", "http://x"), "--simulate needs no server"),
        (("run", "--simulate", "--embedded"), "--simulate needs no server"),
        (("simulate", "--rate-scale", "2"), "--rate-scale is for a trace"),
        (("simulate", "--trace", "trace.csv", "--rate", "2"), "--rate: the trace says that itself"),
        (("simulate", "--embedding-engines", "2"), "add --mode hybrid"),
        (("simulate", "--profile", "h100-vllm"), "unknown key 'h100-vllm'"),
        (("simulate", "--policy", "fifoo"), "fifo"),
        (("simulate", "--engines", "0"), "engines is 0"),
    ],
)
def test_wrong_flags_are_usage_errors(
    bench: Any, trace: str, capsys: pytest.CaptureFixture[str], arguments: Any, says: str
) -> None:
    """Exit code 2, and the flag is named."""
    assert bench(*arguments) == 2
    assert says in capsys.readouterr().err
