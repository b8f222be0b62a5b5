"""Results of a map kept by the content of its records, so that a killed job computes none twice."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sage.config.paths import user_paths
from sage.dataflow.blueprint import Blueprint
from sage.dataflow.content import content_digest
from sage.dataflow.content_cache import cache_path
from sage.dataflow.context import OperatorMetrics, RuntimeContext
from sage.dataflow.functions.transform import EMPTY_FLUSHES
from sage.dataflow.lifecycle import Wrapper
from sage.dataflow.write_behind import WriteBehind
from sage.errors import GraphError


def remembered(
    blueprint: Blueprint, options: Mapping[str, Any], path: Path, version: str
) -> Blueprint:
    """Return the blueprint of a map that remembers its results.

    Args:
        blueprint: of the map.
        options: of the operator.
        path: of the file.
        version: of the function; results of another one are not used.

    Raises:
        GraphError: nothing tells the function's results from another's, or it is one that keeps
            something from one record to the next.
    """
    if not (blueprint.label or options.get("name")):
        raise GraphError(
            "remember= keeps results under the operator's name, and a lambda has none; give name="
        )
    for method in ("flush", "snapshot"):
        own = getattr(_class_of(blueprint), method, None)
        if own is not None and own not in EMPTY_FLUSHES:
            raise GraphError(
                f"{blueprint.label} defines {method}(), so it keeps something from one record to "
                "the next: its results cannot be remembered by record; leave out remember="
            )
    return replace(blueprint, wrap=partial(_wrapped, path=path, version=version))


def results_path(remember: object, *, job: str) -> Path:
    """Return the file that results are kept in.

    Args:
        remember: a path, or True for the job's own in the user's cache folder.
        job: the environment's name.

    Raises:
        ConfigError: it is neither.
    """
    # A job's name may hold anything; its digest makes two names two files.
    safe = "".join(each if each.isalnum() or each in "-_" else "_" for each in job)
    file = f"{safe}-{content_digest(job).hex()[:8]}.sqlite"
    path = cache_path("remember", remember, user_paths().cache / "remembered" / file)
    assert path is not None
    return path


def _class_of(blueprint: Blueprint) -> Any:
    if blueprint.is_class:
        return blueprint.given
    return type(blueprint.given) if blueprint.is_instance else None


def _wrapped(target: Any, *, path: Path, version: str) -> Remembering:
    call = getattr(target, "execute", target)
    waits = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 - an object's own, not whether it has one
    )
    return (RememberingAsync if waits else Remembering)(target, path, version)


class Remembering(Wrapper, WriteBehind):
    """Calls a function only on records whose result is not kept yet.

    A result is kept under the record's content, the operator's name and its version. Errors are
    not kept. The operator's metrics count ``remembered`` and ``computed`` records.

    Args:
        target: the user's operator object or callable.
        path: of the file.
        version: of the function.
    """

    def __init__(self, target: Any, path: Path, version: str) -> None:
        super().__init__(target)
        self._path = path
        self._version = version
        self._operator = ""
        self._metrics = OperatorMetrics()

    def open(self, context: RuntimeContext) -> Any:
        """Open the file, and the user's object."""
        self._operator = context.name
        self._metrics = context.metrics
        self.open_cache(self._path)
        return super().open(context)

    def execute(self, record: Any) -> Any:
        """Return the result that is kept, or make it."""
        key = self._key(record)
        known = self._known(key)
        return known[0] if known is not None else self._made(key, self.call(record))

    def close(self) -> Any:
        """Close the file, and the user's object."""
        try:
            return super().close()
        finally:
            self.close_cache()

    def _key(self, record: Any) -> bytes:
        return content_digest("map", self._operator, self._version, record)

    def _known(self, key: bytes) -> tuple[Any] | None:
        value = self.kept(key)
        if value is None:
            return None
        self._metrics.add("remembered")
        return (pickle.loads(value),)  # noqa: S301 - from the user's own file, as their code is

    def _made(self, key: bytes, result: Any) -> Any:
        self.keep(key, pickle.dumps(result, pickle.HIGHEST_PROTOCOL))
        self._metrics.add("computed")
        return result


class RememberingAsync(Remembering):
    """The same with a coroutine function."""

    call: Callable[..., Any]

    async def execute(self, record: Any) -> Any:
        """Return the result that is kept, or await it."""
        key = self._key(record)
        known = self._known(key)
        return known[0] if known is not None else self._made(key, await self.call(record))
