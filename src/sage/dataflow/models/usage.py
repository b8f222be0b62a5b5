"""What requests used, and what that cost."""

from __future__ import annotations

from typing import NamedTuple

from sage.dataflow.context import OperatorMetrics
from sage.errors import ConfigError


class Price(NamedTuple):
    """What tokens cost, in any currency.

    Attributes:
        prompt: for a million tokens read.
        completion: for a million tokens written.
    """

    prompt: float
    completion: float = 0.0


class Usage(NamedTuple):
    """What an answer took.

    Attributes:
        model: that answered, as the server names it.
        prompt_tokens: read; 0 when the server did not count them.
        completion_tokens: written; 0 when the server did not count them.
        cached: whether it was asked before, so that it took nothing now.
    """

    model: str | None
    prompt_tokens: int
    completion_tokens: int
    cached: bool


def read_price(price: object) -> Price | None:
    """Return a price of what a user gave: a pair of numbers, or one for prompts alone.

    Raises:
        ConfigError: it is none.
    """
    if price is None:
        return None
    parts = price if isinstance(price, tuple) else (price,)
    if not 1 <= len(parts) <= 2 or not all(
        isinstance(part, int | float) and 0 <= part < float("inf") for part in parts
    ):
        raise ConfigError(
            f"price is {price!r}; give what a million tokens cost: (prompt, completion)"
        )
    return Price(*parts)


class Account:
    """Counts what requests used among an operator's metrics.

    Metrics are whole numbers, so costs are counted in millionths of the currency, ``cost_micros``,
    rounded once over all of a replica's tokens.

    Args:
        metrics: of the replica.
        price: of the tokens; None counts no costs.
    """

    def __init__(self, metrics: OperatorMetrics, price: Price | None) -> None:
        self._metrics = metrics
        self._price = price
        self._prompt_tokens = self._completion_tokens = 0
        self._cost_micros = 0

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self._metrics.add(name, amount)

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count the tokens of a request."""
        self._prompt_tokens += prompt_tokens
        self._completion_tokens += completion_tokens
        self._metrics.add("prompt_tokens", prompt_tokens)
        if completion_tokens:
            self._metrics.add("completion_tokens", completion_tokens)
        if self._price is not None:
            # A price for a million tokens is a token's price in millionths.
            cost = self._prompt_tokens * self._price.prompt
            cost += self._completion_tokens * self._price.completion
            self._metrics.add("cost_micros", round(cost) - self._cost_micros)
            self._cost_micros = round(cost)
