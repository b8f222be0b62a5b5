"""How the replicas of an operator are made from what the user gave."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sage.dataflow.lifecycle import is_operator
from sage.dataflow.options import OPTION_NAMES
from sage.errors import GraphError, shorten


@dataclass(frozen=True, slots=True)
class Blueprint:
    """An instance, a class with its constructor's arguments, or a plain callable.

    Attributes:
        given: what the user gave.
        args: positional arguments of the constructor.
        kwargs: keyword arguments of the constructor.
        wrap: makes the object that runs of each object made so.
    """

    given: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrap: Callable[[Any], Any] | None = None

    @property
    def is_class(self) -> bool:
        """Whether each replica is constructed anew; a type such as ``str`` is a plain callable."""
        return is_operator_class(self.given)

    @property
    def is_instance(self) -> bool:
        """Whether it is an operator object, as against a plain callable."""
        return not self.is_class and is_operator(self.given)

    @property
    def is_async(self) -> bool:
        """Whether it is run by awaiting it."""
        call = getattr(self.given, "execute", self.given)
        return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
            getattr(call, "__call__", None)  # noqa: B004 - an object's own, not whether it has one
        )

    @property
    def label(self) -> str:
        """The operator's default name; empty when it has none of its own."""
        if self.is_class:
            return str(self.given.__name__)
        if self.is_instance:
            return type(self.given).__name__
        name = getattr(self.given, "__name__", type(self.given).__name__)
        return "" if name == "<lambda>" else str(name)

    def replicas(self, count: int, name: str) -> list[Any]:
        """Return ``count`` objects to run.

        One replica of an instance is the instance itself, so that what it gathers can be read
        after the run; several are copies. A plain callable is shared by all.

        Raises:
            GraphError: the instance cannot be copied.
        """
        made = self._made(count, name)
        return made if self.wrap is None else [self.wrap(each) for each in made]

    def _made(self, count: int, name: str) -> list[Any]:
        if self.is_class:
            return [self.given(*self.args, **self.kwargs) for _ in range(count)]
        if not self.is_instance or count == 1:
            return [self.given] * count
        return [self._copy(name, count) for _ in range(count)]

    def _copy(self, name: str, count: int) -> Any:
        try:
            return copy.deepcopy(self.given)
        except Exception as error:
            raise GraphError(
                f"operator {name!r} has parallelism {count}, but its instance cannot be copied "
                f"({type(error).__name__}: {error}); give the class and its arguments instead of "
                f"an instance, or create what cannot be copied in open()"
            ) from error


def is_operator_class(given: object) -> bool:
    """Say whether it is a class whose instances are operators."""
    return inspect.isclass(given) and is_operator(given)


def split_arguments(
    given: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, method: str
) -> tuple[Blueprint, dict[str, Any]]:
    """Sort a stream method's arguments into the constructor's and the operator's options.

    A keyword that the constructor names is the constructor's, even when it is also an option; any
    other that is an option is the operator's.

    Returns:
        the blueprint and the options.

    Raises:
        GraphError: constructor arguments came with something that is not a class, or do not fit.
    """
    if not is_operator_class(given):
        if args:
            raise GraphError(
                f"{method}() got {len(args)} arguments for {shorten(given)}, which is not a class "
                "with execute(); only such a class takes constructor arguments"
            )
        return Blueprint(given), dict(kwargs)
    named, takes_any = _constructor_keywords(given)
    mine = {
        key: value
        for key, value in kwargs.items()
        if key in named or (takes_any and key not in OPTION_NAMES)
    }
    options = {key: value for key, value in kwargs.items() if key not in mine}
    _check_constructor(given, args, mine)
    return Blueprint(given, args, mine), options


def _constructor_keywords(given: type) -> tuple[set[str], bool]:
    parameters = inspect.signature(given).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _check_constructor(given: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    missing = getattr(given, "__abstractmethods__", ())
    if missing:
        raise GraphError(f"{given.__name__} does not define {', '.join(sorted(missing))}()")
    try:
        inspect.signature(given).bind(*args, **kwargs)
    except TypeError as error:
        raise GraphError(f"{given.__name__} cannot be constructed so: {error}") from error


def class_options(blueprint: Blueprint) -> Mapping[str, Any]:
    """Return the options an instance was constructed with (``super().__init__(**kwargs)``)."""
    if blueprint.is_instance:
        return getattr(blueprint.given, "operator_options", {})
    return {}
