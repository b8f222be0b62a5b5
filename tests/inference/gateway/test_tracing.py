"""OpenTelemetry spans, and the trace's context on its way to the engine."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from sage.errors import ConfigError
from sage.inference.gateway import BackendInstanceConfig, UnifiedAPIServer, UnifiedServerConfig
from sage.inference.gateway.keys import ApiKey, KeyRing

pytestmark = pytest.mark.anyio

CHAT = {"model": "m", "messages": []}
PATH = "/v1/chat/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


async def post(url: str, body: Any = CHAT, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(url + PATH, json=body, headers=headers)


class Spans:
    """A provider that keeps what it is given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def make(self) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return provider

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


async def test_without_tracing_the_clients_context_passes_through(kit: Any) -> None:
    """W3C's headers reach the engine as they came, and no span code runs."""
    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine)
    await post(served.url, **CONTEXT)
    for name, value in CONTEXT.items():
        assert engine.requests[0].headers[name] == value
    assert served.gateway._desk.edge is None


async def test_a_span_a_request(kit: Any) -> None:
    """A server span below the client's, whose context the engine gets in its place."""
    spans = Spans()
    engine = await kit.engine()
    served = await kit.gateway(tracing=spans.make, keys=KeyRing([ApiKey("tracing-key-1", "ci")]))
    served.add(engine)
    await post(served.url, authorization="Bearer tracing-key-1", **CONTEXT)
    await kit.eventually(lambda: spans.ended)
    (span,) = spans.ended
    assert (span.name, span.kind) == (f"POST {PATH}", SpanKind.SERVER)
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    assert parent is not None
    assert format_trace_id(context.trace_id) == TRACE
    assert format_span_id(parent.span_id) == PARENT
    sent = engine.requests[0].headers
    assert sent["traceparent"] == f"00-{TRACE}-{format_span_id(context.span_id)}-01"
    assert sent["tracestate"] == "vendor=1"
    assert engine.requests[0].head.lower().count("traceparent") == 1
    facts = dict(span.attributes or {})
    assert 0 <= facts.pop("sage.queue_time_s") < 5  # type: ignore[operator]
    assert re.fullmatch(r"req-\S+", str(facts.pop("sage.request_id")))
    assert facts == {
        "http.request.method": "POST",
        "http.route": PATH,
        "url.path": PATH,
        "url.scheme": "http",
        "http.response.status_code": 200,
        "gen_ai.provider.name": "sage",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 1,
        "sage.instance": "a",
        "sage.outcome": "done",
        "sage.tenant": "ci",
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 < span.end_time - span.start_time < 5e9


async def test_a_request_without_context_begins_a_trace(kit: Any) -> None:
    """The engine gets the new one."""
    spans = Spans()
    engine = await kit.engine()
    served = await kit.gateway(tracing=spans.make)
    served.add(engine)
    await post(served.url)
    await kit.eventually(lambda: spans.ended)
    context = spans.ended[0].get_span_context()
    assert context is not None
    assert spans.ended[0].parent is None
    assert format_trace_id(context.trace_id) in engine.requests[0].headers["traceparent"]


async def test_failures_and_refusals_have_spans(kit: Any) -> None:
    """An engine's fault is an error; a refusal before scheduling has its span too."""

    async def failing(request: Any, writer: Any) -> None:
        writer.write(kit.response(b"{}", "500 Oh"))
        await writer.drain()

    spans = Spans()
    served = await kit.gateway(tracing=spans.make)
    served.add(await kit.engine(failing))
    await post(served.url)
    await post(served.url, body={"messages": 1, "model": 7})
    await kit.eventually(lambda: len(spans.ended) == 2)
    failed, refused = spans.ended
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "500"
    assert refused.attributes is not None
    assert refused.attributes["http.response.status_code"] == 400
    assert refused.attributes["sage.outcome"] == "rejected"


async def test_spans_go_to_a_collector(kit: Any) -> None:
    """By OTLP over HTTP, to the URL that is configured, at the latest when the gateway stops."""
    engine = await kit.engine()
    collector = await kit.engine()
    backend = BackendInstanceConfig(base_url=engine.url, model_name="m")
    server = UnifiedAPIServer(
        UnifiedServerConfig(port=0, llm_backends=[backend], tracing=f"{collector.url}/v1/traces")
    )
    async with server:
        assert (await post(server.url)).status_code == 200
    (export,) = collector.requests
    assert export.line.startswith("POST /v1/traces")
    assert export.headers["content-type"] == "application/x-protobuf"


def test_what_tracing_may_be() -> None:
    """True, false, or a collector's URL."""
    assert UnifiedServerConfig(tracing=True).tracing is True
    with pytest.raises(ConfigError, match="tracing is 'localhost:4318'"):
        UnifiedServerConfig(tracing="localhost:4318")


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.exporter"])
def test_without_the_extra_the_error_is_one_clear_line(missing: str) -> None:
    """It names what to install; without tracing nothing of OpenTelemetry is loaded."""
    program = (
        "import sys\n"
        "from sage.inference.gateway import UnifiedAPIServer, UnifiedServerConfig\n"
        "UnifiedAPIServer(UnifiedServerConfig(port=0))\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        f"sys.modules[{missing!r}] = None\n"
        "try:\n"
        "    UnifiedAPIServer(UnifiedServerConfig(port=0, tracing=True))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("ConfigError tracing is configured, but OpenTelemetry is not")
    assert "pip install 'sage-stack[otel]'" in result.stdout
