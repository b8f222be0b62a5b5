"""Whole answers of the OpenAI routes, from bytes to results; no I/O."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sage.errors import UpstreamError, shorten
from sage.inference.client.calls import Reply
from sage.inference.client.result import InferenceResult
from sage.inference.scheduling.request import Kind

INSTANCE_HEADER = "x-sage-instance"
REQUEST_ID_HEADER = "x-request-id"


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model of ``GET /v1/models``; ``kind`` is ``None`` when the server does not mark it."""

    id: str
    kind: Kind | None


def decode(body: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in ``body``.

    Raises:
        UpstreamError: it is not one, or it is an error that came with a good status.
    """
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise UpstreamError(
            f"{what}: the answer is not JSON ({error}): {shorten(body[:200])}"
        ) from error
    if not isinstance(answer, dict):
        raise UpstreamError(f"{what}: the answer is not a JSON object: {shorten(answer)}")
    if answer.get("error"):
        raise UpstreamError(f"{what}: the server failed: {shorten(answer['error'], 500)}")
    return answer


def parse_chat(reply: Reply) -> InferenceResult:
    """The result of a chat answer, without its times."""
    answer = decode(reply.body, "chat")
    choice = _first_choice(answer, "chat")
    message = choice.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("content"), str | None):
        raise UpstreamError(f"chat: the answer's choice has no message: {shorten(choice)}")
    return InferenceResult(
        text=message.get("content") or "",
        tool_calls=tuple(message.get("tool_calls") or ()),
        finish_reason=choice.get("finish_reason"),
        raw=answer,
        **_common(answer, reply.headers),
    )


def parse_completion(reply: Reply) -> InferenceResult:
    """The result of a completion, without its times."""
    answer = decode(reply.body, "generate")
    choice = _first_choice(answer, "generate")
    if not isinstance(choice.get("text"), str):
        raise UpstreamError(f"generate: the answer's choice has no text: {shorten(choice)}")
    return InferenceResult(
        text=choice["text"],
        finish_reason=choice.get("finish_reason"),
        raw=answer,
        **_common(answer, reply.headers),
    )


def parse_embeddings(reply: Reply, count: int) -> InferenceResult:
    """The result of an embedding request for ``count`` texts, in their order.

    Raises:
        UpstreamError: not exactly one vector for each text, or they differ in length.
    """
    answer = decode(reply.body, "embed")
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != count:
        got = f"{len(data)} vectors" if isinstance(data, list) else "no list of vectors"
        raise UpstreamError(f"embed: sent {count} texts, the server answered with {got}")
    vectors: list[list[float] | None] = [None] * count
    for place, item in enumerate(data):
        at = item.get("index", place) if isinstance(item, dict) else None
        if not isinstance(at, int) or not 0 <= at < count or vectors[at] is not None:
            raise UpstreamError(f"embed: item {place} of the answer has index {at!r} of {count}")
        vectors[at] = _vector(item.get("embedding"), at)
    # Every index is in range and taken once, so none is left open.
    whole = [vector for vector in vectors if vector is not None]
    lengths = {len(vector) for vector in whole}
    if len(lengths) > 1:
        raise UpstreamError(f"embed: the vectors differ in length: {sorted(lengths)}")
    return InferenceResult(vectors=whole, raw=answer, **_common(answer, reply.headers))


def parse_models(reply: Reply) -> list[ListedModel]:
    """The models of an OpenAI list.

    Raises:
        UpstreamError: it is not an OpenAI list.
    """
    answer = decode(reply.body, "models")
    data = answer.get("data")
    if not isinstance(data, list) or not all(
        isinstance(item, dict) and isinstance(item.get("id"), str) for item in data
    ):
        raise UpstreamError(f"models: not an OpenAI list of models: {shorten(answer)}")
    kinds = {kind.value: kind for kind in Kind}
    return [ListedModel(item["id"], kinds.get(str(item.get("kind")))) for item in data]


def merge_embeddings(parts: list[InferenceResult]) -> InferenceResult:
    """One result of the parts of a split request, in their order."""
    if len(parts) == 1:
        return parts[0]
    counts = [part.prompt_tokens for part in parts]
    known = [count for count in counts if count is not None]
    instances = sorted({part.instance for part in parts if part.instance})
    return InferenceResult(
        vectors=[vector for part in parts for vector in part.vectors or ()],
        model=parts[0].model,
        instance=", ".join(instances) or None,
        prompt_tokens=sum(known) if len(known) == len(counts) else None,
        request_id=parts[0].request_id,
        raw=[part.raw for part in parts],
    )


def usage_of(answer: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Prompt and completion tokens, as far as the server counted them."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None, None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return (
        prompt if isinstance(prompt, int) else None,
        completion if isinstance(completion, int) else None,
    )


def _common(answer: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    prompt, completion = usage_of(answer)
    return {
        "model": answer.get("model"),
        "instance": headers.get(INSTANCE_HEADER),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "request_id": headers.get(REQUEST_ID_HEADER) or answer.get("id"),
    }


def _first_choice(answer: Mapping[str, Any], what: str) -> dict[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UpstreamError(f"{what}: the answer has no choices: {shorten(answer)}")
    return choices[0]


def _vector(value: Any, at: int) -> list[float]:
    if isinstance(value, str):
        try:
            floats = array("f", base64.b64decode(value, validate=True))
        except ValueError as error:
            raise UpstreamError(f"embed: vector {at} is not base64 of float32: {error}") from error
        if sys.byteorder == "big":
            floats.byteswap()
        return floats.tolist()
    if isinstance(value, list) and all(isinstance(number, int | float) for number in value):
        return [float(number) for number in value]
    raise UpstreamError(f"embed: vector {at} is neither base64 nor numbers: {shorten(value)}")
