"""A streamed answer, from bytes to text; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sage.errors import UpstreamError, shorten
from sage.inference.client.answers import INSTANCE_HEADER, REQUEST_ID_HEADER, usage_of
from sage.inference.client.result import InferenceResult
from sage.inference.client.sse import EventDecoder, ServerEvent


class StreamReader:
    """Reads one streamed chat or completion; gives its text as it comes and keeps the rest.

    Args:
        what: ``"chat"`` or ``"generate"``, for messages.
        started: when the call was made, in seconds of the caller's clock.
    """

    def __init__(self, what: str, started: float) -> None:
        self.done = False
        self._what = what
        self._started = started
        self._decoder = EventDecoder()
        self._headers: Mapping[str, str] = {}
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._first: float | None = None
        self._last = started
        self._finish: str | None = None
        self._usage: tuple[int | None, int | None] = (None, None)
        self._model: str | None = None
        self._id: str | None = None
        self._raw: dict[str, Any] | None = None
        self._failure: UpstreamError | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """Take the answer's headers; ``check`` raises when they announce no event stream."""
        self._headers = headers
        kind = headers.get("content-type", "text/event-stream")
        if not kind.startswith("text/event-stream"):
            self._failure = UpstreamError(
                f"{self._what}: asked for a stream, the server answered with {kind!r}"
            )

    def feed(self, chunk: bytes, now: float) -> list[str]:
        """Take the next bytes, return the pieces of text they hold.

        A failure behind some text is kept until that text was given out: see ``check``.
        """
        pieces: list[str] = []
        try:
            for event in self._decoder.feed(chunk):
                if self.done:
                    break
                pieces += self._event(event, now)
        except UpstreamError as error:
            self._failure = error
        self._texts += pieces
        self._last = now
        return pieces

    def check(self) -> None:
        """Raise the failure that the stream told of, if any; call once its text is given out."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """The bytes are over.

        Raises:
            UpstreamError: the answer was cut off: neither ``[DONE]`` nor a finish reason came.
        """
        self.check()
        if not self.done and self._finish is None:
            raise UpstreamError(
                f"{self._what}: the stream was cut off after {len(self._texts)} pieces of text, "
                "without a finish reason"
            )
        self.done = True

    def result(self) -> InferenceResult:
        """What came so far."""
        prompt, completion = self._usage
        return InferenceResult(
            text="".join(self._texts),
            model=self._model,
            instance=self._headers.get(INSTANCE_HEADER),
            prompt_tokens=prompt,
            completion_tokens=completion,
            latency_s=self._last - self._started,
            ttft_s=None if self._first is None else self._first - self._started,
            finish_reason=self._finish,
            request_id=self._headers.get(REQUEST_ID_HEADER) or self._id,
            tool_calls=tuple(call for _, call in sorted(self._calls.items())),
            raw=self._raw,
        )

    def _event(self, event: ServerEvent, now: float) -> list[str]:
        if event.data.strip() == "[DONE]":
            self.done = True
            return []
        try:
            answer = msgspec.json.decode(event.data.encode())
        except msgspec.DecodeError as error:
            raise UpstreamError(
                f"{self._what}: an event of the stream is not JSON ({error}): {shorten(event.data)}"
            ) from error
        if event.event == "error" or not isinstance(answer, dict) or answer.get("error"):
            said = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise UpstreamError(
                f"{self._what}: the server failed after {len(self._texts)} pieces of text: "
                f"{shorten(said, 500)}"
            )
        return self._answer(answer, now)

    def _answer(self, answer: dict[str, Any], now: float) -> list[str]:
        self._raw = answer
        self._model = answer.get("model") or self._model
        self._id = answer.get("id") or self._id
        if answer.get("usage"):
            self._usage = usage_of(answer)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices:
            return []  # the event that only carries the usage
        choice = choices[0]
        if not isinstance(choice, dict):
            raise UpstreamError(f"{self._what}: an event's choice is {shorten(choice)}")
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta") or {}
        for part in delta.get("tool_calls") or ():
            self._tool_call(part)
        text = delta.get("content") if "delta" in choice else choice.get("text")
        if not text:
            return []
        if self._first is None:
            self._first = now
        return [text]

    def _tool_call(self, part: dict[str, Any]) -> None:
        # The first part names the function, later ones append to its arguments.
        call = self._calls.setdefault(part.get("index", 0), {})
        for key, value in part.items():
            if key == "function":
                known = call.setdefault("function", {"arguments": ""})
                known["arguments"] += value.get("arguments") or ""
                if value.get("name"):
                    known["name"] = value["name"]
            elif key != "index" and value is not None:
                call[key] = value
