"""Records, dicts of columns, gathered and turned into Arrow's batches."""

from __future__ import annotations

import importlib
from typing import Any

from sage.errors import DataflowError, shorten

ROWS = 1024
_HINT = "give schema=, or map the records so that a column is of one type"


class RowBatches:
    """Gathers records until there are enough for a batch.

    Args:
        schema: what the columns are; None infers it from the first batch.

    Attributes:
        schema: the same, or what was inferred.
    """

    def __init__(self, schema: Any = None) -> None:
        self._arrow = importlib.import_module("pyarrow")
        self.schema = schema
        self._names = None if schema is None else frozenset(schema.names)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: Any) -> bool:
        """Take a record; say whether there are enough for a batch.

        Raises:
            DataflowError: it is no dict, or has a column that the schema has not.
        """
        if not isinstance(row, dict):
            raise DataflowError(
                f"a record for Parquet is a dict of columns, not a {type(row).__name__}; map it "
                "first"
            )
        if self._names is not None and not self._names.issuperset(row):
            extra = [name for name in row if name not in self._names]
            raise DataflowError(
                f"the record has columns {extra} that the records before it had not; give schema= "
                "with all columns"
            )
        self._rows.append(row)
        return len(self._rows) >= ROWS

    def take(self) -> Any:
        """Return the gathered records as a batch; None when there are none.

        Raises:
            DataflowError: a value is not of its column's type.
        """
        if not self._rows:
            return None
        rows, self._rows = self._rows, []
        if self.schema is None:
            names = dict.fromkeys(name for row in rows for name in row)
            types: dict[str, Any] = dict.fromkeys(names)
        else:
            types = {field.name: field.type for field in self.schema}
        columns = [self._column(rows, name, type_) for name, type_ in types.items()]
        if self.schema is None:
            self.schema = self._arrow.schema(
                [(name, column.type) for name, column in zip(types, columns, strict=True)]
            )
            self._names = frozenset(types)
        return self._arrow.record_batch(columns, schema=self.schema)

    def _column(self, rows: list[dict[str, Any]], name: str, type_: Any) -> Any:
        if not isinstance(name, str):
            raise DataflowError(f"a column's name is a text, not {shorten(name)}")
        try:
            return self._arrow.array([row.get(name) for row in rows], type_)
        except (self._arrow.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise DataflowError(f"column {name!r}: {error}; {_HINT}") from error
