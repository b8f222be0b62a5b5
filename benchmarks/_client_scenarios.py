"""What load clients are compared on: kinds of runs, their servers, and one run of one client."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import _client_faults as faults
import _client_runs as runs
import _peers
from _client_peers import Client, cost
from _client_tools import TOOLS, Found, Job
from _process import Process, free_port
from _stand import CHAT, Asked
from _streams import CANNED_TOKENS, canned_stream

LIMIT_S = 120.0
ASKED = Asked("", json.dumps({**CHAT, "stream": True}))
_HERE = Path(__file__).parent
EVENTS = faults.SHAPES["steady"][0]
STALL_RATE, STALL_SLOTS, STALL_SLO_MS = 50.0, 8, 500.0
# As many as each answers in a few seconds: what starting costs is then small beside them.
_COUNTS = {"sage-cp-bench": 30_000, "vllm bench serve": 8_000, "inference-perf": 4_000}
_COUNT = 1_500


@dataclass(frozen=True)
class Scenario:
    """One kind of run.

    Attributes:
        name: as results have it.
        job: what the client does; its url and folders are of each run.
        fault: of the server; "" for the one that answers at once.
    """

    name: str
    job: Job
    fault: str = ""


def _job(requests: int, in_flight: int, tokens: int, rate: float = 0.0, slo_ms: float = 0.0) -> Job:
    return Job("", requests, in_flight, tokens, Path(), Path(), rate, slo_ms)


def costs(name: str) -> tuple[Scenario, Scenario]:
    """Return the runs that tell what a client costs, of which only its CPU time counts."""
    return (
        Scenario("requests", _job(_COUNTS.get(name, _COUNT), 32, CANNED_TOKENS)),
        Scenario("chunks", _job(256, 64, EVENTS - 1), "steady"),
    )


CORRECTNESS = (
    Scenario("stall", _job(1000, STALL_SLOTS, 3, STALL_RATE, STALL_SLO_MS), "stall"),
    Scenario("freeze", _job(100, 32, faults.SHAPES["freeze"][0] - 1, slo_ms=10_000), "freeze"),
)


def truth() -> dict[str, float]:
    """Return what the stall does to requests that are timed from when they were due."""
    job = CORRECTNESS[0].job
    latencies = sorted(faults.stall_latencies(job.requests, job.rate, job.in_flight))
    within = sum(latency * 1000 <= job.slo_ms for latency in latencies)
    return {
        "stall_e2e_p99_ms": latencies[round(job.requests * 0.99) - 1] * 1000,
        "stall_good": within / job.requests,
        "freeze_good": 1 - 1 / faults.FAIL_EVERY,
    }


def _server(fault: str, port: int, folder: Path) -> list[str]:
    asked = folder / "asked"
    if not fault:
        return _peers.canned(port, folder, streamed=canned_stream(), asked=asked).command
    script = [sys.executable, str(_HERE / "_client_faults.py")]
    return [*script, str(port), fault, str(asked)]


def _wait(port: int, process: Process) -> None:
    """Wait until a server answers; no chat is asked, since faults count them."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.alive:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server does not answer: {process.log_tail()}")


def run(
    name: str, client: Client, scenario: Scenario, cores: tuple[int, int], model: Path
) -> Found:
    """Run one client once.

    Args:
        name: of the client.
        client: it.
        scenario: what it does.
        cores: of the client, and of the server.
        model: folder of a tokenizer.

    Returns:
        What its results say, its ``cpu_s`` and ``start_cpu_s``, and what the server saw as
        ``seen_…``.

    Raises:
        RuntimeError: it failed, or its results cannot be read.
    """
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        port = free_port()
        own = folder / "server"
        own.mkdir()
        job = replace(scenario.job, url=f"http://127.0.0.1:{port}", folder=folder, tokenizer=model)
        command = _server(scenario.fault, port, own)
        with Process(command, core=cores[1], log=own / "log") as server:
            _wait(port, server)
            told = _measured(name, client, job, cores[0], own / "asked")
            seen = _seen(job.url) if scenario.fault else {}
        try:
            found = TOOLS[name].read(job)
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            tail = (folder / "log").read_text(encoding="utf-8", errors="replace").strip()[-300:]
            code = told["returncode"]
            raise RuntimeError(f"no results (ended with {code:g}; {error!r}): {tail}") from error
        spent: Found = {key: told[key] for key in ("cpu_s", "start_cpu_s")}
        return {**found, **spent, **{f"seen_{key}": seen[key] for key in seen}}


def _measured(name: str, client: Client, job: Job, core: int, asked: Path) -> dict[str, float]:
    tool = TOOLS[name]
    told = job.folder / "cost.json"
    command = [sys.executable, str(_HERE / "_client_cost.py"), str(LIMIT_S), str(told), str(asked)]
    command += [client.program, *tool.command(job)]
    variables = {**tool.environment, "HF_HOME": str(job.folder / "hub")}
    log = job.folder / "log"
    with Process(command, core=core, log=log, environment=variables) as process:
        while process.alive:
            time.sleep(0.05)
    return cost(told)


def _seen(url: str) -> Mapping[str, float]:
    with urllib.request.urlopen(f"{url}/truth", timeout=10) as answer:
        told: Mapping[str, float] = json.loads(answer.read())
    return told


def limit(folder: Path, core: int, seconds: int) -> dict[str, float]:
    """Return what wrk, which looks at nothing, does with the server that answers at once."""
    port = free_port()
    command = _peers.canned(port, folder, streamed=canned_stream()).command
    with Process(command, core=core, log=folder / "log") as server:
        _wait(port, server)
        return runs.wrk(f"http://127.0.0.1:{port}", folder, ASKED, 32, seconds)
