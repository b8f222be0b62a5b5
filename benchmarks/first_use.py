"""What a newcomer meets first, and what the gateway costs.

Prints: import and ``--help`` time; cold and warm time from ``sage llm serve`` to the first token;
tokens/s through the gateway against straight to the engine at 1, 4 and 16 concurrent requests; and
embedding texts/s through the gateway, one text a request from 64 callers, against the engine's own
sorted batches in one process. Each comparison is paired: the two sides take turns in one run, and
the figure is the median of the ratios, with their range.

    python benchmarks/first_use.py [--rounds 7] [--quick]
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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from _load import Connection, run_all
from _report import Report

BIN = Path(sys.executable).parent
TEXT = Path(__file__).parents[1] / "examples" / "data" / "eddystone.txt"
TOKENS = 128
CALLERS = 64


def seconds_of(command: list[str], runs: int = 15) -> float:
    """Return the median wall time of a command, in seconds, after one run that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure_start_up(report: Report) -> None:
    """Import and help times; the interpreter's own start is taken off the import."""
    python = sys.executable
    bare = seconds_of([python, "-c", "pass"])
    imported = seconds_of([python, "-c", "import sage"]) - bare
    helped = seconds_of([str(BIN / "sage"), "--help"])
    report.add("import_ms", imported * 1e3, f"import sage         {imported * 1e3:7.1f} ms")
    report.add(
        "help_ms", helped * 1e3, f"sage --help         {helped * 1e3:7.1f} ms (whole process)"
    )


@dataclass(frozen=True)
class Ports:
    """Where the stack under test listens."""

    gateway: int
    llm: int
    embedding: int

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway}"

    @property
    def llm_url(self) -> str:
        return f"http://127.0.0.1:{self.llm}"


