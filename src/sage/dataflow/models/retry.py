"""Which failures of a request are worth another one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from sage.dataflow.retry import RetryPolicy
from sage.errors import BadRequestError, InferenceError, NoBackendError

_FINAL = (BadRequestError, NoBackendError)


@dataclass(frozen=True)
class ModelRetry(RetryPolicy):
    """Tries again when the server refuses for now, fails or cannot be reached.

    Not when the request itself is wrong, nor after an error of the prompt's function: the next
    attempt would fail alike. Waits as long as the server's Retry-After says.

    Attributes:
        deadline: seconds after which no other attempt begins, so that a server that says "in an
            hour" ends the waiting.
    """

    attempts: int = 5
    first_delay: float = 0.5
    deadline: float | None = 600.0
    retry_on: tuple[type[Exception], ...] = (InferenceError, OSError)

    def delay(
        self,
        failures: int,
        error: Exception,
        elapsed: float,
        uniform: Callable[[], float] = random.random,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None when there is to be none."""
        if isinstance(error, _FINAL):
            return None
        return super().delay(failures, error, elapsed, uniform)
