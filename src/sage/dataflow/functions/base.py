"""What every operator class has: options, a logger, ``open`` and ``close``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sage.dataflow.context import RuntimeContext
from sage.dataflow.options import check_option_names
from sage.errors import DataflowError


class Function:
    """Base of the operator classes.

    Args:
        options: options of the operator, such as ``name`` and ``parallelism``; what the stream's
            method is given wins over them.

    Raises:
        UnknownKeyError: an option does not exist.
    """

    # Class-level, so that a subclass whose __init__ never calls super().__init__() works too.
    operator_options: Mapping[str, Any] = MappingProxyType({})
    context: RuntimeContext | None = None

    def __init__(self, **options: Any) -> None:
        check_option_names(options, where=type(self).__name__)
        self.operator_options = dict(options)

    @property
    def logger(self) -> logging.Logger:
        """The operator's logger, ``sage.dataflow.<name>``."""
        if self.context is not None:
            return self.context.logger
        return logging.getLogger(f"sage.dataflow.{type(self).__name__}")

    def call_service(self, name: str) -> Any:
        """Return a service of the environment; from ``open`` on.

        ``self.call_service("model").predict(data)``; see `LocalEnvironment.register_service`.

        Raises:
            UnknownKeyError: none of that name was registered.
            DataflowError: it could not be made, or the operator is not open yet.
        """
        if self.context is None:
            raise DataflowError(
                f"{type(self).__name__} asked for service {name!r} before it was open; ask in "
                "open() or later"
            )
        return self.context.service(name)

    def open(self, context: RuntimeContext) -> None:
        """Acquire what the operator needs; called once in each replica, before any record.

        A subclass may also define it without the ``context`` argument.
        """

    def close(self) -> None:
        """Release what ``open`` acquired; called once in each replica, also after an error."""
