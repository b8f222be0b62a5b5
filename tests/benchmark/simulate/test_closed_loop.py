"""The model of the H100 profile against what the real engine gave."""

from __future__ import annotations

import json
import statistics
from importlib import resources

import pytest

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.workload import PlannedRequest

_NAME = "h100-vllm-qwen2.5-7b"
_PROMPT, _OUTPUT = 1024, 128


def _measured() -> list[dict[str, float]]:
    text = (resources.files("sage.benchmark") / "profiles" / f"{_NAME}.json").read_text()
    table = json.loads(text)["d_closed_loop"]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def _simulated(workers: int) -> dict[str, float]:
    count = max(30, 10 * workers)
    requests = [PlannedRequest(n, 0.0, TrafficClass.CHAT, _PROMPT, _OUTPUT) for n in range(count)]
    config = LLMBenchmarkConfig(arrival=ArrivalPattern.CLOSED, users=workers, requests=count)
    # The real engine was driven in its own process: no gateway, no network.
    alone = SimulationConfig(profile=_NAME, engines=1, network_ms=0.0, max_requests=1024)
    exchanges = simulate(requests, config, alone).exchanges[2 * workers : count - workers]
    e2e = statistics.median(one.ended - one.intended for one in exchanges)
    return {
        "req_s_cycle": workers / e2e,
        "ttft_p50_ms": statistics.median(
            (one.token_times[0] - one.intended) * 1000 for one in exchanges
        ),
        "itl_mean_ms": statistics.fmean(
            (one.token_times[-1] - one.token_times[0]) * 1000 / (_OUTPUT - 1) for one in exchanges
        ),
        "e2e_p50_ms": e2e * 1000,
    }


def test_the_closed_loop_table_is_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    """Requests/s and mean ITL within 5%, TTFT within 15%, from 1 worker to 256."""
    bars = {"req_s_cycle": 0.05, "itl_mean_ms": 0.05, "ttft_p50_ms": 0.15, "e2e_p50_ms": 0.05}
    lines, off = [], []
    for row in _measured():
        model = _simulated(int(row["concurrency"]))
        cells = []
        for name, bar in bars.items():
            error = model[name] / row[name] - 1
            cells.append(f"{name} {model[name]:.5g} / {row[name]:.5g} ({error:+.1%})")
            if abs(error) > bar:
                off.append(f"{row['concurrency']:.0f} workers: {cells[-1]}")
        lines.append(f"{row['concurrency']:4.0f} workers, model / measured: {', '.join(cells)}")
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert not off
