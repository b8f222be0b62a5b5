"""A tiny real server whose behaviour each test writes; it runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import wait_until

_TURNS = 5  # of the event loop, in which an accepted connection gets its task
REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


def event(content: str | None = None, *, finish: str | None = None) -> bytes:
    """Return one chunk of a streamed chat answer."""
    delta = {} if content is None else {"content": content}
    return encode_event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def encode_event(payload: Any) -> bytes:
    """Return a server-sent event in its HTTP chunk."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    data = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


class Answer:
    """What a handler writes its answer with."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def json(self, payload: Any, status: int = 200) -> None:
        """Answer in one piece."""
        self.text(json.dumps(payload), status, "application/json")

    def text(self, text: str, status: int = 200, kind: str = "text/plain") -> None:
        """Answer with a text."""
        body = text.encode()
        self.writer.write(
            f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def page(self, content: Any) -> None:
        """Answer with text as it is, or anything else as JSON."""
        if isinstance(content, str):
            self.text(content)
        else:
            self.json(content)

    def begin(self) -> None:
        """Begin a streamed answer."""
        self.writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\nx-sage-instance: llm-1\r\n\r\n"
        )

    def tokens(self, *contents: str) -> None:
        """Write one event a content."""
        for content in contents:
            self.writer.write(event(content))

    def end(self, *, tokens: int | None = None) -> None:
        """End a streamed answer properly."""
        self.writer.write(event(finish="stop"))
        if tokens is not None:
            usage = {"prompt_tokens": 7, "completion_tokens": tokens}
            self.writer.write(encode_event({"choices": [], "usage": usage}))
        self.writer.write(encode_event(b"[DONE]") + b"0\r\n\r\n")

    def quick(self) -> None:
        """Answer a streamed request at once, with two tokens."""
        self.begin()
        self.tokens("a", "b")
        self.end(tokens=2)


Handler = Callable[[int, dict[str, Any], Answer], Awaitable[None]]


async def quick(number: int, body: dict[str, Any], answer: Answer) -> None:
    """Answer everything at once."""
    if "input" in body:
        answer.json({"data": [{"embedding": [0.5]} for _ in body["input"]]})
    elif body.get("stream"):
        answer.quick()
    else:
        usage = {"prompt_tokens": 7, "completion_tokens": 2}
        answer.json({"choices": [{"message": {"content": "a b"}}], "usage": usage})


class TinyServer:
    """Answers POSTs with a handler, and the gateway's lists by itself.

    Attributes:
        url: where it listens.
        bodies: of the POSTs, in the order they came.
        policy: in force; None when the management route is not there.
        set_policies: what was put in force, in order.
        instances: those it says it has; None when the management route is not there.
        stubborn: takes a policy and does not follow it.
        pages: what stands at further addresses, text or JSON.
    """

    def __init__(self, handler: Handler = quick, *, policy: str | None = None) -> None:
        self.handler = handler
        self.bodies: list[dict[str, Any]] = []
        self.policy = policy
        names = ("fifo", "priority", "slo_aware", "hybrid_slo")
        self.available = dict.fromkeys(names, "as it says")
        self.set_policies: list[str] = []
        self.stubborn = False
        self.instances: list[dict[str, Any]] | None = None
        self.pages: dict[str, Any] = {}
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextlib.asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Serve at a Unix socket, in the loop that runs now."""
        self._server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield
        finally:
            await self._stop()

    def die(self) -> None:
        """Close every connection and take no new one, as a killed server; from a handler."""
        for task in self._tasks:
            task.cancel()
        self._dying = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        # A connection that is being accepted while its server closes is left open and without an
        # owner (asyncio of Python 3.11), so the ones before are brought to their tasks first.
        loop = asyncio.get_running_loop()
        for listener in self._server.sockets:
            loop.remove_reader(listener.fileno())
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        await self._close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # and those that were closed are gone

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.is_closing():
                await self._one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over, whether the client still reads or not
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        method, path, _ = head[0].split()
        length = next((int(h.split(":")[1]) for h in head if h.startswith("content-length")), 0)
        body = json.loads(await reader.readexactly(length) or b"null")
        answer = Answer(writer)
        if path in self.pages:
            answer.page(self.pages[path])
        elif path == "/v1/models":
            models = [{"id": "chat", "kind": "llm"}, {"id": "embed", "kind": "embedding"}]
            answer.json({"data": models})
        elif path == "/v1/management/instances":
            status = 404 if self.instances is None else 200
            answer.json({"instances": self.instances}, status)
        elif path == "/v1/management/policy":
            self._manage(method, body, answer)
        elif method == "get":
            answer.json({"error": "no such page"}, 404)
        else:
            self.bodies.append(body)
            await self.handler(len(self.bodies) - 1, body, answer)
        await writer.drain()

    def _manage(self, method: str, body: Any, answer: Answer) -> None:
        if self.policy is None:
            answer.json({"error": "no such page"}, 404)
            return
        if method == "put":
            self.set_policies.append(body["policy"])
            if not self.stubborn:
                self.policy = body["policy"]
        answer.json({"policy": self.policy, "available": self.available})


def slow_after(answered: int) -> Handler:
    """Answer so many at once and let the others wait for a minute."""

    async def handle(number: int, body: dict[str, Any], answer: Answer) -> None:
        if number >= answered:
            await asyncio.sleep(60)
        await quick(number, body, answer)

    return handle


@contextlib.contextmanager
def ctrl_c_at(server: TinyServer, requests: int) -> Iterator[None]:
    """Interrupt this process once the server has had so many requests."""

    def interrupt() -> None:
        wait_until(lambda: len(server.bodies) >= requests)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    yield
    thread.join()