def free_ports() -> Ports:
    """Return three ports that were free a moment ago."""
    probes = [socket.socket() for _ in range(3)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return Ports(*ports)


@contextmanager
def serving(ports: Ports, home: str) -> Iterator[float]:
    """Run ``sage llm serve`` and yield the moment it was called."""
    environment = {**os.environ, "SAGE_MODELS_DIR": str(models_dir()), "SAGE_HOME": home}
    command = [str(BIN / "sage"), "llm", "serve", "--foreground"]
    command += ["--gateway-port", str(ports.gateway), "--port", str(ports.llm)]
    command += ["--embedding-port", str(ports.embedding)]
    called = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield called
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def models_dir() -> Path:
    """Return the folder of the installed models, wherever the stack's own home is."""
    from sage.config.paths import user_paths

    return user_paths().models


def drop_from_page_cache(folder: Path) -> None:
    """Ask the system to forget the files' contents, so that the next read comes from the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def first_token(url: str, deadline: float = 120.0) -> None:
    """Ask until the first token of a streamed chat has come."""
    limit = time.perf_counter() + deadline
    request = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "stream": True}
    while time.perf_counter() < limit:
        try:
            async with Connection(url) as connection:
                async for data in connection.stream("/v1/chat/completions", request):
                    delta = json.loads(data)["choices"][0]["delta"]
                    if delta.get("content"):
                        return
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.01)
    raise TimeoutError(f"no token from {url} within {deadline} s")


def measure_first_token(report: Report) -> None:
    """Time from the command to the first streamed token, models cold and warm."""
    import xllamacpp

    for name in ("cold", "warm"):
        if name == "cold":
            drop_from_page_cache(models_dir())
            drop_from_page_cache(Path(xllamacpp.__file__).parent)
        ports = free_ports()
        with tempfile.TemporaryDirectory() as home, serving(ports, home) as called:
            asyncio.run(first_token(ports.gateway_url))
            taken = time.perf_counter() - called
        report.add(f"first_token_{name}_s", taken, f"serve → first token {taken:7.2f} s  ({name})")


async def tokens_per_second(url: str, concurrency: int, round_: int) -> float:
    """Generate with so many concurrent streams and return completion tokens a second."""

    async def one(connection: Connection, job: int) -> int:
        prompt = f"({round_}.{job}) Tell a long story about a lighthouse keeper and the sea."
        request = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": TOKENS,
            "ignore_eos": True,
            "cache_prompt": False,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        tokens = 0
        async for data in connection.stream("/v1/chat/completions", request):
            if data != b"[DONE]" and b'"usage"' in data:
                tokens = json.loads(data)["usage"]["completion_tokens"]
        if tokens != TOKENS:
            raise RuntimeError(f"{url}: {tokens} tokens came, {TOKENS} were asked for")
        return tokens

    start = time.perf_counter()
    tokens = await run_all(url, list(range(concurrency)), concurrency, one)
    return sum(tokens) / (time.perf_counter() - start)


@dataclass(frozen=True)
class Paired:
    """The outcome of a paired comparison; ratios are ours over the reference."""

    ours: float
    reference: float
    ratio: float
    lowest: float
    highest: float

    def as_dict(self) -> dict[str, float]:
        return dict(vars(self))


async def paired(
    rounds: int,
    ours: Callable[[int], Awaitable[float]],
    reference: Callable[[int], Awaitable[float]],
) -> Paired:
    """Run both in turn, changing who goes first each round; the first round is not counted."""
    pairs = []
    for round_ in range(rounds + 1):
        if round_ % 2:
            left = await ours(2 * round_)
            right = await reference(2 * round_ + 1)
        else:
            right = await reference(2 * round_)
            left = await ours(2 * round_ + 1)
        pairs.append((left, right))
    ratios = [left / right for left, right in pairs[1:]]
    return Paired(
        ours=statistics.median(left for left, _ in pairs[1:]),
        reference=statistics.median(right for _, right in pairs[1:]),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )


async def measure_tokens(report: Report, ports: Ports, rounds: int) -> None:
    """Tokens a second through the gateway against straight to the engine."""
    for concurrency in (1, 4, 16):
        outcome = await paired(
            rounds,
            lambda round_, n=concurrency: tokens_per_second(ports.gateway_url, n, round_),
            lambda round_, n=concurrency: tokens_per_second(ports.llm_url, n, round_),
        )
        report.add(
            f"tokens_{concurrency}",
            outcome.as_dict(),
            f"tokens/s, {concurrency:2} at once  gateway {outcome.ours:6.1f}  engine "
            f"{outcome.reference:6.1f}  ratio {outcome.ratio:.3f} "
            f"({outcome.lowest:.3f} to {outcome.highest:.3f})",
        )


def mixed_texts(count: int) -> list[str]:
    """Cut pieces of 5 to 120 words out of the example text, always the same ones."""
    words = TEXT.read_text(encoding="utf-8").split()
    source = random.Random(7)
    texts = []
    for _ in range(count):
        length = source.choice((5, 10, 20, 40, 80, 120))
        start = source.randrange(len(words) - length)
        texts.append(" ".join(words[start : start + length]))
    return texts


async def measure_embeddings(report: Report, ports: Ports, rounds: int, count: int) -> None:
    """Embedding texts a second: one text a request from 64 callers, against sorted batches."""
    from sage.inference.embeddings import EmbeddingFactory

    texts = mixed_texts(count)
    embedder = EmbeddingFactory.create("onnx")

    async def through_gateway(_: int) -> float:
        async def one(connection: Connection, text: str) -> int:
            body = await connection.post(
                "/v1/embeddings", {"input": text, "encoding_format": "base64"}
            )
            return len(json.loads(body)["data"])

        start = time.perf_counter()
        got = await run_all(ports.gateway_url, texts, CALLERS, one)
        if sum(got) != len(texts):
            raise RuntimeError(f"{len(texts)} texts were sent, {sum(got)} vectors came back")
        return len(texts) / (time.perf_counter() - start)

    async def in_process(_: int) -> float:
        start = time.perf_counter()
        vectors = await asyncio.to_thread(embedder.embedder.embed, texts)
        if len(vectors) != len(texts):
            raise RuntimeError(f"{len(texts)} texts, {len(vectors)} vectors")
        return len(texts) / (time.perf_counter() - start)

    outcome = await paired(rounds, through_gateway, in_process)
    report.add(
        "embeddings_64",
        outcome.as_dict(),
        f"texts/s, 64 callers   gateway {outcome.ours:6.1f}  batches {outcome.reference:5.1f}  "
        f"ratio {outcome.ratio:.3f} ({outcome.lowest:.3f} to {outcome.highest:.3f})",
    )


async def measure_serving(report: Report, ports: Ports, arguments: argparse.Namespace) -> None:
    await first_token(ports.gateway_url)
    await measure_tokens(report, ports, arguments.rounds)
    await measure_embeddings(report, ports, arguments.rounds, 128 if arguments.quick else 1024)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="counted pairs (default 7)")
    parser.add_argument("--quick", action="store_true", help="one round, fewer texts: a smoke run")
    arguments: Any = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
    return arguments


def main() -> None:
    arguments = parse()
    report = Report("first_use", ["xllamacpp", "onnxruntime", "tokenizers", "uvicorn", "uvloop"])
    measure_start_up(report)
    measure_first_token(report)
    ports = free_ports()
    with tempfile.TemporaryDirectory() as home, serving(ports, home):
        # uvloop, so that the client takes as little as it can of the cores that are measured.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure_serving(report, ports, arguments))
    report.write()


if __name__ == "__main__":
    main()
