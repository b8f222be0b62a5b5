"""A streamed answer as an iterator of text, sync and async."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2

from sage.errors import SageError
from sage.inference.client.errors import HTTP_ERRORS, from_exception
from sage.inference.client.result import InferenceResult
from sage.inference.client.session import Opened


class _Stream:
    """What both iterators share: text that waits to be given out, and how the stream ends."""

    def __init__(self, opened: Opened, clock: Callable[[], float]) -> None:
        self._response: httpx2.Response = opened.response
        self._reader = opened.reader
        self._call = opened.call
        self._clock = clock
        self._ready: deque[str] = deque()
        self._over = False
        self._reader.begin(self._response.headers)

    @property
    def result(self) -> InferenceResult:
        """Text, tokens and times so far; final once the iterator has ended.

        Tokens are there when the server counts them at the end of a stream (OpenAI's
        ``stream_options={"include_usage": True}``).
        """
        return self._reader.result()

    def _take(self, chunk: bytes | None) -> None:
        if chunk is None:
            self._over = True
            self._reader.end()
        else:
            self._ready.extend(self._reader.feed(chunk, self._clock()))

    def _broken(self, error: Exception) -> None:
        self._over = True
        # Whatever happens to the connection behind [DONE], the answer was whole.
        if not self._reader.done:
            raise from_exception(self._call, error) from error

    def _end(self) -> None:
        self._over = True
        self._ready.clear()


class TextStream(_Stream, Iterator[str]):
    """Yields an answer's text as it arrives.

    Closing it (``close()``, ``with``, or dropping it) closes the connection, which makes the
    server stop generating.

    Raises:
        UpstreamError: while iterating: the server failed, or the stream was cut off; all text
            that came before was yielded.
        RequestTimeoutError: while iterating: nothing came for ``timeout`` seconds.
    """

    def __init__(self, opened: Opened, clock: Callable[[], float]) -> None:
        super().__init__(opened, clock)
        self._chunks = self._response.iter_bytes()

    def __iter__(self) -> TextStream:
        return self

    def __next__(self) -> str:
        try:
            while not self._ready:
                self._reader.check()
                if self._over:
                    raise StopIteration
                self._fill()
        except SageError:
            self.close()
            raise
        return self._ready.popleft()

    def _fill(self) -> None:
        try:
            chunk = next(self._chunks, None)
        except HTTP_ERRORS as error:
            self._broken(error)
        else:
            self._take(chunk)

    def collect(self) -> InferenceResult:
        """Read on to the end and return the whole answer."""
        with self:
            for _ in self:
                continue
        return self.result

    def close(self) -> None:
        """Close the connection; what was not read is not yielded."""
        self._end()
        self._response.close()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._response.close()


class AsyncTextStream(_Stream, AsyncIterator[str]):
    """Yields an answer's text as it arrives; the async twin of ``TextStream``."""

    def __init__(self, opened: Opened, clock: Callable[[], float]) -> None:
        super().__init__(opened, clock)
        self._loop = asyncio.get_running_loop()
        self._chunks = self._response.aiter_bytes()

    def __aiter__(self) -> AsyncTextStream:
        return self

    async def __anext__(self) -> str:
        try:
            while not self._ready:
                self._reader.check()
                if self._over:
                    raise StopAsyncIteration
                await self._fill()
        except (SageError, asyncio.CancelledError):
            await self.aclose()
            raise
        return self._ready.popleft()

    async def _fill(self) -> None:
        try:
            chunk = await anext(self._chunks, None)
        except HTTP_ERRORS as error:
            self._broken(error)
        else:
            self._take(chunk)

    async def collect(self) -> InferenceResult:
        """Read on to the end and return the whole answer."""
        async with self:
            async for _ in self:
                continue
        return self.result

    async def aclose(self) -> None:
        """Close the connection; what was not read is not yielded."""
        self._end()
        await self._response.aclose()

    async def __aenter__(self) -> AsyncTextStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._response.is_closed and self._loop.is_running():
            self._loop.call_soon_threadsafe(_close_later, self._loop, self._response)


_closing: set[asyncio.Task[None]] = set()


def _close_later(loop: asyncio.AbstractEventLoop, response: httpx2.Response) -> None:
    task = loop.create_task(response.aclose())
    # The loop holds its tasks weakly.
    _closing.add(task)
    task.add_done_callback(_closing.discard)
