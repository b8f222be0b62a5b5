"""The comparison of load clients: its servers do what they say, and it reads what clients wrote."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT

BENCHMARKS = ROOT / "benchmarks"
_BODY = b'{"stream": true, "messages": []}'
_ASKED = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Start the server with the fault that the test names, and return its URL."""
    process = importlib.import_module("_process")
    scenarios = importlib.import_module("_client_scenarios")
    port = process.free_port()
    command = [sys.executable, str(BENCHMARKS / "_client_faults.py"), str(port), request.param]
    command.append(str(tmp_path / "asked"))
    with process.Process(command, core=0, log=tmp_path / "log") as server:
        scenarios._wait(port, server)
        yield f"http://127.0.0.1:{port}"


async def _ask(port: int) -> tuple[int, float, int]:
    """Ask for a stream; return its status, the longest gap in it, and how many events came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_ASKED)
    status = int((await reader.readline()).split()[1])
    gaps, events, last = [0.0], 0, 0.0
    while status == 200 and b"[DONE]" not in (line := await reader.readline()):
        if b'"content"' in line:
            now = time.monotonic()
            if events:
                gaps.append(now - last)
            events, last = events + 1, now
    writer.close()
    return status, max(gaps), events


async def _together(url: str, count: int) -> list[tuple[int, float, int]]:
    port = int(url.rpartition(":")[2])
    return await asyncio.gather(*(_ask(port) for _ in range(count)))


def _truth(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/truth", timeout=10) as answer:
        told: dict[str, float] = json.loads(answer.read())
    return told


@pytest.mark.parametrize("faulty", ["freeze"], indirect=True)
def test_every_tenth_answer_is_an_error(faulty: str) -> None:
    """Exactly those, and the server tells how many."""
    statuses = [status for status, _, _ in asyncio.run(_together(faulty, 30))]
    assert sorted(statuses) == [200] * 27 + [500] * 3
    truth = _truth(faulty)
    assert (truth["requests"], truth["failed"]) == (30, 3)


@pytest.mark.parametrize("faulty", ["freeze"], indirect=True)
def test_all_streams_stand_still_at_once(faulty: str) -> None:
    """Each open stream sees one long gap, all its events, and the server's P99 shows it."""
    told = asyncio.run(_together(faulty, 18))
    answers = [answer for answer in told if answer[0] == 200]
    assert len(answers) == 17
    assert all(gap >= 0.25 for _, gap, _ in answers)
    assert {events for _, _, events in answers} == {63}
    assert _truth(faulty)["itl_p99_ms"] >= 290


@pytest.mark.parametrize("faulty", ["freeze"], indirect=True)
def test_few_streams_are_not_frozen(faulty: str) -> None:
    """What a client sends to warm up does not begin the freeze."""
    asyncio.run(_together(faulty, 1))
    assert _truth(faulty)["itl_p99_ms"] < 290


def test_the_stall_is_reckoned_from_when_requests_were_due() -> None:
    """Without a limit each waits until the stall is over; with one also for those before it."""
    faults = importlib.import_module("_client_faults")
    free = faults.stall_latencies(1000, 50.0, 1000)
    assert max(free) == pytest.approx(2.02)
    assert sum(latency > 0.021 for latency in free) == 100
    # The k-th of them waits 20 ms less.
    assert sorted(free)[-10] == pytest.approx(2.02 - 9 * 0.02)
    limited = faults.stall_latencies(1000, 50.0, 8)
    assert all(a >= b - 1e-9 for a, b in zip(limited, free, strict=True))
    assert sum(limited) > sum(free)


def test_the_truth_is_that_of_the_issue() -> None:
    """The stall's P99 and attainment, and the failures' attainment."""
    scenarios = importlib.import_module("_client_scenarios")
    assert scenarios.truth() == pytest.approx(
        {"stall_e2e_p99_ms": 1840, "stall_good": 0.914, "freeze_good": 0.9}
    )


