"""One stream divided into several."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sage.dataflow.blueprint import Blueprint, split_arguments
from sage.dataflow.graph import Kind
from sage.dataflow.lifecycle import Wrapper

if TYPE_CHECKING:
    from sage.dataflow.stream import Stream


class SplitStream:
    """What ``split`` gives: ``split["name"]`` is the stream of the records given that name."""

    def __init__(self, stream: Stream, function: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        blueprint, options = split_arguments(function, args, kwargs, method="split")
        self._outputs: dict[str, Stream] = {}
        wrap = partial(Selector, outputs=self._outputs)
        options.setdefault("name", stream.environment.free_name("split"))
        # It knows which streams are read by looking at the pipeline in this process.
        options["workers"] = "thread"
        self._selected = stream.add(Kind.MAP, replace(blueprint, wrap=wrap), options)

    def __getitem__(self, name: str) -> Stream:
        """Return the stream of the records that the function gave this name."""
        if name not in self._outputs:
            options = {
                "name": self._selected.environment.free_name(f"split[{name}]"),
                "workers": "thread",
            }
            self._outputs[name] = self._selected.add(
                Kind.FLATMAP, Blueprint(Selected(name)), options
            )
        return self._outputs[name]


class Selector(Wrapper):
    """Names the stream of each record.

    Args:
        target: the user's function.
        outputs: the names that are read.
    """

    def __init__(self, target: Any, *, outputs: dict[str, Stream]) -> None:
        super().__init__(target)
        self._outputs = outputs

    def execute(self, record: Any) -> tuple[str, Any]:
        """Return the name and the record.

        Raises:
            ValueError: nothing reads a stream of that name, so the record would be lost.
        """
        name = self.call(record)
        if name not in self._outputs:
            read = ", ".join(map(repr, self._outputs)) or "none"
            raise ValueError(
                f"split() named the stream {name!r}, which nothing reads; read: {read}"
            )
        return name, record


class Selected:
    """Passes on the records of one name.

    Args:
        name: of the stream.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def execute(self, named: tuple[str, Any]) -> tuple[Any] | None:
        """Return the record if it is of this stream."""
        name, record = named
        return (record,) if name == self._name else None
