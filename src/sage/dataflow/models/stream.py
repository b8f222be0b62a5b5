"""The methods of a stream whose operators ask a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sage.dataflow.blueprint import Blueprint
from sage.dataflow.graph import Kind
from sage.dataflow.retry import RetryPolicy

if TYPE_CHECKING:
    from sage.dataflow.models.clients import ChatClient, EmbeddingClient
    from sage.dataflow.models.embedding import Field
    from sage.dataflow.models.prompts import Prompt
    from sage.dataflow.pipeline import Pipeline


class ModelStream(ABC):
    """What `Stream` gets its ``llm`` and ``embed`` from.

    Attributes:
        environment: that the operators are added to.
    """

    environment: Pipeline

    @abstractmethod
    def add(
        self, kind: Kind, blueprint: Blueprint, options: Mapping[str, Any], *, keyed: bool = False
    ) -> Self:
        """Add an operator that reads this stream."""

    def llm(
        self,
        prompt: Prompt = None,
        *,
        client: ChatClient | None = None,
        model: str | None = None,
        concurrency: int = 64,
        ordered: bool = True,
        retry: RetryPolicy | int | None = None,
        requests_per_second: float | None = None,
        tokens_per_second: float | None = None,
        cache: str | Path | bool = False,
        version: str = "1",
        into: str = "answer",
        price: tuple[float, float] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Self:
        """Ask a language model about each record.

        A dict is emitted as a copy with the answer in the field ``into``; any other record as an
        `Answered` of record, text and usage. The operator's metrics count ``requests`` (each
        attempt), ``cached`` records, ``prompt_tokens``, ``completion_tokens`` and, with ``price``,
        ``cost_micros``: millionths of the price's currency. Attempts after the first are the
        report's ``retried``.

        Args:
            prompt: a ``str.format`` template of a dict's fields, or of ``{record}``; or a function
                of a record that returns a text or a list of messages; None for records that are
                such themselves.
            client: a `UnifiedInferenceClient`, or anything with its ``achat``, which stays open;
                None for the client that ``UnifiedInferenceClient.create()`` finds, one a process.
            model: None for the server's own choice.
            concurrency: most requests under way at once, in each replica (of which there is one by
                default).
            ordered: whether answers keep the order of their records.
            retry: attempts for a record, or a `RetryPolicy`. By default 5 attempts when the server
                refuses for now (after its Retry-After), fails, or cannot be reached; none when it
                says that the request is wrong. A given client's own retries come before.
            requests_per_second: most requests that begin in a second, evenly spread, over all
                replicas.
            tokens_per_second: the same in tokens of prompts and answers: an estimate is charged
                before, and put right by the usage that the server reports.
            cache: a file in which answers are kept, by what was asked: of the same model, with the
                same parameters and messages, nothing is asked twice, in this run or another. True
                for the user's own.
            version: of what is kept; another one asks anew.
            into: the field for the answer; one of that name is replaced.
            price: what a million tokens of prompts, and of answers, cost.
            timeout: seconds for each answer; None for the client's own.
            options: the operator's options, and parameters of the request such as ``temperature``
                and ``max_tokens``; what only some servers know goes into ``extra_body={…}``.

        Raises:
            ConfigError: a value is wrong.
            UnknownKeyError: there is no such option or parameter.
        """
        from sage.dataflow.models.building import llm_operator

        built = llm_operator(
            prompt,
            into,
            client=client,
            model=model,
            concurrency=concurrency,
            ordered=ordered,
            retry=retry,
            requests_per_second=requests_per_second,
            tokens_per_second=tokens_per_second,
            cache=cache,
            version=version,
            price=price,
            timeout=timeout,
            **options,
        )
        return self._add_model("llm", *built)

    def embed(
        self,
        *,
        field: Field = None,
        client: EmbeddingClient | None = None,
        model: str | None = None,
        batch_size: int = 32,
        batch_timeout: float = 0.02,
        concurrency: int = 8,
        ordered: bool = True,
        retry: RetryPolicy | int | None = None,
        requests_per_second: float | None = None,
        tokens_per_second: float | None = None,
        cache: str | Path | bool = False,
        version: str = "1",
        into: str = "embedding",
        price: float | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Self:
        """Turn each record's text into a vector, a list of floats; many texts go in one request.

        A dict is emitted as a copy with the vector in the field ``into``; any other record as an
        `Embedded` of record and vector. Records that wait for the same text share one. When the
        server says that a request's content is wrong, its texts are divided until only those to
        blame fail; errors, attempts and dead letters are the record's own.

        The operator's metrics count ``requests`` (each attempt), the ``texts`` in them, the
        ``cached`` and the ``shared`` records, ``prompt_tokens`` and ``cost_micros`` as `llm` does.

        Args:
            field: the dict's field with the text, or a function that returns a record's text; None
                for records that are texts.
            client: see `llm`; here it needs ``aembed``.
            model: None for the server's own choice.
            batch_size: most texts of a request.
            batch_timeout: seconds that a text waits at most for others, by a timer.
            concurrency: most requests under way at once, in each replica.
            ordered: whether vectors keep the order of their records.
            retry: see `llm`.
            requests_per_second: see `llm`.
            tokens_per_second: see `llm`.
            cache: see `llm`; vectors are kept as float32.
            version: of what is kept; another one asks anew.
            into: the field for the vector; one of that name is replaced.
            price: what a million tokens cost.
            timeout: seconds for each answer; None for the client's own.
            options: the operator's options, and parameters of the request such as ``dimensions``.

        Raises:
            ConfigError: a value is wrong.
            UnknownKeyError: there is no such option or parameter.
        """
        from sage.dataflow.models.building import embedding_operator

        built = embedding_operator(
            field,
            into,
            batch_size,
            batch_timeout,
            client=client,
            model=model,
            concurrency=concurrency,
            ordered=ordered,
            retry=retry,
            requests_per_second=requests_per_second,
            tokens_per_second=tokens_per_second,
            cache=cache,
            version=version,
            price=price,
            timeout=timeout,
            **options,
        )
        return self._add_model("embed", *built)

    def _add_model(self, name: str, blueprint: Blueprint, options: dict[str, Any]) -> Self:
        options.setdefault("name", self.environment.free_name(name))
        return self.add(Kind.MAP, blueprint, options)
