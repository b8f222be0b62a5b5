"""The client's methods for an event loop; the arguments and errors are their sync twins'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Unpack, overload

from sage.inference.client.calls import Messages
from sage.inference.client.core import ClientCore
from sage.inference.client.params import ChatOptions, CompletionOptions, EmbeddingOptions
from sage.inference.client.question import (
    TextQuestion,
    chat_question,
    completion_question,
    embedding_question,
)
from sage.inference.client.result import InferenceResult
from sage.inference.client.streams import AsyncTextStream


class AsyncCalls(ClientCore):
    """achat, agenerate, aembed, aget_status."""

    @overload
    async def achat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        stream: Literal[False] = False,
        return_result: Literal[False] = False,
        **params: Unpack[ChatOptions],
    ) -> str: ...
    @overload
    async def achat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        stream: Literal[True],
        return_result: Literal[False] = False,
        **params: Unpack[ChatOptions],
    ) -> AsyncTextStream: ...
    @overload
    async def achat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        stream: bool = False,
        return_result: Literal[True],
        **params: Unpack[ChatOptions],
    ) -> InferenceResult: ...
    async def achat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        stream: bool = False,
        return_result: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the HTTP client's, for each silence
        **params: Any,
    ) -> str | AsyncTextStream | InferenceResult:
        """Answer a conversation: ``chat`` for an event loop.

        With ``stream``: ``async for text in await client.achat(…, stream=True)``.
        """
        params |= {"max_tokens": max_tokens, "temperature": temperature}
        question = chat_question(messages, model, params, extra_body, timeout)
        return await self._atext(question, stream, return_result)

    @overload
    async def agenerate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        stream: Literal[False] = False,
        return_result: Literal[False] = False,
        **params: Unpack[CompletionOptions],
    ) -> str: ...
    @overload
    async def agenerate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        stream: Literal[True],
        return_result: Literal[False] = False,
        **params: Unpack[CompletionOptions],
    ) -> AsyncTextStream: ...
    @overload
    async def agenerate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        stream: bool = False,
        return_result: Literal[True],
        **params: Unpack[CompletionOptions],
    ) -> InferenceResult: ...
    async def agenerate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        stream: bool = False,
        return_result: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the HTTP client's, for each silence
        **params: Any,
    ) -> str | AsyncTextStream | InferenceResult:
        """Continue a prompt: ``generate`` for an event loop."""
        params |= {"max_tokens": max_tokens, "temperature": temperature}
        question = completion_question(prompt, model, params, extra_body, timeout)
        return await self._atext(question, stream, return_result)

    @overload
    async def aembed(  # type: ignore[overload-overlap]  # a str is an Iterable[str], too
        self,
        texts: str,
        model: str | None = None,
        *,
        return_result: Literal[False] = False,
        **params: Unpack[EmbeddingOptions],
    ) -> list[float]: ...
    @overload
    async def aembed(
        self,
        texts: Iterable[str],
        model: str | None = None,
        *,
        return_result: Literal[False] = False,
        **params: Unpack[EmbeddingOptions],
    ) -> list[list[float]]: ...
    @overload
    async def aembed(
        self,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        return_result: Literal[True],
        **params: Unpack[EmbeddingOptions],
    ) -> InferenceResult: ...
    async def aembed(
        self,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        return_result: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the HTTP client's, for each silence
        **params: Any,
    ) -> list[float] | list[list[float]] | InferenceResult:
        """Turn text into vectors: ``embed`` for an event loop."""
        question = embedding_question(texts, model, params, extra_body, timeout)
        result = await self._async.run(self._session.embed(question))
        return result if return_result else result.embedded(single=isinstance(texts, str))

    async def aget_status(self) -> dict[str, Any]:
        """Where requests go, and whether those servers are well: ``get_status`` for a loop."""
        return await self._async.run(self._session.status())

    async def _atext(
        self, question: TextQuestion, stream: bool, return_result: bool
    ) -> str | AsyncTextStream | InferenceResult:
        if stream:
            asked = question.streamed(counted=return_result)
            opened = AsyncTextStream(
                await self._async.run(self._session.open(asked)), self._timing.clock
            )
            return await opened.collect() if return_result else opened
        if return_result:
            return await self._async.run(self._session.answer(question))
        return (await self._async.run(self._session.answer(question.as_text()))).text or ""
