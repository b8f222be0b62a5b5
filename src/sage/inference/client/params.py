"""The OpenAI parameters that chat, generate and embed pass on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from sage.errors import ConfigError, UnknownKeyError


class _SamplingParams(TypedDict, total=False):
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | None
    n: int | None
    presence_penalty: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    stream_options: Mapping[str, Any] | None
    top_p: float | None
    user: str | None


class ChatParams(_SamplingParams, total=False):
    """What ``/v1/chat/completions`` takes beside messages, model, max_tokens and temperature."""

    audio: Mapping[str, Any] | None
    function_call: str | Mapping[str, Any] | None
    functions: Sequence[Mapping[str, Any]] | None
    logprobs: bool | None
    max_completion_tokens: int | None
    metadata: Mapping[str, str] | None
    modalities: Sequence[str] | None
    moderation: Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    prediction: Mapping[str, Any] | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    reasoning_effort: str | None
    response_format: Mapping[str, Any] | None
    safety_identifier: str | None
    service_tier: str | None
    store: bool | None
    tool_choice: str | Mapping[str, Any] | None
    tools: Sequence[Mapping[str, Any]] | None
    top_logprobs: int | None
    verbosity: str | None
    web_search_options: Mapping[str, Any] | None


class CompletionParams(_SamplingParams, total=False):
    """What ``/v1/completions`` takes beside prompt, model, max_tokens and temperature."""

    best_of: int | None
    echo: bool | None
    logprobs: int | None
    suffix: str | None


class EmbeddingParams(TypedDict, total=False):
    """What ``/v1/embeddings`` takes beside input and model."""

    dimensions: int | None
    encoding_format: Literal["float", "base64"] | None
    user: str | None


class _RequestOptions(TypedDict, total=False):
    extra_body: Mapping[str, Any] | None
    timeout: float | None


class _TextOptions(_RequestOptions, total=False):
    max_tokens: int | None
    temperature: float | None


class ChatOptions(ChatParams, _TextOptions, total=False):
    """Every keyword of ``chat`` that does not change what it returns."""


class CompletionOptions(CompletionParams, _TextOptions, total=False):
    """Every keyword of ``generate`` that does not change what it returns."""


class EmbeddingOptions(EmbeddingParams, _RequestOptions, total=False):
    """Every keyword of ``embed`` that does not change what it returns."""


CHAT_PARAMS = frozenset(ChatParams.__annotations__) | {"max_tokens", "temperature"}
COMPLETION_PARAMS = frozenset(CompletionParams.__annotations__) | {"max_tokens", "temperature"}
EMBEDDING_PARAMS = frozenset(EmbeddingParams.__annotations__)

_NOT_IN_EXTRA = frozenset({"model", "messages", "prompt", "input", "stream"})


def given(
    params: Mapping[str, Any],
    known: frozenset[str],
    extra_body: Mapping[str, Any] | None,
    *,
    where: str,
) -> dict[str, Any]:
    """Return the parameters to send: those that are not ``None``, and ``extra_body``.

    Raises:
        UnknownKeyError: a parameter that OpenAI does not have; names the nearest.
        ConfigError: ``extra_body`` repeats a parameter, or holds one that has its own argument.
    """
    for key in params:
        if key not in known:
            raise UnknownKeyError(
                key, known, where=f"{where}: engine-specific keys go into extra_body={{…}}"
            )
    body = {key: value for key, value in params.items() if value is not None}
    for key, value in (extra_body or {}).items():
        if key in body or key in _NOT_IN_EXTRA:
            raise ConfigError(
                f"{where}: extra_body holds {key!r}, which has its own argument; give it there"
            )
        body[key] = value
    return body
