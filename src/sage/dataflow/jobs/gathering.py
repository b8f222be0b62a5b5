"""Records that a remote job gathers for a list of the client's."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, SupportsIndex

from sage.dataflow.blueprint import Blueprint
from sage.dataflow.graph import Graph
from sage.dataflow.jobs.pickling import dump
from sage.dataflow.sinks.gathered import ListSink, list_of
from sage.errors import DataflowError

MOST_RECORDS = 100_000


class GatheredList(list[Any]):
    """Stands for a list of the client's in the driver; it travels empty.

    A driver that takes over has the records of the one before, when they are kept in a file.

    Args:
        limit: how many records there may be.
    """

    def __init__(self, limit: int = MOST_RECORDS) -> None:
        super().__init__()
        self._limit = limit
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        # Where in the file each record ends.
        self._ends: list[int] = []

    def __reduce__(self) -> tuple[type[GatheredList], tuple[int]]:
        return type(self), (self._limit,)

    def keep(self, path: Path, *, anew: bool) -> None:
        """Keep the records in a file, too, each at once.

        Args:
            path: of the file. Records in it are taken over, a last one that is not whole left out.
            anew: begin without those instead.

        Raises:
            OSError: the file cannot be used.
        """
        self._file = path.open("w+b" if anew or not path.exists() else "r+b", buffering=0)
        with path.open("rb") as file:
            while True:
                try:
                    record = pickle.load(file)  # noqa: S301 - of this job's own driver
                except (EOFError, pickle.UnpicklingError):
                    break
                super().append(record)
                self._ends.append(file.tell())
        self._cut()

    def append(self, record: Any) -> None:
        """Append a record.

        Raises:
            DataflowError: there are too many to come back with the result.
        """
        with self._lock:
            if len(self) >= self._limit:
                raise DataflowError(
                    f"a remote job gathers at most {self._limit:,} records for a list of its "
                    "client; write them to a file or a service instead"
                )
            if self._file is not None:
                packed = dump(record)
                self._file.write(packed)
                self._ends.append((self._ends[-1] if self._ends else 0) + len(packed))
            super().append(record)

    def extend(self, records: Iterable[Any]) -> None:
        """Append several records.

        Raises:
            DataflowError: as `append`.
        """
        for record in records:
            self.append(record)

    def __delitem__(self, key: SupportsIndex | slice) -> None:
        """Take records back."""
        with self._lock:
            super().__delitem__(key)
            if self._file is not None:
                del self._ends[key]
                self._cut()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _cut(self) -> None:
        """Have the file end with the last record."""
        assert self._file is not None
        end = self._ends[-1] if self._ends else 0
        self._file.truncate(end)
        self._file.seek(end)


def with_gathering(graph: Graph) -> Graph:
    """Return a graph that gathers, for the client, what would be appended to a list of its own."""
    return graph.replaced(
        node
        if list_of(node) is None
        else replace(node, blueprint=Blueprint(ListSink, (GatheredList(),)))
        for node in graph.nodes
    )


def lists_of(graph: Graph) -> dict[str, list[Any]]:
    """Return the lists that sinks of a graph append to, by the operator's name."""
    found = {node.name: list_of(node) for node in graph.nodes}
    return {name: records for name, records in found.items() if records is not None}


def gathered_lists(graph: Graph) -> Mapping[str, GatheredList]:
    """Return what stands for lists of the client's in a graph, by the operator's name."""
    return {
        name: records
        for name, records in lists_of(graph).items()
        if isinstance(records, GatheredList)
    }
