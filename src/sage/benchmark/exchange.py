"""One request's way through the load: when it left, what came back when."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from sage.benchmark.classes import TrafficClass
from sage.benchmark.workload import PlannedRequest

_BODY_LIMIT = 64 * 1024 * 1024
_ERROR_TEXT = 300


class Failure(StrEnum):
    """Why a request has no good answer."""

    CONNECT = "connect"
    DISCONNECTED = "disconnected"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    STREAM_ERROR = "stream_error"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    EMPTY = "empty"


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Text(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Text | None = None
    message: _Text | None = None
    text: str | None = None
    finish_reason: str | None = None

    def has_tokens(self) -> bool:
        part = self.delta or self.message
        if part is None:
            return bool(self.text)
        return bool(part.content or part.reasoning_content or part.reasoning or part.tool_calls)


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Vector(msgspec.Struct, gc=False):
    embedding: msgspec.Raw


class _Vectors(msgspec.Struct, gc=False):
    data: list[_Vector] = []
    usage: _Usage | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_vectors = msgspec.json.Decoder(_Vectors).decode


class Exchange:
    """A request and its answer. All moments are seconds of one clock.

    Attributes:
        request: what was asked.
        streamed: whether the answer was asked for event by event.
        intended: when it should have left; latency counts from here.
        ready: when it was free to leave; later than intended when it waited for a slot.
        sent: when the load handed it to a connection.
        token_times: when each event with tokens came; one moment for an answer in one piece.
        ended: when the answer was complete, or the failure known.
        status: HTTP status; 0 before there was one.
        failure: None for a good answer.
        detail: what went wrong, shortened.
        output_tokens: as the server counted them; else the events with tokens.
        prompt_tokens: as the server counted them; 0 when it did not say.
        cached_tokens: those of the prompt that a stream's server had computed before; 0 when it did
            not say.
        instance: which instance answered, when the gateway names it.
        queue_ms: milliseconds in the gateway's queue, when it says; None when it does not.
        interrupted: the run was broken off before its end, so it is no result.
    """

    __slots__ = (
        "_arrivals",
        "_body",
        "_events",
        "_finished",
        "_size",
        "cached_tokens",
        "detail",
        "ended",
        "failure",
        "instance",
        "intended",
        "interrupted",
        "output_tokens",
        "prompt_tokens",
        "queue_ms",
        "ready",
        "request",
        "sent",
        "status",
        "streamed",
        "token_times",
    )

    def __init__(self, request: PlannedRequest, *, intended: float, ready: float) -> None:
        self.request = request
        self.streamed = request.stream and request.traffic is TrafficClass.CHAT
        self.intended = intended
        self.ready = ready
        self.sent = 0.0
        self._arrivals: list[float] = []
        self.token_times: Sequence[float] = self._arrivals
        self.ended = 0.0
        self.status = 0
        self.failure: Failure | None = None
        self.detail = ""
        self.output_tokens = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.instance = ""
        self.queue_ms: float | None = None
        self.interrupted = False
        self._body: list[bytes] = []
        self._size = 0
        self._events = b""
        self._finished = False

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes of the answer's body that came at ``now``."""
        if not self.streamed or self.status != 200:
            self._size += len(data)
            if self._size <= _BODY_LIMIT:
                self._body.append(data)
            return
        lines = (self._events + data if self._events else data).split(b"\n")
        self._events = lines.pop()
        for line in lines:
            if line[:5] == b"data:":
                self._event(line[5:], now)

    def complete(self, now: float) -> None:
        """The answer's end came at ``now``; judge whether it is one."""
        self.ended = now
        if self.status != 200:
            self._refused()
        elif self.streamed:
            if self._events[:5] == b"data:":
                self._event(self._events[5:], now)
            if self.failure is None and not self.token_times:
                self.fail(Failure.EMPTY, "the stream held no tokens", now)
            elif self.failure is None and not self._finished:
                self.fail(Failure.TRUNCATED, "the stream ended without a finish_reason", now)
        else:
            self._whole(now)
        self._body = []
        if not self.output_tokens and self.request.traffic is TrafficClass.CHAT:
            self.output_tokens = len(self.token_times)

    def fail(self, failure: Failure, detail: str, now: float) -> None:
        """Note the first thing that went wrong."""
        if self.failure is None:
            self.failure = failure
            self.detail = detail[:_ERROR_TEXT]
        self.ended = now

    def _refused(self) -> None:
        text = b"".join(self._body)[:_ERROR_TEXT].decode(errors="replace")
        kind = Failure.CLIENT_ERROR if 400 <= self.status < 500 else Failure.SERVER_ERROR
        if self.status in (429, 503):
            kind = Failure.REJECTED
        self.fail(kind, f"status {self.status}: {text}", self.ended)

    def _event(self, payload: bytes, now: float) -> None:
        try:
            chunk = _decode_chunk(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if payload.strip() == b"[DONE]":
                self._finished = True
            else:
                self.fail(Failure.MALFORMED, f"an event is not a chat chunk: {error}", now)
            return
        if chunk.error is not None:
            self.fail(Failure.STREAM_ERROR, str(chunk.error), now)
        for choice in chunk.choices:
            if choice.has_tokens():
                self._arrivals.append(now)
            if choice.finish_reason:
                self._finished = True
        if chunk.usage is not None:
            self.prompt_tokens = chunk.usage.prompt_tokens
            if chunk.usage.prompt_tokens_details is not None:
                self.cached_tokens = chunk.usage.prompt_tokens_details.cached_tokens or 0
            self.output_tokens = chunk.usage.completion_tokens

    def _whole(self, now: float) -> None:
        body = b"".join(self._body)
        chat = self.request.traffic is TrafficClass.CHAT
        try:
            answer = _decode_chunk(body) if chat else _decode_vectors(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.fail(Failure.MALFORMED, f"not the answer that was asked for: {error}", now)
            return
        if answer.usage is not None:
            self.prompt_tokens = answer.usage.prompt_tokens
            self.output_tokens = answer.usage.completion_tokens
        if isinstance(answer, _Vectors):
            vectors = [item for item in answer.data if len(bytes(item.embedding)) > 2]
            if len(vectors) != self.request.batch:
                found = f"{len(vectors)} vectors for {self.request.batch} texts"
                self.fail(Failure.EMPTY, found, now)
        elif any(choice.has_tokens() for choice in answer.choices):
            self._arrivals.append(now)
        else:
            self.fail(Failure.EMPTY, "the answer holds no choice with tokens", now)
