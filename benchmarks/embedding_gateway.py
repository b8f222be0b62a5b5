"""What it brings that waiting embedding requests share calls at the gateway.

Runs the packaged embedding engine as a process of its own and two gateways in front of it, one with
``coalesce`` and one without. 64 callers with one text a request take turns between the two and the
engine itself, in pairs: printed are requests/s, CPU time of the gateway and of the engine for a
request, and P50 and P95 of the callers' wait. Then the waits of single texts beside bulk.

    python benchmarks/embedding_gateway.py [--rounds 7] [--callers 64] [--texts 1024] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop
from _load import Connection, run_all
from _report import Report

BIN = Path(sys.executable).parent
TEXT = Path(__file__).parents[1] / "examples" / "data" / "eddystone.txt"
MODEL = "all-minilm-l6-v2"
BULK = 512


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(command: list[str], home: Path) -> Iterator[psutil.Process]:
    """Run a command with a home of its own, and end it."""
    from sage.config.paths import user_paths

    environment = {
        **os.environ,
        "SAGE_MODELS_DIR": str(user_paths().models),
        "SAGE_HOME": str(home),
    }
    running = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield psutil.Process(running.pid)
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=30)


class Side:
    """One of the ways to the engine.

    Args:
        name: of the side.
        url: where it answers.
        server: the process whose CPU time is its own.
    """

    def __init__(self, name: str, url: str, server: psutil.Process) -> None:
        self.name = name
        self.url = url
        self.server = server


@contextmanager
def gateway(name: str, engine_port: int, home: Path, **options: Any) -> Iterator[Side]:
    """Run a gateway in front of the engine."""
    port = free_port()
    home.mkdir()
    config = home / "gateway.toml"
    lines = [f"port = {port}", "[[embedding_backends]]", f"port = {engine_port}"]
    lines += [f'model_name = "{MODEL}"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    config.write_text("\n".join(lines), encoding="utf-8")
    command = [str(BIN / "sage"), "gateway", "start", "--config", str(config), "--foreground"]
    with process(command, home) as running:
        yield Side(name, f"http://127.0.0.1:{port}", running)


async def embed(connection: Connection, given: str | list[str]) -> float:
    """Ask for embeddings and return the seconds it took."""
    start = time.perf_counter()
    payload = {"model": MODEL, "input": given, "encoding_format": "base64"}
    answer = json.loads(await connection.post("/v1/embeddings", payload))
    if len(answer["data"]) != (1 if isinstance(given, str) else len(given)):
        raise RuntimeError(f"{len(answer['data'])} vectors came back")
    return time.perf_counter() - start


async def answering(url: str, deadline: float = 60.0) -> None:
    """Wait until a side answers."""
    limit = time.perf_counter() + deadline
    while time.perf_counter() < limit:
        try:
            async with Connection(url) as connection:
                await embed(connection, "hello")
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)
        else:
            return
    raise TimeoutError(f"{url} does not answer after {deadline} s")


def texts(count: int) -> list[str]:
    """Cut pieces of 5 to 120 words out of the example text, always the same ones."""
    words = TEXT.read_text(encoding="utf-8").split()
    source = random.Random(7)
    found = []
    for _ in range(count):
        length = source.choice((5, 10, 20, 40, 80, 120))
        start = source.randrange(len(words) - length)
        found.append(" ".join(words[start : start + length]))
    return found


def cpu(server: psutil.Process) -> float:
    """Return the CPU seconds a process has used, with its children's."""
    processes = [server, *server.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in processes)


