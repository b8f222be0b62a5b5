"""A tiny real OpenAI server on an ephemeral port, scripted by each test."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Seen:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    json: Any


@dataclass
class Answer:
    """What the server says: a whole body, or chunks sent as they are produced."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    cut: bool = False  # close without the last chunk


Route = Callable[[Seen], Answer]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.fake.connections += 1

    def handle_one(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        headers = {key.lower(): value for key, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, json.loads(body) if body else None)
        self.server.fake.seen.append(seen)
        route = self.server.fake.routes.get(self.path, lambda _: Answer({"error": "no route"}, 404))
        self.answer(route(seen))

    do_GET = do_POST = handle_one

    def answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        if answer.chunks is not None:
            self.stream(answer)
            return
        body = answer.body
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        if "content-type" not in answer.headers:
            self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, answer: Answer) -> None:
        assert answer.chunks is not None
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for chunk in answer.chunks:
                if chunk:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
            if answer.cut:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
            self.server.fake.left.set()

    def log_message(self, *args: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, port: int, fake: FakeServer) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        self.fake.left.set()  # the client left


class FakeServer:
    """Routes by path; counts requests, connections, and connections the client left early."""

    def __init__(self, port: int = 0) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.left = threading.Event()
        self.routes: dict[str, Route] = {}
        self.http = _Server(port, self)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; closing twice is fine."""
        self.http.shutdown()
        self._thread.join()
        self.http.server_close()

    def posted(self, path: str) -> list[Any]:
        return [seen.json for seen in self.seen if seen.path == path]

    # What a healthy server says.

    def models(self, *models: str | tuple[str, str]) -> FakeServer:
        data = [
            {"id": model, "object": "model"}
            if isinstance(model, str)
            else {"id": model[0], "object": "model", "kind": model[1]}
            for model in models
        ]
        self.routes["/v1/models"] = lambda _: Answer({"object": "list", "data": data})
        return self

    def openai(self) -> FakeServer:
        """Chat and completions echo; embeddings are [length, position in the batch]."""
        self.routes["/v1/chat/completions"] = echo_chat
        self.routes["/v1/completions"] = echo_completion
        self.routes["/v1/embeddings"] = lengths
        return self

    def streams(self, chunks: Iterable[bytes], *, cut: bool = False) -> FakeServer:
        answer = Answer(headers=EVENT_STREAM, chunks=chunks, cut=cut)
        self.routes["/v1/chat/completions"] = self.routes["/v1/completions"] = lambda _: answer
        return self


EVENT_STREAM = {"content-type": "text/event-stream"}


def echo_chat(seen: Seen) -> Answer:
    return Answer(
        {
            "id": "chat-1",
            "model": seen.json["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "echo: " + seen.json["messages"][-1]["content"],
                    },
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        },
        headers={"x-sage-instance": "llm-1", "x-request-id": "r-7"},
    )


def echo_completion(seen: Seen) -> Answer:
    return Answer(
        {
            "id": "cmpl-1",
            "model": seen.json["model"],
            "choices": [{"index": 0, "text": seen.json["prompt"] + "…", "finish_reason": "length"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    )


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def lengths(seen: Seen) -> Answer:
    texts = seen.json["input"]
    data = [
        {"index": at, "embedding": packed(len(text), at)}
        if seen.json.get("encoding_format") == "base64"
        else {"index": at, "embedding": [len(text), at]}
        for at, text in enumerate(texts)
    ]
    # In reverse: the index counts, not the place.
    return Answer(
        {
            "model": seen.json["model"],
            "data": data[::-1],
            "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)},
        }
    )


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeServer]]:
    """Starts fake servers; all are closed at the end."""
    servers: list[FakeServer] = []

    def start(port: int = 0) -> FakeServer:
        servers.append(FakeServer(port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def fake(serve: Callable[[], FakeServer]) -> FakeServer:
    """A healthy server of one LLM and one embedding model, marked as the gateway marks them."""
    return serve().models(("small-llm", "llm"), ("small-embedder", "embedding")).openai()
