"""The operator behind ``llm``: each record becomes a question, and gets its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from sage.dataflow.batching import CHARACTERS_PER_TOKEN
from sage.dataflow.models.operator import ModelOperator, ModelSettings
from sage.dataflow.models.prompts import Messages
from sage.dataflow.models.usage import Usage
from sage.errors import UpstreamError

# Tokens that an answer is expected to have before there was one.
FIRST_GUESS = 128
# How fast that expectation follows the newest answers, as the weight of one.
GUESS_WEIGHT = 0.1


class Answered(NamedTuple):
    """What ``llm`` emits for a record that is not a dict.

    Attributes:
        record: that was asked about.
        text: the answer.
        usage: what it took.
    """

    record: Any
    text: str
    usage: Usage


class LlmOperator(ModelOperator):
    """Asks a language model about each record.

    Args:
        settings: how it is asked.
        messages: makes a record's messages.
        into: the field of a dict that the answer is put in.
    """

    def __init__(
        self, settings: ModelSettings, messages: Callable[[Any], Messages], into: str
    ) -> None:
        super().__init__("llm", settings)
        self._messages = messages
        self._into = into
        self._under_way: dict[bytes, asyncio.Event] = {}
        limit = settings.params.get("max_completion_tokens") or settings.params.get("max_tokens")
        self._answer_limit = limit
        self._guess = float(FIRST_GUESS)

    async def execute(self, record: Any) -> Any:
        """Return a dict with its answer, or any other record as an `Answered`."""
        text, usage = await self._answer(self._messages(record))
        if isinstance(record, dict):
            return {**record, self._into: text}
        return Answered(record, text, usage)

    async def _answer(self, messages: Messages) -> tuple[str, Usage]:
        key = self.key(messages)
        if key is None:
            return await self._asked(messages)
        while (kept := self.kept(key)) is None:
            other = self._under_way.get(key)
            if other is None:
                return await self._first(key, messages)
            # The same question is being asked: its answer is kept then, or it failed.
            await other.wait()
        self._account.count("cached")
        text, model, read, written = json.loads(kept)
        return text, Usage(model, read, written, cached=True)

    async def _first(self, key: bytes, messages: Messages) -> tuple[str, Usage]:
        ended = self._under_way[key] = asyncio.Event()
        try:
            text, usage = await self._asked(messages)
            self.keep(key, json.dumps([text, *usage[:3]]).encode())
        finally:
            del self._under_way[key]
            ended.set()
        return text, usage

    async def _asked(self, messages: Messages) -> tuple[str, Usage]:
        expected = self._answer_limit or round(self._guess)
        estimate = estimate_messages(messages) + expected
        result = await self.ask(estimate, "achat", messages)
        if not isinstance(result.text, str):
            raise UpstreamError("llm(): the answer holds no text")
        written = result.completion_tokens
        if written is not None:
            self._guess += GUESS_WEIGHT * (written - self._guess)
        return result.text, Usage(result.model, result.prompt_tokens or 0, written or 0, False)


def estimate_messages(messages: Messages) -> int:
    """Estimate the tokens of a question: one for every four characters, and at least one."""
    if isinstance(messages, str):
        characters = len(messages)
    else:
        characters = sum(len(str(message.get("content") or "")) for message in messages)
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))
