"""The client's behaviour, as flows: which model, which calls, what is retried."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sage.errors import BadRequestError, InferenceError, NoBackendError, RejectedError
from sage.inference.client.answers import merge_embeddings, parse_embeddings, parse_models
from sage.inference.client.calls import Call, Endpoint, encode, split
from sage.inference.client.config import ClientConfig
from sage.inference.client.errors import is_retryable
from sage.inference.client.flow import Flow, Gather, Once, Open, Send, Sleep
from sage.inference.client.health import Health, look, look_timeout_s
from sage.inference.client.question import EmbeddingQuestion, TextQuestion
from sage.inference.client.reader import StreamReader
from sage.inference.client.result import InferenceResult
from sage.inference.client.retry import RetryPolicy
from sage.inference.client.target import Target
from sage.inference.scheduling.request import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """Where time and chance come from; tests give their own.

    Attributes:
        clock: seconds, monotonic.
        sleep: waits, for the sync methods.
        async_sleep: waits, for the async methods.
        jitter: draws from [0, 1), to spread retries.
    """

    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep
    async_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random().random)  # noqa: S311 - spreads retries, guards nothing


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream whose status was good: the HTTP response, unread, and what reads it."""

    response: Any
    reader: StreamReader
    call: Call


class Session:
    """Turns questions into flows.

    Args:
        config: the client's options.
        targets: the server of each kind.
        timing: clock and chance.
    """

    def __init__(self, config: ClientConfig, targets: Mapping[Kind, Target], timing: Timing):
        self.config = config
        self.targets = dict(targets)
        self.timing = timing
        self._models: dict[Kind, str] = {}
        self._retry = RetryPolicy(config.retries)

    def answer(self, question: TextQuestion) -> Flow[InferenceResult]:
        """The whole answer."""
        started = self.timing.clock()

        def ask(endpoint: Endpoint, model: str) -> Flow[InferenceResult]:
            call = self._post(endpoint, question.path, model, question.body, question.timeout_s)
            return question.parse((yield from self._retried(Send(call))))

        result = yield from self._with_model(Kind.LLM, question.model, ask)
        return replace(result, latency_s=self.timing.clock() - started)

    def open(self, question: TextQuestion) -> Flow[Opened]:
        """The answer's stream, opened; retries are over once it is."""
        reader = StreamReader(question.what, self.timing.clock())

        def ask(endpoint: Endpoint, model: str) -> Flow[Opened]:
            call = self._post(endpoint, question.path, model, question.body, question.timeout_s)
            return Opened((yield from self._retried(Open(call))), reader, call)

        return (yield from self._with_model(Kind.LLM, question.model, ask))

    def embed(self, question: EmbeddingQuestion) -> Flow[InferenceResult]:
        """One vector a text; many texts go as several requests side by side."""
        if not question.texts:
            return InferenceResult(vectors=[])
        started = self.timing.clock()
        parts = split(question.texts, self.config.embedding_batch_size)

        def ask(endpoint: Endpoint, model: str) -> Flow[InferenceResult]:
            flows = [self._embed_part(endpoint, model, question, part) for part in parts]
            if len(flows) == 1:
                return (yield from flows[0])
            return merge_embeddings((yield Gather(flows, self.config.embedding_concurrency)))

        result = yield from self._with_model(Kind.EMBEDDING, question.model, ask)
        return replace(result, latency_s=self.timing.clock() - started)

    def status(self) -> Flow[dict[str, Any]]:
        """Where requests go, why, and whether those servers are well now."""
        reachable = {
            target.endpoint: look_timeout_s(target.endpoint.url)
            for target in self.targets.values()
            if target.endpoint is not None
        }
        looks = yield Gather(
            [look(endpoint, limit, self.timing.clock) for endpoint, limit in reachable.items()],
            limit=2,
        )
        health: dict[Endpoint | None, Health] = dict(zip(reachable, looks, strict=True))
        return {
            str(kind): self._status_of(target, health.get(target.endpoint))
            for kind, target in self.targets.items()
        }

    def _status_of(self, target: Target, health: Health | None) -> dict[str, Any]:
        kind = target.kind
        models = health.serves(kind, unmarked=True) if health else []
        if health is None:
            problem: str | None = target.reason
        elif health.up_kinds is not None and kind not in health.up_kinds:
            problem = f"no {kind} instance is up behind it"
        else:
            problem = health.problem
            if problem is None and not models:
                problem = f"it serves no {kind} model"
        return {
            "url": target.endpoint.url if target.endpoint else None,
            "model": target.model or self._models.get(kind) or next(iter(models), None),
            "source": target.source,
            "reason": target.reason,
            "healthy": problem is None,
            "problem": problem,
            "models": models,
            "tried": [
                {"place": at.place, "source": at.source, "outcome": at.outcome}
                for at in target.tried
            ],
        }

    def _embed_part(
        self, endpoint: Endpoint, model: str, question: EmbeddingQuestion, texts: Sequence[str]
    ) -> Flow[InferenceResult]:
        body = {**question.body, "input": texts}
        call = self._post(endpoint, "/embeddings", model, body, question.timeout_s)
        return parse_embeddings((yield from self._retried(Send(call))), len(texts))

    def _with_model(
        self, kind: Kind, model: str | None, ask: Callable[[Endpoint, str], Flow[T]]
    ) -> Flow[T]:
        target = self.targets[kind]
        endpoint = target.require()
        named = model or target.model
        if named:
            return (yield from ask(endpoint, named))
        first = yield Once(kind, lambda: self._default_model(kind, endpoint))
        try:
            return (yield from ask(endpoint, first))
        except BadRequestError as error:
            # The server may have been restarted with another model since it was asked.
            if error.status != 404:
                raise
            if self._models.get(kind) == first:
                self._models.pop(kind, None)
            now = yield Once(kind, lambda: self._default_model(kind, endpoint))
            if now == first:
                raise
        return (yield from ask(endpoint, now))

    def _default_model(self, kind: Kind, endpoint: Endpoint) -> Flow[str]:
        known = self._models.get(kind)
        if known is not None:
            return known
        call = Call(
            "GET",
            f"{endpoint.url}/models",
            endpoint.api_key,
            timeout_s=self.config.timeout,
            connect_timeout_s=self.config.connect_timeout,
        )
        option = "default_llm_model" if kind is Kind.LLM else "default_embedding_model"
        try:
            listed = parse_models((yield from self._retried(Send(call))))
        except BadRequestError as error:
            raise BadRequestError(
                f"no model was named and the server lists none ({error}); "
                f"give model=… or {option}=…",
                status=error.status,
            ) from error
        models = Health(tuple(listed)).serves(kind, unmarked=True)
        if not models:
            names = ", ".join(model.id for model in listed) or "nothing"
            raise NoBackendError(f"{endpoint.url} serves no {kind} model (it serves {names})")
        # A marked model before one that may be of either kind.
        marked = [model.id for model in listed if model.kind is kind]
        self._models[kind] = (marked or models)[0]
        return self._models[kind]

    def _retried(self, effect: Send | Open) -> Flow[Any]:
        attempt = 0
        while True:
            try:
                return (yield effect)
            except InferenceError as error:
                if not is_retryable(error):
                    raise
                asked = error.retry_after if isinstance(error, RejectedError) else None
                delay = self._retry.delay(attempt, asked, self.timing.jitter())
                if delay is None:
                    raise
            yield Sleep(delay)
            attempt += 1

    def _post(
        self,
        endpoint: Endpoint,
        path: str,
        model: str,
        body: Mapping[str, Any],
        timeout_s: float | None,
    ) -> Call:
        return Call(
            "POST",
            endpoint.url + path,
            endpoint.api_key,
            encode({"model": model, **body}),
            timeout_s or self.config.timeout,
            self.config.connect_timeout,
        )
