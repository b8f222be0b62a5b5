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
    yield from _metric("requests_accepted_total", "counter", "requests queued", counts.accepted)
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
    for name, kind, meaning, value in (
        ("requests_queued", "gauge", "requests none of whose texts has started", queue.queued),
        ("requests_running", "gauge", "requests some of whose texts have started", queue.running),
        ("texts_total", "counter", "texts embedded", counts.texts),
        ("tokens_total", "counter", "tokens embedded, without padding", counts.tokens),
        ("padded_tokens_total", "counter", "tokens computed, padding included", counts.padded_tokens),
        ("truncated_texts_total", "counter", "texts cut to the model's maximum", usage.truncated),
        ("batches_total", "counter", "engine calls", counts.batches),
        ("coalesced_batches_total", "counter", "engine calls for several requests", counts.coalesced_batches),
        ("failed_batches_total", "counter", "engine calls that failed", counts.batch_failures),
        ("busy_seconds_total", "counter", "time in engine calls, added over workers", counts.busy_seconds),
        ("queue_texts", "gauge", "texts that wait", queue.queued_texts),
        ("queue_tokens", "gauge", "tokens that wait", queue.queued_tokens),
        ("running_batches", "gauge", "engine calls under way", queue.running_batches),
        ("batch_texts_mean", "gauge", "texts an engine call, since the start", counts.texts / max(1, counts.batches)),
        ("padded_fraction", "gauge", "computed tokens that were padding, since the start", 1 - counts.tokens / counts.padded_tokens if counts.padded_tokens else 0.0),
    ):  # fmt: skip
        yield from _metric(name, kind, meaning, value)


def _metric(name: str, kind: str, meaning: str, value: float) -> Iterator[str]:
    yield f"# HELP {_PREFIX}_{name} {meaning}"
    yield f"# TYPE {_PREFIX}_{name} {kind}"
    yield f"{_PREFIX}_{name} {value}"