def test_ours_is_measured_as_the_others_are(tmp_path: Path) -> None:
    """One real run through the command gives the figures of its table, and what it cost."""
    peers = importlib.import_module("_client_peers")
    scenarios = importlib.import_module("_client_scenarios")
    clients, _ = peers.clients(tmp_path / "bin" / "python")
    job = scenarios._job(20, 8, 63, slo_ms=60_000)
    told = scenarios.run(
        peers.SAGE,
        clients[peers.SAGE],
        scenarios.Scenario("freeze", job, "freeze"),
        (0, 0),
        tmp_path,
    )
    # Three that warm it up are asked for before, of which the server knows nothing.
    assert (told["seen_requests"], told["seen_failed"], told["good"]) == (23, 2, 0.9)
    assert told["e2e_p99_ms"] >= 620
    assert 0 < told["start_cpu_s"] < told["cpu_s"]


def _cost(folder: Path, program: str) -> dict[str, float]:
    """Return what it costs to run a program."""
    process = importlib.import_module("_process")
    command = [sys.executable, str(BENCHMARKS / "_client_cost.py"), "20"]
    command += [str(folder / "cost.json"), str(folder / "asked"), sys.executable, "-c", program]
    with process.Process(command, core=0, log=folder / "log") as running:
        while running.alive:
            time.sleep(0.02)
    told: dict[str, float] = json.loads((folder / "cost.json").read_text())
    return told


_SPIN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def test_processes_without_a_parent_are_counted(tmp_path: Path) -> None:
    """The CPU time of a child that its parent did not wait for is in the cost."""
    told = _cost(
        tmp_path, f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_SPIN!r}])"
    )
    assert told["returncode"] == 0
    assert told["cpu_s"] >= 0.3


def test_what_comes_before_the_first_chat_is_starting(tmp_path: Path) -> None:
    """What is spent until the server's file is there is told apart from the rest."""
    asked = str(tmp_path / "asked")
    told = _cost(tmp_path, f"{_SPIN}open({asked!r}, 'w').write('1')\n{_SPIN}")
    assert told["start_cpu_s"] >= 0.25
    assert told["cpu_s"] - told["start_cpu_s"] >= 0.2


def test_a_client_that_is_not_there_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pip or the search for a Python said stands in the results and on the page."""
    peers = importlib.import_module("_client_peers")
    page = importlib.import_module("_client_peers_page")
    monkeypatch.setattr(peers, "CACHE", tmp_path)
    monkeypatch.setattr(peers, "_python", lambda lowest: None)
    peers.install()
    clients, missing = peers.clients(tmp_path / "vllm" / "bin" / "python")
    assert list(clients) == [peers.SAGE]
    assert set(missing) == {*peers.PINS, peers.VLLM}
    assert missing["inference-perf"] == "it needs Python 3.12 or newer, which was not found"
    text = "\n".join(page.section(_figures({}, missing)))
    assert "inference-perf is left out: it needs Python 3.12" in text


def _figures(failed: dict[str, dict[str, str]], missing: dict[str, str]) -> dict[str, Any]:
    def value(number: float, low: float | None = None) -> dict[str, float]:
        return {"median": number, "lowest": number if low is None else low, "highest": number}

    return {
        "rounds": 3,
        "date": "2026-01-01",
        "command": "python benchmarks/client.py --peers",
        "load_averages": [0.5, 0.5, 0.5],
        "versions": {"sage-cp-bench": "0.1.0", "other": "1"},
        "missing": missing,
        "failed": failed,
        "truth": {"stall_e2e_p99_ms": 1840.0, "stall_good": 0.914, "freeze_good": 0.9},
        "wrk": {"requests_per_s": 76_500.4, "request_us": 5.4},
        "clients": {
            "sage-cp-bench": {"stall_e2e_p99_ms": value(1862, 1850), "stall_good": value(0.91)},
            "other": {"stall_e2e_p99_ms": value(28)},
        },
    }


def test_the_page_shows_figures_failures_and_what_a_client_lacks() -> None:
    """A run that failed is not told as a figure that the client does not have."""
    page = importlib.import_module("_client_peers_page")
    figures = _figures({"other": {"freeze": "no results"}}, {})
    rows = {row.split(" | ")[0]: row for row in page.table(figures)}
    assert rows["| 2 s stall: E2E P99, ms"].endswith("| 1,840 | 1,862 (1,850–1,862) | 28 |")
    assert rows["| 2 s stall: within the SLO"].endswith("| 91.4% | 91.0% | — |")
    assert rows["| 300 ms freeze: ITL P99, ms"].endswith("| — | did not run |")
    assert "other did not run in freeze: `no results`" in page.section(figures)
