"""A tiny real engine whose behaviour each test writes, and a gateway on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sage.inference.gateway import Gateway, GatewayLimits, build_server
from sage.inference.gateway.instances import CareRules
from sage.inference.gateway.keys import KeyRing
from sage.inference.gateway.tracing import ProviderFactory
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "four"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
).encode()


@dataclass
class Received:
    """One request as it came over the wire."""

    head: str
    line: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Engine:
    """A raw HTTP/1.1 server: the handler writes whatever bytes the test wants."""

    handler: Handler
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self, path: str | None = None, host: str = "127.0.0.1") -> None:
        if path:
            self._server = await asyncio.start_unix_server(self._serve, path)
            self.url = "http+unix://" + path.replace("/", "%2F")
        else:
            self._server = await asyncio.start_server(self._serve, host, 0)
            self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while not writer.is_closing() and (request := await self._read(reader)):
                self.requests.append(request)
                self.arrived.set()
                await self._handle(request, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            self.aborted.set()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _handle(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        work = asyncio.ensure_future(self.handler(request, writer))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not work.done():
                self.aborted.set()
                writer.close()
                return
            await work
        finally:
            for future in (work, gone):
                future.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> Received | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        line, *lines = head[:-4].split("\r\n")
        headers = {k.lower(): v for k, v in (item.split(": ", 1) for item in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Received(head, line, headers, body)


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A response with a length."""
    lines = [
        f"HTTP/1.1 {status}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunk(data: bytes) -> bytes:
    """One HTTP chunk; an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
    """Answer every request with one canned completion."""
    writer.write(response(ANSWER))
    await writer.drain()


async def hang(request: Received, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


@dataclass
class Running:
    """A gateway served on a loopback port."""

    gateway: Gateway
    port: int
    stop: Callable[[], Awaitable[None]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, engine: Engine, name: str = "a", **spec: Any) -> None:
        spec.setdefault("kind", Kind.LLM)
        spec.setdefault("models", ("m",))
        api_key = spec.pop("api_key", None)
        self.gateway.add_instance(InstanceSpec(name, **spec), engine.url, api_key)

    @property
    def requests(self) -> dict[str, int]:
        counts: dict[str, int] = self.gateway.snapshot()["requests"]
        return counts

    def instance(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(
            i for i in self.gateway.snapshot()["instances"] if i["id"] == name
        )
        return found

    def check_sums(self) -> None:
        """Every request that came has one end or is open; so has every attempt."""
        counts = self.requests
        ends = sum(counts[name] for name in ("done", "failed", "cancelled", "rejected"))
        assert counts["received"] == ends + counts["open"]
        for item in self.gateway.snapshot()["instances"]:
            ended = item["done"] + item["failed"] + item["cancelled"]
            assert item["dispatched"] == ended + item["in_flight"]
        assert self.gateway._scheduler.invariants() == []


async def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until the condition holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true"
        await asyncio.sleep(0.005)


class Kit:
    """What the tests of this folder share."""

    Engine = Engine
    Received = Received
    ANSWER = ANSWER
    STREAM_HEAD = STREAM_HEAD
    response = staticmethod(response)
    chunk = staticmethod(chunk)
    answer = staticmethod(answer)
    hang = staticmethod(hang)
    eventually = staticmethod(eventually)

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack

    async def engine(
        self, handler: Handler = answer, *, path: str | None = None, host: str = "127.0.0.1"
    ) -> Engine:
        """Start an engine that stops with the test."""
        engine = Engine(handler)
        await engine.start(path, host)
        self._stack.push_async_callback(engine.stop)
        return engine

    async def gateway(
        self,
        *,
        server: dict[str, Any] | None = None,
        care: CareRules | None = None,
        keys: KeyRing | None = None,
        access_log: str | None = None,
        tracing: ProviderFactory | None = None,
        **limits: Any,
    ) -> Running:
        """Start a gateway that stops with the test, and check its sums then."""
        gateway = Gateway(
            limits=GatewayLimits(**limits),
            care=care,
            keys=keys,
            access_log=access_log,
            tracing=tracing,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        uvicorn_server = build_server(gateway.app, **{"shutdown_timeout": 1, **(server or {})})
        task = asyncio.ensure_future(uvicorn_server.serve(sockets=[listener]))

        async def stop() -> None:
            uvicorn_server.should_exit = True
            await task
            running.check_sums()

        running = Running(gateway, listener.getsockname()[1], stop)
        self._stack.push_async_callback(stop)
        await eventually(lambda: uvicorn_server.started)
        return running


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The gateway's tests run on uvloop, which is what serves it."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def kit(anyio_backend: object) -> AsyncIterator[Kit]:
    """Engines and gateways that end with the test."""
    async with contextlib.AsyncExitStack() as stack:
        yield Kit(stack)
