"""What the user asked, as a value that any sender can send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sage.errors import BadRequestError, ConfigError
from sage.inference.client.answers import parse_chat, parse_completion
from sage.inference.client.calls import Messages, Reply, chat_messages, texts_to_embed
from sage.inference.client.params import (
    CHAT_PARAMS,
    COMPLETION_PARAMS,
    EMBEDDING_PARAMS,
    given,
)
from sage.inference.client.result import InferenceResult


@dataclass(frozen=True, slots=True)
class TextQuestion:
    """A chat or a completion, without the server it goes to.

    Attributes:
        what: the method asked, for messages.
        path: the route under the base URL.
        model: the model named, if any.
        body: the JSON body without its model.
        parse: reads a whole answer.
        timeout_s: seconds to wait; ``None`` for the client's own.
    """

    what: str
    path: str
    model: str | None
    body: Mapping[str, Any]
    parse: Callable[[Reply], InferenceResult]
    timeout_s: float | None

    def streamed(self, *, counted: bool) -> TextQuestion:
        """The same, streamed; ``counted`` asks the server to count tokens at the end.

        Raises:
            ConfigError: several answers were asked for, and a stream of text has one.
        """
        if self._choices() > 1:
            raise ConfigError(
                f"{self.what}(): n={self._choices()} answers do not fit one stream of text; "
                "leave stream out and give return_result=True"
            )
        body = {**self.body, "stream": True}
        if counted:
            body.setdefault("stream_options", {"include_usage": True})
        return replace(self, body=body)

    def as_text(self) -> TextQuestion:
        """The same, when only the text is wanted.

        Raises:
            ConfigError: the answer may hold more than one text.
        """
        if self._choices() > 1 or self.body.get("tools") or self.body.get("functions"):
            asked = f"n={self._choices()}" if self._choices() > 1 else "tools"
            raise ConfigError(
                f"{self.what}(): with {asked} the answer can hold more than a text; "
                "give return_result=True and read tool_calls or raw"
            )
        return self

    def _choices(self) -> int:
        count = self.body.get("n", 1)
        return count if isinstance(count, int) else 1


@dataclass(frozen=True, slots=True)
class EmbeddingQuestion:
    """Texts to embed, without the server they go to."""

    texts: Sequence[str]
    model: str | None
    body: Mapping[str, Any]
    timeout_s: float | None


def chat_question(
    messages: Messages,
    model: str | None,
    params: Mapping[str, Any],
    extra_body: Mapping[str, Any] | None,
    timeout_s: float | None,
) -> TextQuestion:
    """The question of a ``chat`` call."""
    body = given(params, CHAT_PARAMS, extra_body, where="chat()")
    body["messages"] = chat_messages(messages)
    return TextQuestion("chat", "/chat/completions", model, body, parse_chat, _timeout(timeout_s))


def completion_question(
    prompt: str,
    model: str | None,
    params: Mapping[str, Any],
    extra_body: Mapping[str, Any] | None,
    timeout_s: float | None,
) -> TextQuestion:
    """The question of a ``generate`` call."""
    if not isinstance(prompt, str):
        raise BadRequestError(
            f"generate(): prompt is of type {type(prompt).__name__}; give one string "
            "(for messages there is chat())"
        )
    body = given(params, COMPLETION_PARAMS, extra_body, where="generate()")
    body["prompt"] = prompt
    return TextQuestion(
        "generate", "/completions", model, body, parse_completion, _timeout(timeout_s)
    )


def embedding_question(
    texts: str | Iterable[str],
    model: str | None,
    params: Mapping[str, Any],
    extra_body: Mapping[str, Any] | None,
    timeout_s: float | None,
) -> EmbeddingQuestion:
    """The question of an ``embed`` call; vectors travel as base64 unless told otherwise."""
    body = given(params, EMBEDDING_PARAMS, extra_body, where="embed()")
    body.setdefault("encoding_format", "base64")
    return EmbeddingQuestion(texts_to_embed(texts), model, body, _timeout(timeout_s))


def _timeout(seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ConfigError(f"timeout is {seconds!r}; give a finite number of seconds above 0")
    return seconds
