"""Embedding mixed-length texts through a pipeline, against the engine's own sorted batches.

Runs the packaged embedding engine as a process of its own. ``embed()`` of a pipeline in this
process sends it 5,000 texts of 5 to 120 words; against it stands the same model in this process,
given all texts in one call, which it runs in batches sorted by length. The two take turns, and the
figure is the median of the ratios of their texts/s. Beside it: CPU seconds of all processes of each
side, which the machine's other work does not change.

    python benchmarks/embedding_pipeline.py [--rounds 3] [--texts 5000] [--batch-size 32]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from _report import Report
from embedding_gateway import MODEL, answering, cpu, free_port, process, texts

# One text of the two ways' vectors may differ by so much: batches are padded differently.
TOLERANCE = 2e-3


def pipeline(given: list[str], url: str, arguments: argparse.Namespace) -> list[list[float]]:
    """Embed texts with a pipeline; return the vectors in the texts' order."""
    from sage.dataflow import LocalEnvironment
    from sage.inference.client import UnifiedInferenceClient

    vectors: list[list[float]] = []
    with UnifiedInferenceClient.create(url, default_embedding_model=MODEL) as client:
        env = LocalEnvironment("embedding")
        (
            env.from_collection(given)
            .embed(
                client=client,
                batch_size=arguments.batch_size,
                concurrency=arguments.concurrency,
            )
            .sink(lambda embedded: vectors.append(embedded.vector))
        )
        env.submit(autostop=True, progress=False)
    return vectors


def measure(report: Report, url: str, arguments: argparse.Namespace) -> None:
    """Let the two take turns, and report their ratio."""
    from sage.inference.embeddings import EmbeddingFactory

    given = texts(arguments.texts)
    embedder = EmbeddingFactory.create("onnx").embedder
    here = psutil.Process()
    ours: list[float] = []
    reference: list[float] = []
    cpu_ratios: list[float] = []
    for number in range(-1, arguments.rounds):
        # The first pair warms both up.
        chosen = given if number >= 0 else given[:200]
        gc.collect()
        # The engine is a child of this process.
        before, start = cpu(here), time.perf_counter()
        vectors = pipeline(chosen, url, arguments)
        taken, used = time.perf_counter() - start, cpu(here) - before
        before, start = cpu(here), time.perf_counter()
        expected = embedder.embed(chosen)
        taken_there, used_there = time.perf_counter() - start, cpu(here) - before
        worst = max(abs(expected - vectors).max(axis=1))
        if worst > TOLERANCE:
            raise RuntimeError(f"the vectors differ by {worst}")
        if number >= 0:
            ours.append(len(chosen) / taken)
            reference.append(len(chosen) / taken_there)
            cpu_ratios.append(used_there / used)
            print(f"round {number}: {ours[-1]:.1f} / {reference[-1]:.1f} texts/s", flush=True)
    ratios = [mine / its for mine, its in zip(ours, reference, strict=True)]
    ratio = statistics.median(ratios)
    report.add(
        "embed",
        {"ours": ours, "reference": reference, "ratio": ratio, "cpu": cpu_ratios},
        f"texts/s   pipeline {statistics.median(ours):6.1f}  sorted batches "
        f"{statistics.median(reference):6.1f}  ratio {ratio:.3f} ({min(ratios):.3f} to "
        f"{max(ratios):.3f}), of CPU time {statistics.median(cpu_ratios):.3f}",
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="counted pairs (default 3)")
    parser.add_argument("--texts", type=int, default=5000, help="texts of a round")
    parser.add_argument("--batch-size", type=int, default=32, help="as embed() has it")
    parser.add_argument("--concurrency", type=int, default=8, help="as embed() has it")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    from sage.config.paths import user_paths

    arguments = parse()
    report = Report("embedding_pipeline", ["onnxruntime", "tokenizers"])
    port = free_port()
    command = [sys.executable, "-m", "sage.inference.embeddings.server", "--name", MODEL]
    command += ["--model", str(user_paths().models / MODEL), "--port", str(port)]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(process(command, home / "engine"))
        url = f"http://127.0.0.1:{port}"
        asyncio.run(answering(url))
        measure(report, url, arguments)
    report.write()


if __name__ == "__main__":
    main()
