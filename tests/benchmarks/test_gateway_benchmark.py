"""The gateway benchmark's own parts: what it reads, what it makes of it, and what it sends."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.documents import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the benchmarks, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def loaded(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield loaded
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists():
            del sys.modules[name]


def _rows(*values: float) -> list[dict[str, float]]:
    return [{"request_us": value, "requests_per_s": 1000.0, "core_share": 1.0} for value in values]


def test_wrk_summary_is_read_and_its_absence_told(load: Any) -> None:
    """The line that the script prints gives requests, seconds and failures; none is an error."""
    wrk = load("_wrk")
    line = (
        'summary {"requests": 5000, "duration_us": 2000000, "p50_us": 80, "p99_us": 210, '
        '"not_ok": 3, "broken": 1}'
    )
    read = wrk.parse(f"Running 2s test\n  5000 requests in 2.0s\n{line}\n")
    assert (read.requests, read.seconds, read.p50_us, read.not_ok, read.broken) == (
        5000,
        2.0,
        80,
        3,
        1,
    )
    with pytest.raises(RuntimeError, match="no summary"):
        wrk.parse("unable to connect")


def test_ratios_are_taken_within_rounds(load: Any) -> None:
    """A round in which everyone was slow does not move the ratio."""
    page = load("_gateway_page")
    told = page.summary(
        "request_us", {"sage": _rows(50.0, 100.0, 55.0), "vllm-router": _rows(60.0, 120.0, 110.0)}
    )
    ratio = told["sage"]["ratios"]["vllm-router"]
    assert ratio == pytest.approx({"median": 5 / 6, "lowest": 0.5, "highest": 5 / 6})
    assert told["sage"]["highest"] == 100.0
    assert "nginx" not in told["sage"]["ratios"]


def test_bars_are_missed_met_or_not_measured(load: Any) -> None:
    """A figure above its bar misses it; without a figure a bar is neither met nor missed."""
    page = load("_gateway_page")
    rows = page.summary("request_us", {"sage": _rows(59.0), "vllm-router": _rows(50.0)})
    idle = {"connections": 10_000, "kept": 9_999, "failed": 0, "rss_peak_mb": 150.0}
    by_name = {bar["what"]: bar["met"] for bar in page.bars({"request_us": rows, "idle": idle})}
    assert by_name["CPU a request"] is True
    assert by_name["CPU a request against vllm-router, same run"] is False
    assert by_name["CPU a streamed event"] is None
    assert by_name["10,000 idle connections, 200 streams"] is False


def test_a_peer_that_is_left_out_is_told_with_its_reason(load: Any) -> None:
    """The table and the page name it, and the other rows stand."""
    page = load("_gateway_page")
    figures = {
        "gateways": {
            "sage": {"version": "1", "command": "sage"},
            "smg": {"version": "2", "missing": "it ended while starting"},
        },
        "request_us": page.summary("request_us", {"sage": _rows(50.0)}),
        "settings": dict.fromkeys(
            ("gateway_core", "load_core", "rounds", "seconds", "connections", "streams", "events"),
            1,
        )
        | {"interval_ms": 5.0, "spaced_ms": 20.0, "files": 20_000},
    }
    figures["bars"] = page.bars(figures)
    data = {
        "figures": figures,
        "machine": dict.fromkeys(("processor", "cores", "memory_gib", "system", "python"), "x"),
        "versions": {},
        "date": "2026-01-01",
        "command": "python benchmarks/gateway.py",
    }
    text = page.page(data)
    assert "| smg 2 | left out |" in text
    assert "smg is left out: it ended while starting" in text
    assert "| sage 1 | 50.0 (50.0–50.0) |" in text


def test_the_page_shows_the_figures_of_the_json(load: Any) -> None:
    """No figure on the page was typed: it is what the JSON gives."""
    page = load("_gateway_page")
    data = json.loads(page.JSON.read_text(encoding="utf-8"))
    assert page.PAGE.read_text(encoding="utf-8") == page.page(data)


def test_self_time_is_summed_by_function(load: Any) -> None:
    """Samples of one function on several stacks are one line, the innermost frame counts."""
    runs = load("_gateway_runs")
    collapsed = (
        "run (asyncio/runners.py);write (sage/inference/gateway/server.py) 30\n"
        "run (asyncio/runners.py);send (x.py);write (sage/inference/gateway/server.py) 30\n"
        "run (asyncio/runners.py) 40\n"
    )
    assert runs.self_times(collapsed) == [
        ("write (gateway/server.py)", 0.6),
        ("run (asyncio/runners.py)", 0.4),
    ]


@pytest.mark.anyio
async def test_streams_are_counted_event_by_event(load: Any) -> None:
    """The engine stand-in sends what was asked for, and the client counts all of it."""
    engine, callers = load("_streams"), load("_callers")
    written = engine.pieces(16)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: engine.Engine(written, 0.0), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    data = callers.request(port, {"model": "bench", "stream": True}, {})
    async with server:
        tally = await callers.streams(port, data, at_once=5, seconds=0.0, expected=16)
        assert (tally.asked, tally.events, tally.faults) == (5, 5 * 17, {})
        tally = await callers.streams(port, data, at_once=2, seconds=0.0, expected=18)
        assert tally.faults == {"17 events of 18": 2}


def test_cpu_and_end_of_a_tree_of_processes(load: Any, tmp_path: Path) -> None:
    """A child's CPU time counts, and the child ends with its parent."""
    process = load("_process")
    script = (
        "import subprocess, sys\n"
        "burn = 'import time; [i*i for i in range(3_000_000)]; print(1, flush=True); "
        "time.sleep(60)'\n"
        "child = subprocess.Popen([sys.executable, '-c', burn], stdout=subprocess.PIPE)\n"
        "child.stdout.read(1)\n"
        "import socket; socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "child.wait()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as ready:
        command = [sys.executable, "-c", script, str(ready.getsockname()[1])]
        with process.Process(command, core=0, log=tmp_path / "log") as running:
            ready.settimeout(30)
            ready.accept()[0].close()
            tree = running._tree()
            assert len(tree) == 2
            own = sum(tree[0].cpu_times()[:2])
            assert running.cpu_seconds() > own + 0.05
            assert running.rss_bytes() > 10e6
        assert not running.alive
        assert not any(item.is_running() and item.status() != "zombie" for item in tree)


@pytest.mark.anyio
async def test_a_closed_connection_is_a_fault_of_the_request(load: Any) -> None:
    """A connection that the gateway closed before it is used again counts as a failure."""
    engine, callers = load("_streams"), load("_callers")
    accepted: list[asyncio.Transport] = []

    class Closing(engine.Engine):  # type: ignore[misc, name-defined] # a script has no types
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            accepted.append(transport)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Closing([], 0.0), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    data = callers.request(port, {"model": "bench"}, {})
    async with server:
        connection = await callers.Connection.open(port)
        assert await connection.ask(data) == ""
        accepted[0].close()
        assert (await connection.ask(data)).startswith("the connection")
        assert await connection.ask(data) == "the connection is closed"