async def crowd(side: Side, engine: psutil.Process, given: list[str], callers: int) -> Any:
    """Send every text as a request of its own, and return the figures."""
    before = cpu(side.server), cpu(engine)
    start = time.perf_counter()
    waits = sorted(await run_all(side.url, given, callers, embed))
    seconds = time.perf_counter() - start
    return {
        "requests_per_s": len(given) / seconds,
        "server_cpu_us": (cpu(side.server) - before[0]) / len(given) * 1e6,
        "engine_cpu_us": (cpu(engine) - before[1]) / len(given) * 1e6,
        "p50_ms": waits[len(waits) // 2] * 1e3,
        "p95_ms": waits[int(0.95 * len(waits))] * 1e3,
    }


async def beside_bulk(side: Side, given: list[str]) -> Any:
    """Send single texts one after another while bulk is under way, and return their waits."""
    waits = []
    async with Connection(side.url) as bulk, Connection(side.url) as single:
        large = asyncio.ensure_future(embed(bulk, given[:BULK]))
        await asyncio.sleep(0.1)
        while not large.done():
            waits.append(await embed(single, "where is the lighthouse?"))
        taken = await large
    waits.sort()
    return {
        "p50_ms": statistics.median(waits) * 1e3,
        "p95_ms": waits[int(0.95 * len(waits))] * 1e3,
        "bulk_texts_per_s": len(given[:BULK]) / taken,
    }


async def measure(
    report: Report, sides: list[Side], engine: psutil.Process, arguments: argparse.Namespace
) -> None:
    """Let the sides take turns and report medians, and the ratios of pairs."""
    for side in sides:
        await answering(side.url)
    given = texts(max(arguments.texts, BULK))
    crowds: dict[str, list[Any]] = {side.name: [] for side in sides}
    bulks: dict[str, list[Any]] = {side.name: [] for side in sides}
    for round_ in range(arguments.rounds + 1):
        order = sides[round_ % len(sides) :] + sides[: round_ % len(sides)]
        for side in order:
            figures = await crowd(side, engine, given[: arguments.texts], arguments.callers)
            beside = await beside_bulk(side, given)
            if round_:  # the first round warms up
                crowds[side.name].append(figures)
                bulks[side.name].append(beside)
    for what, rounds in (("crowd", crowds), ("beside bulk", bulks)):
        for name, found in rounds.items():
            figures = {key: statistics.median(one[key] for one in found) for key in found[0]}
            line = "  ".join(f"{key} {value:.1f}" for key, value in figures.items())
            report.add(f"{what} {name}", figures, f"{what:11} {name:13} {line}")
    for other in ("one by one", "engine"):
        pairs = zip(crowds["coalesce"], crowds[other], strict=True)
        ratios = [a["requests_per_s"] / b["requests_per_s"] for a, b in pairs]
        report.add(
            f"coalesce / {other}",
            {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
            f"requests/s, coalesce / {other}: {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})",
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds (default 7)")
    parser.add_argument("--callers", type=int, default=64, help="connections (default 64)")
    parser.add_argument("--texts", type=int, default=1024, help="requests a round (default 1024)")
    parser.add_argument("--max-calls", type=int, default=16, help="calls at once (default 16)")
    parser.add_argument("--max-batch-tokens", type=int, default=8192, help="tokens of a call")
    parser.add_argument("--quick", action="store_true", help="one round, fewer texts: a smoke run")
    arguments: Any = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.texts = 1, 128
    return arguments


def main() -> None:
    arguments = parse()
    report = Report("embedding_gateway", ["onnxruntime", "tokenizers", "uvicorn", "uvloop"])
    from sage.config.paths import user_paths

    port = free_port()
    command = [sys.executable, "-m", "sage.inference.embeddings.server", "--name", MODEL]
    command += ["--model", str(user_paths().models / MODEL), "--port", str(port)]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(process(command, home / "engine"))
        limits = {
            "max_calls": arguments.max_calls,
            "max_batch_tokens": arguments.max_batch_tokens,
        }
        sides = [
            stack.enter_context(gateway("coalesce", port, home / "one", **limits)),
            stack.enter_context(gateway("one by one", port, home / "two", coalesce=False)),
            Side("engine", f"http://127.0.0.1:{port}", engine),
        ]
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(measure(report, sides, engine, arguments))
    report.write()


if __name__ == "__main__":
    main()
