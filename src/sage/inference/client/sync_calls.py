"""The client's methods that wait for their answer."""

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
from sage.inference.client.streams import TextStream


class SyncCalls(ClientCore):
    """chat, generate, embed, get_status."""

    @overload
    def chat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        stream: Literal[False] = False,
        return_result: Literal[False] = False,
        **params: Unpack[ChatOptions],
    ) -> str: ...
    @overload
    def chat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        stream: Literal[True],
        return_result: Literal[False] = False,
        **params: Unpack[ChatOptions],
    ) -> TextStream: ...
    @overload
    def chat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        stream: bool = False,
        return_result: Literal[True],
        **params: Unpack[ChatOptions],
    ) -> InferenceResult: ...
    def chat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        stream: bool = False,
        return_result: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **params: Any,
    ) -> str | TextStream | InferenceResult:
        """Answer a conversation.

        Args:
            messages: a list of ``{"role": …, "content": …}``; a string is one user message.
            model: default: the client's, else the server's first.
            max_tokens: the most tokens to write.
            temperature: 0.0 is greedy.
            stream: give the text as it arrives, as an iterator.
            return_result: give an ``InferenceResult`` with tokens and times; with ``stream`` the
                whole stream is read and ``ttft_s`` measured.
            extra_body: keys of the request that OpenAI does not have (``{"top_k": 40}``).
            timeout: instead of the client's, in seconds.
            params: OpenAI's other parameters, passed on (``tools``, ``response_format``, …).
        """
        params |= {"max_tokens": max_tokens, "temperature": temperature}
        question = chat_question(messages, model, params, extra_body, timeout)
        return self._text(question, stream, return_result)

    @overload
    def generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        stream: Literal[False] = False,
        return_result: Literal[False] = False,
        **params: Unpack[CompletionOptions],
    ) -> str: ...
    @overload
    def generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        stream: Literal[True],
        return_result: Literal[False] = False,
        **params: Unpack[CompletionOptions],
    ) -> TextStream: ...
    @overload
    def generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        stream: bool = False,
        return_result: Literal[True],
        **params: Unpack[CompletionOptions],
    ) -> InferenceResult: ...
    def generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        stream: bool = False,
        return_result: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **params: Any,
    ) -> str | TextStream | InferenceResult:
        """Continue a prompt, without a chat template (``/v1/completions``).

        Args:
            prompt: the text to continue.

        The other arguments are those of ``chat``.
        """
        params |= {"max_tokens": max_tokens, "temperature": temperature}
        question = completion_question(prompt, model, params, extra_body, timeout)
        return self._text(question, stream, return_result)

    @overload
    def embed(  # type: ignore[overload-overlap]  # a str is an Iterable[str], too
        self,
        texts: str,
        model: str | None = None,
        *,
        return_result: Literal[False] = False,
        **params: Unpack[EmbeddingOptions],
    ) -> list[float]: ...
    @overload
    def embed(
        self,
        texts: Iterable[str],
        model: str | None = None,
        *,
        return_result: Literal[False] = False,
        **params: Unpack[EmbeddingOptions],
    ) -> list[list[float]]: ...
    @overload
    def embed(
        self,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        return_result: Literal[True],
        **params: Unpack[EmbeddingOptions],
    ) -> InferenceResult: ...
    def embed(
        self,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        return_result: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **params: Any,
    ) -> list[float] | list[list[float]] | InferenceResult:
        """Turn text into vectors: one text gives one vector, a list gives one for each, in order.

        A long list is split into requests of ``embedding_batch_size`` texts, of which
        ``embedding_concurrency`` are in flight at once; the first failure ends the call.

        Args:
            texts: a string, or any iterable of strings; an empty one gives ``[]``.
            model: default: the client's, else the server's first embedding model.
            return_result: give an ``InferenceResult`` whose ``vectors`` has one vector a text.
            extra_body: keys of the request that OpenAI does not have.
            timeout: for each request, instead of the client's, in seconds.
            params: ``dimensions``, ``encoding_format``, ``user``, passed on.
        """
        question = embedding_question(texts, model, params, extra_body, timeout)
        result = self._sync.run(self._session.embed(question))
        return result if return_result else result.embedded(single=isinstance(texts, str))

    def get_status(self) -> dict[str, Any]:
        """Where requests go and whether those servers are well now; never raises for a dead one.

        Returns:
            For ``"llm"`` and ``"embedding"`` a dict: ``url``, ``model`` (the one asked when none
            is named), ``source``, ``reason`` (why this server), ``healthy`` (now), ``problem``
            (why not healthy), ``models`` (those it lists of this kind), ``tried`` (each place
            looked at when the client was made).
        """
        return self._sync.run(self._session.status())

    def _text(
        self, question: TextQuestion, stream: bool, return_result: bool
    ) -> str | TextStream | InferenceResult:
        if stream:
            asked = question.streamed(counted=return_result)
            opened = TextStream(self._sync.run(self._session.open(asked)), self._timing.clock)
            return opened.collect() if return_result else opened
        if return_result:
            return self._sync.run(self._session.answer(question))
        return self._sync.run(self._session.answer(question.as_text())).text or ""
