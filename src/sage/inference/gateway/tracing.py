"""OpenTelemetry: a server span a request, and its context passed on to the engine.

The packages are an extra, and loaded only where tracing is configured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sage.errors import ConfigError
from sage.inference.gateway.exchange import Exchange, Outcome
from sage.inference.gateway.headers import RequestHead

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

logger = logging.getLogger("sage.gateway")

_CONTEXT_HEADERS = ("traceparent", "tracestate")
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
_NANO = 1_000_000_000

ProviderFactory = Callable[[], "TracerProvider"]


class Tracing:
    """Makes the spans of a gateway's requests, named and attributed as OpenTelemetry's
    conventions for HTTP servers and for generative AI have it.

    Args:
        provider: makes the tracer provider when the gateway starts; it is shut down when the
            gateway stops, which sends the spans that are left.
        wall_clock: seconds since the epoch.
        clock: the gateway's clock, in seconds.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        provider: ProviderFactory,
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise _missing(error) from error
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._make = provider
        self._provider: TracerProvider | None = None
        self._tracer: Any = None
        self._wall_clock = wall_clock
        self._clock = clock
        self._spans: dict[int, Span] = {}

    def open(self) -> None:
        """Begin to make spans."""
        if self._provider is None:
            self._provider = self._make()
            self._tracer = self._provider.get_tracer("sage.gateway")

    def close(self) -> None:
        """Send the spans that are left and end; it may take seconds."""
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is not None:
            provider.shutdown()

    def begin(self, exchange: Exchange, head: RequestHead) -> None:
        """Start a request's span, and have the engine told of it.

        Args:
            exchange: the request's.
            head: its headers; traceparent and tracestate are replaced by the span's.
        """
        span = self._start(exchange)
        if span is None:
            return
        self._spans[exchange.id] = span
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._trace.set_span_in_context(span))
        if carrier:
            head.lines = _replaced(head.lines, carrier)

    def _start(self, exchange: Exchange) -> Span | None:
        if self._tracer is None:
            return None
        scope = exchange.scope
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        path = scope["path"]
        attributes: dict[str, Any] = {
            "http.request.method": scope["method"],
            "http.route": path,
            "url.path": path,
            "url.scheme": scope.get("scheme", "http"),
            "gen_ai.provider.name": "sage",
            "sage.request_id": exchange.request_id.decode("latin-1"),
        }
        if operation := _OPERATIONS.get(path):
            attributes["gen_ai.operation.name"] = operation
        span: Span = self._tracer.start_span(
            f"{scope['method']} {path}",
            context=self._propagator.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes=attributes,
            start_time=self._nanoseconds(exchange.arrived),
        )
        return span

    def end(self, exchange: Exchange, now: float) -> None:
        """End a request's span; one that was refused before it could be scheduled gets it here.

        Args:
            exchange: the request's.
            now: seconds of the gateway's clock.
        """
        span = self._spans.pop(exchange.id, None) or self._start(exchange)
        if span is None:
            return
        span.set_attributes(_facts(exchange))
        outcome = exchange.outcome
        if outcome is Outcome.FAILED:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(self._nanoseconds(now))

    def _nanoseconds(self, at: float) -> int:
        return int((self._wall_clock() - self._clock() + at) * _NANO)


def _facts(exchange: Exchange) -> dict[str, Any]:
    response = exchange.response
    status = exchange.status or (
        response.status if response is not None and exchange.started else None
    )
    facts: dict[str, Any] = {
        "http.response.status_code": status,
        "gen_ai.request.model": exchange.model or None,
        "sage.outcome": exchange.outcome.value if exchange.outcome is not None else None,
        "sage.instance": exchange.instance_id or None,
        "sage.tenant": exchange.tenant or None,
        "sage.resent": True if exchange.resent else None,
    }
    if exchange.outcome is Outcome.FAILED:
        facts["error.type"] = str(status) if status else "upstream_error"
    if exchange.dispatched_at:
        facts["sage.queue_time_s"] = exchange.dispatched_at - exchange.submitted_at
    if exchange.streamed and exchange.first_byte_at:
        facts["sage.time_to_first_token_s"] = exchange.first_byte_at - exchange.arrived
    if exchange.has_usage:
        facts["gen_ai.usage.input_tokens"] = exchange.prompt_tokens or None
        facts["gen_ai.usage.output_tokens"] = exchange.completion_tokens
    return {name: value for name, value in facts.items() if value is not None}


def _replaced(lines: bytes, carrier: dict[str, str]) -> bytes:
    """Return header lines with the context's in place of the client's."""
    kept = [
        line
        for line in lines.split(b"\r\n")
        if line and line.partition(b":")[0].decode("latin-1") not in _CONTEXT_HEADERS
    ]
    kept += [f"{name}: {value}".encode("latin-1") for name, value in carrier.items()]
    return b"".join(line + b"\r\n" for line in kept)


def otlp_provider(endpoint: str | None) -> ProviderFactory:
    """Return a maker of providers that send spans by OTLP over HTTP.

    Args:
        endpoint: the collector's URL for traces; by default what OpenTelemetry's own environment
            variables say, else http://localhost:4318/v1/traces.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _missing(error) from error

    def make() -> TracerProvider:
        resource = Resource.create({"service.name": "sage-gateway"})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        return provider

    return make


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"tracing is configured, but OpenTelemetry is not installed ({error.name}); "
        "`pip install 'sage-stack[otel]'`, or leave tracing out"
    )
