"""From the arguments of ``llm`` and ``embed`` to their operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sage.config.paths import user_paths
from sage.dataflow.blueprint import Blueprint
from sage.dataflow.checks import check_count
from sage.dataflow.content_cache import cache_path
from sage.dataflow.models.clients import (
    chat_parameters,
    check_client,
    embedding_parameters,
)
from sage.dataflow.models.embedding import EmbeddingOperator, Field
from sage.dataflow.models.gathering import Gathering
from sage.dataflow.models.llm import LlmOperator
from sage.dataflow.models.operator import ModelSettings
from sage.dataflow.models.prompts import Prompt, prompt_reader
from sage.dataflow.models.retry import ModelRetry
from sage.dataflow.models.usage import read_price
from sage.dataflow.options import OPTION_NAMES
from sage.dataflow.rate_limit import RateLimiter
from sage.errors import ConfigError, UnknownKeyError, shorten

# With them an answer holds more than the one text that is emitted.
_MORE_THAN_TEXT = ("tools", "functions", "audio")
# The records of a request that failed wait equally long, so that they go together again.
_TOGETHER = ModelRetry(jitter=0.0)

Built = tuple[Blueprint, dict[str, Any]]


def llm_operator(prompt: Prompt, into: str, **given: Any) -> Built:
    """Return the operator of ``llm`` and its options.

    Args:
        prompt: makes a record's messages.
        into: the field of a dict that the answer is put in.
        given: all other arguments, by name.

    Raises:
        ConfigError: a value is wrong.
        UnknownKeyError: there is no such option or parameter; names the nearest.
    """
    settings, options = _read("llm()", given, chat_parameters(), "achat")
    options["retry"] = _retry(options["retry"], ModelRetry())
    for name, value in settings.params.items():
        if (name == "n" and value != 1) or (name in _MORE_THAN_TEXT and value):
            raise ConfigError(
                f"llm() emits one text for each record, and {name}={shorten(value)} asks for more; "
                "call client.achat(…, return_result=True) in an async map instead"
            )
    _check_name("into", into)
    return Blueprint(LlmOperator, (settings, prompt_reader(prompt), into)), options


def embedding_operator(
    field: Field, into: str, batch_size: int, batch_timeout: float, **given: Any
) -> Built:
    """Return the operator of ``embed`` and its options.

    Args:
        field: where a record's text is.
        into: the field of a dict that the vector is put in.
        batch_size: most texts of a request.
        batch_timeout: seconds that a text waits at most for others.
        given: all other arguments, by name.

    Raises:
        ConfigError: a value is wrong.
        UnknownKeyError: there is no such option or parameter; names the nearest.
    """
    settings, options = _read("embed()", given, embedding_parameters(), "aembed")
    options["retry"] = _retry(options["retry"], _TOGETHER)
    batches = Gathering(batch_size, batch_timeout, options["concurrency"])
    if not (field is None or callable(field)):
        _check_name("field", field)
    _check_name("into", into)
    options["concurrency"] = batches.records
    return Blueprint(EmbeddingOperator, (settings, field, into, batches)), options


def _read(
    where: str, given: Mapping[str, Any], parameters: Iterable[str], method: str
) -> tuple[ModelSettings, dict[str, Any]]:
    """Sort arguments into how the model is asked and the operator's options."""
    rest = dict(given)
    client, retry = rest.pop("client"), rest.pop("retry")
    check_client(client, method)
    limiter = RateLimiter(rest.pop("requests_per_second"), rest.pop("tokens_per_second"))
    cache, price, model = rest.pop("cache"), rest.pop("price"), rest.pop("model")
    version, timeout = rest.pop("version"), rest.pop("timeout")
    options = {key: rest.pop(key) for key in tuple(rest) if key in OPTION_NAMES}
    known, own = frozenset(parameters), given.keys() - rest.keys()
    for key in rest:
        if key not in known:
            raise UnknownKeyError(key, own | known | OPTION_NAMES, where=where)
    params = {key: value for key, value in rest.items() if value is not None}
    check_count("concurrency", options["concurrency"])
    # Waiting takes one thread however many requests are out.
    options.setdefault("parallelism", 1)
    # The keys hold all that an answer depends on, so one file does for every pipeline.
    settings = ModelSettings(
        client,
        model,
        params,
        timeout,
        limiter,
        cache_path("cache", cache, user_paths().cache / "models.sqlite"),
        str(version),
        read_price(price),
    )
    return settings, {**options, "retry": retry}


def _retry(retry: object, policy: ModelRetry) -> object:
    """Return a policy of what a user gave; ``policy`` with so many attempts for a number."""
    if retry is None:
        return policy
    if isinstance(retry, int) and not isinstance(retry, bool):
        return replace(policy, attempts=retry)
    return retry


def _check_name(option: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{option} is {name!r}; give a dict's field")
