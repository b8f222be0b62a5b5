"""The embedding server's counters in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from sage.inference.embeddings.embedder import EmbeddingUsage
from sage.inference.embeddings.queue import BatchQueue

_PREFIX = "sage_embedding"


def render(queue: BatchQueue, usage: EmbeddingUsage, *, refused: int) -> bytes:
    """Return the page of GET /metrics.

    Args:
        queue: whose counts to show.
        usage: what the embedder has been given.
        refused: requests answered 4xx before they reached the queue.
    """
    return ("\n".join(_lines(queue, usage, refused)) + "\n").encode()


def _lines(queue: BatchQueue, usage: EmbeddingUsage, refused: int) -> Iterator[str]:
    counts = queue.counts
    yield from _counter("requests_accepted", "requests queued", counts.accepted)
    yield f"# HELP {_PREFIX}_requests_total requests that ended, by how"
    yield f"# TYPE {_PREFIX}_requests_total counter"
    ended = {
        "done": counts.done,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "rejected": counts.rejected,
        "refused": refused,
    }
    for state, value in ended.items():
        yield f'{_PREFIX}_requests_total{{state="{state}"}} {value}'
    yield from _gauge("requests_queued", "requests with no text started", queue.queued)
    yield from _gauge("requests_running", "requests with texts started", queue.running)
    yield from _counter("texts", "texts embedded", counts.texts)
    yield from _counter("tokens", "tokens embedded, without padding", counts.tokens)
    yield from _counter("padded_tokens", "tokens computed, with padding", counts.padded_tokens)
    yield from _counter("truncated_texts", "texts cut to the model's maximum", usage.truncated)
    yield from _counter("batches", "engine calls", counts.batches)
    yield from _counter(
        "coalesced_batches", "engine calls for several requests", counts.coalesced_batches
    )
    yield from _counter("failed_batches", "engine calls that failed", counts.batch_failures)
    yield from _counter("busy_seconds", "time in engine calls, all workers", counts.busy_seconds)
    yield from _gauge("queue_texts", "texts that wait", queue.queued_texts)
    yield from _gauge("queue_tokens", "tokens that wait", queue.queued_tokens)
    yield from _gauge("running_batches", "engine calls under way", queue.running_batches)
    mean = counts.texts / counts.batches if counts.batches else 0.0
    yield from _gauge("batch_texts_mean", "texts an engine call, since the start", mean)
    useful = counts.tokens / counts.padded_tokens if counts.padded_tokens else 1.0
    yield from _gauge("padded_fraction", "share of padding in the tokens computed", 1 - useful)


def _counter(name: str, meaning: str, value: float) -> Iterator[str]:
    return _metric(f"{name}_total", "counter", meaning, value)


def _gauge(name: str, meaning: str, value: float) -> Iterator[str]:
    return _metric(name, "gauge", meaning, value)


def _metric(name: str, kind: str, meaning: str, value: float) -> Iterator[str]:
    yield f"# HELP {_PREFIX}_{name} {meaning}"
    yield f"# TYPE {_PREFIX}_{name} {kind}"
    yield f"{_PREFIX}_{name} {value}"
