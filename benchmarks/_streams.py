"""An engine stand-in for streams: it writes each event by itself, at a steady pace.

    python benchmarks/_streams.py PORT EVENTS INTERVAL_MS

It answers a chat that asks for a stream with EVENTS server-sent events and ``[DONE]``, one write
each, every INTERVAL_MS; any other chat with one canned answer. Everything it sends is made once.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

MODEL = "bench"
CANNED_TOKENS = 3
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream" *: *true')
_TEXT = (
    "The keeper climbed the stairs at dusk, trimmed the wick, and lit the lamp. Beyond the reef "
    "a schooner altered course, and the light swept over the water until the morning came."
)

CHAT_ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _TEXT},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 42, "completion_tokens": 40, "total_tokens": 82},
    }
)
# What gateways ask of an engine before they send it anything.
PAGES = {
    "/health": "{}",
    "/v1/models": json.dumps(
        {
            "object": "list",
            "data": [
                {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "bench"}
            ],
        }
    ),
    "/get_model_info": json.dumps({"model_path": MODEL, "is_generation": True}),
    "/model_info": json.dumps({"model_path": MODEL, "is_generation": True}),
    "/get_server_info": json.dumps({"model_path": MODEL}),
    "/server_info": json.dumps({"model_path": MODEL}),
}


def whole(body: str, status: str = "200 OK") -> bytes:
    """Return a whole response."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def _chunk(data: str) -> bytes:
    return f"{len(data):x}\r\n{data}\r\n".encode()


def _event(delta: dict[str, str], finish: str | None = None) -> str:
    payload = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(payload, separators=(',', ':'))}\n\n"


def events_of(events: int, *, usage: bool = False) -> list[str]:
    """Return a stream's events without the HTTP around them; ``[DONE]`` comes after them.

    Args:
        events: how many; the last one ends the answer and has no token.
        usage: whether one more tells the tokens, as engines do when asked.
    """
    first = _event({"role": "assistant", "content": "Once"})
    texts = [_event({"content": f" token{number:04}"}) for number in range(events - 2)]
    told = [first, *texts, _event({}, "stop")]
    if usage:
        counts = {"prompt_tokens": 42, "completion_tokens": events - 1, "total_tokens": 41 + events}
        payload = {**json.loads(told[-1][6:]), "choices": [], "usage": counts}
        told.append(f"data: {json.dumps(payload, separators=(',', ':'))}\n\n")
    return told


def canned_stream() -> str:
    """Return a whole stream of a few tokens, to be sent at once."""
    return "".join(events_of(CANNED_TOKENS + 1, usage=True)) + "data: [DONE]\n\n"


def pieces(events: int, *, usage: bool = False) -> list[bytes]:
    """Return a streamed response in the pieces it is written in: head, events, ``[DONE]``."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    written = [_chunk(text) for text in events_of(events, usage=usage)]
    return [head + written[0], *written[1:], _chunk("data: [DONE]\n\n") + b"0\r\n\r\n"]


_PAGES = {path.encode(): whole(body) for path, body in PAGES.items()}
_CHAT = whole(CHAT_ANSWER)
_MISSING = whole("{}", "404 Not Found")
_REFUSED = whole("{}", "400 Bad Request")


class Engine(asyncio.Protocol):
    """One connection.

    Args:
        written: the pieces of a streamed response.
        interval: seconds between two of them.
    """

    def __init__(self, written: list[bytes], interval: float) -> None:
        self._written = written
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            found = _LENGTH.search(head)
            whole_size = end + 4 + (int(found[1]) if found else 0)
            if len(self._received) < whole_size:
                return
            body = self._received[end + 4 : whole_size]
            self._received = self._received[whole_size:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, version = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if version != b"HTTP/1.1":  # some gateways try HTTP/2 first
            self._transport.write(_REFUSED)
            self._transport.close()
        elif method == b"POST" and path == b"/v1/chat/completions":
            if _STREAM.search(body):
                self._next = 0
                self._step()
            else:
                self._transport.write(_CHAT)
        else:
            self._transport.write(_PAGES.get(path, _MISSING))

    def _step(self) -> None:
        self._transport.write(self._written[self._next])
        self._next += 1
        if self._next < len(self._written):
            self._timer = self._loop.call_later(self._interval, self._step)


async def serve(port: int, events: int, interval: float) -> None:
    """Serve until cancelled."""
    written = pieces(events)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Engine(written, interval), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1e3))
