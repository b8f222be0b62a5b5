"""Which texts to run together: pure arithmetic on token counts.

A call costs about as much as its padded tokens, plus a fixed part (streaming the weights) that can
itself be counted in tokens. A text joins a batch while that lowers the batch's cost for each token
that is not padding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may be.

    The defaults were measured with MiniLM on CPU cores, one thread a call: a call costs
    2 ms + 0.12 ms a padded token, and above 512 tokens the caches make each token dearer.

    Attributes:
        max_tokens: padded tokens (texts x longest) a batch may have; a longer text runs alone.
        max_texts: texts a batch may have.
        call_overhead_tokens: the fixed cost of a call, in tokens.
    """

    max_tokens: int = 512
    max_texts: int = 64
    call_overhead_tokens: int = 16

    def __post_init__(self) -> None:
        for field in ("max_tokens", "max_texts"):
            if getattr(self, field) < 1:
                raise ConfigError(
                    f"BatchLimits.{field} is {getattr(self, field)}; it must be at least 1"
                )
        if self.call_overhead_tokens < 0:
            raise ConfigError(
                f"BatchLimits.call_overhead_tokens is {self.call_overhead_tokens}; "
                "it must not be negative"
            )

    def share(self, total_tokens: int, workers: int) -> int:
        """Return the padded tokens a batch may have so that every idle worker gets some."""
        if workers <= 1:
            return self.max_tokens
        # An eighth more than the even share, for the padding.
        return max(1, min(self.max_tokens, -(-total_tokens * 9 // (workers * 8))))


def plan_batches(
    lengths: Sequence[int], limits: BatchLimits, *, workers: int = 1
) -> list[list[int]]:
    """Return batches of indices into ``lengths``, longest texts first.

    Args:
        lengths: tokens of each text.
        limits: how large a batch may be.
        workers: how many batches run at once; little work is spread over all of them.
    """
    budget = limits.share(sum(lengths), workers)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ascending = [lengths[index] for index in order]
    batches: list[list[int]] = []
    stop = len(order)
    while stop > 0:
        start = _extend_down(ascending, stop - 1, stop, limits, budget)
        batches.append(order[start:stop])
        stop = start
    return batches


def window_around(
    lengths: Sequence[int], seed: int, limits: BatchLimits, *, budget: int | None = None
) -> range:
    """Return the run of positions around ``seed`` that costs least for each of its tokens.

    Args:
        lengths: tokens of each waiting text, ascending.
        seed: the position that must be in the batch.
        limits: how large a batch may be.
        budget: padded tokens allowed this time; default ``limits.max_tokens``.
    """
    budget = limits.max_tokens if budget is None else budget
    best = range(seed, seed + 1)
    best_price = float("inf")
    stop = seed
    while stop < len(lengths) and (stop == seed or _fits(lengths, seed, stop + 1, limits, budget)):
        longest = lengths[stop]
        # Texts of one length pad nothing among themselves, so they come in together.
        stop = bisect_right(lengths, longest, lo=stop)
        end = min(stop, seed + _room(longest, limits, budget))
        start = _extend_down(lengths, seed, end, limits, budget)
        price = _cost(lengths, start, end, limits) / max(1, sum(lengths[start:end]))
        if price < best_price:
            best, best_price = range(start, end), price
    return best


def _extend_down(
    lengths: Sequence[int], start: int, stop: int, limits: BatchLimits, budget: int
) -> int:
    """Return how far down ``start`` can go while each shorter text lowers the cost a token."""
    longest = lengths[stop - 1]
    room = _room(longest, limits, budget)
    tokens = sum(lengths[start:stop])
    cost = _cost(lengths, start, stop, limits)
    while start > 0 and stop - start < room and cost * lengths[start - 1] >= longest * tokens:
        start -= 1
        tokens += lengths[start]
        cost += longest
    return start


def _room(longest: int, limits: BatchLimits, budget: int) -> int:
    """Return how many texts padded to ``longest`` make a batch."""
    return max(1, min(limits.max_texts, budget // max(1, longest)))


def _fits(lengths: Sequence[int], start: int, stop: int, limits: BatchLimits, budget: int) -> bool:
    return stop - start <= _room(lengths[stop - 1], limits, budget)


def _cost(lengths: Sequence[int], start: int, stop: int, limits: BatchLimits) -> int:
    return limits.call_overhead_tokens + (stop - start) * lengths[stop - 1]
