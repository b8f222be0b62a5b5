"""The gateway's metrics as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sage.inference.gateway.breaker import BreakerState
from sage.inference.gateway.metrics import Histogram, Metrics, Series

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_HISTOGRAMS = (
    ("queue", "sage_request_queue_time_seconds", "Time a request waited for its first dispatch."),
    ("ttft", "sage_time_to_first_token_seconds", "Arrival to first bytes, streamed answers."),
    ("tpot", "sage_time_per_output_token_seconds", "Time of a token after the first, streamed."),
    ("e2e", "sage_e2e_request_latency_seconds", "Arrival to the answer's end, served requests."),
    ("prompt", "sage_request_prompt_tokens", "Prompt tokens a request, as engines state them."),
    (
        "completion",
        "sage_request_generation_tokens",
        "Generated tokens a request, as engines state them.",
    ),
)


def exposition(metrics: Metrics, snapshot: dict[str, Any]) -> bytes:
    """Return the page.

    Args:
        metrics: of the ended requests.
        snapshot: ``Gateway.snapshot()``.
    """
    lines = [*_requests(metrics), *_slo(metrics)]
    for attribute, name, text in _HISTOGRAMS:
        lines += _histograms(metrics, attribute, name, text)
    lines += _state(snapshot)
    return ("\n".join(lines) + "\n").encode()


def _requests(metrics: Metrics) -> Iterator[str]:
    yield from _head("sage_requests_total", "counter", "Requests by how they ended.")
    for key, series in metrics.series.items():
        for outcome, number in series.outcomes.items():
            yield f"sage_requests_total{{{_labels(key)},outcome={_quoted(outcome.value)}}} {number}"


def _slo(metrics: Metrics) -> Iterator[str]:
    name = "sage_slo_requests_total"
    yield from _head(name, "counter", "Requests with objectives, by whether they were kept.")
    for key, series in metrics.series.items():
        yield f'{name}{{{_labels(key)},result="met"}} {series.slo_met}'
        yield f'{name}{{{_labels(key)},result="missed"}} {series.slo_missed}'
    yield from _head("sage_slo_attainment_ratio", "gauge", "Share of those that were kept.")
    for key, series in metrics.series.items():
        total = series.slo_met + series.slo_missed
        if total:
            yield f"sage_slo_attainment_ratio{{{_labels(key)}}} {series.slo_met / total:.6g}"


def _histograms(metrics: Metrics, attribute: str, name: str, text: str) -> Iterator[str]:
    yield from _head(name, "histogram", text)
    for key, series in metrics.series.items():
        histogram = _histogram(series, attribute)
        labels, below = _labels(key), 0
        for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
            below += count
            yield f'{name}_bucket{{{labels},le="{bound:g}"}} {below}'
        total = histogram.count
        yield f'{name}_bucket{{{labels},le="+Inf"}} {total}'
        yield f"{name}_sum{{{labels}}} {histogram.sum:.9g}"
        yield f"{name}_count{{{labels}}} {total}"


def _histogram(series: Series, attribute: str) -> Histogram:
    found = getattr(series, attribute)
    assert isinstance(found, Histogram)
    return found


def _state(snapshot: dict[str, Any]) -> Iterator[str]:
    requests, instances = snapshot["requests"], snapshot["instances"]
    yield from _gauge("sage_requests_open", "Requests that have not ended.", requests["open"])
    yield from _gauge("sage_requests_queued", "Requests that wait.", requests["queued"])
    yield from _gauge("sage_requests_in_flight", "Requests at instances.", requests["in_flight"])
    yield from _head("sage_retries_total", "counter", "Requests given to a further instance.")
    yield f"sage_retries_total {requests['retried']}"
    if (log := snapshot.get("access_log")) is not None:
        name = "sage_access_log_dropped_lines_total"
        yield from _head(name, "counter", "Lines of the access log that could not be written.")
        yield f"{name} {log['dropped_lines']}"
    per_instance = (
        ("sage_instance_up", "Whether it is given work.", "up"),
        ("sage_instance_in_flight", "Requests it holds.", "in_flight"),
        ("sage_instance_max_requests", "Requests it may hold now.", "max_requests"),
    )
    for name, text, field in per_instance:
        yield from _head(name, "gauge", text)
        for item in instances:
            yield f"{name}{{instance={_quoted(item['id'])}}} {int(item[field])}"
    yield from _attempts(instances)
    yield from _breakers(instances)


def _attempts(instances: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield from _head("sage_instance_attempts_total", "counter", "Attempts by how they ended.")
    for item in instances:
        for outcome in ("done", "failed", "cancelled"):
            yield (
                f"sage_instance_attempts_total{{instance={_quoted(item['id'])},"
                f'outcome="{outcome}"}} {item[outcome]}'
            )


def _breakers(instances: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield from _head("sage_instance_breaker_state", "gauge", "1 for the state its breaker is in.")
    for item in instances:
        for state in BreakerState:
            yield (
                f"sage_instance_breaker_state{{instance={_quoted(item['id'])},"
                f'state="{state.value}"}} {int(item["breaker"] == state.value)}'
            )


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _gauge(name: str, text: str, value: int) -> Iterator[str]:
    yield from _head(name, "gauge", text)
    yield f"{name} {value}"


def _labels(key: tuple[str, str, str]) -> str:
    kind, model, request_class = key
    return f"kind={_quoted(kind)},model={_quoted(model)},class={_quoted(request_class)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
