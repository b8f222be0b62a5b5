"""Which texts to run together: pure arithmetic on token counts.

A call costs about as much as its padded tokens, plus a fixed part that can itself be counted in
tokens. So a short text joins a batch of longer ones only while the padding it brings costs less
than a call of its own.
"""

from __future__ import annotations

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
        return max(1, min(self.max_tokens, -(-total_tokens // max(1, workers))))


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
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        batch = batches[-1] if batches else []
        joins = (
            batch
            and len(batch) < limits.max_texts
            and (len(batch) + 1) * longest <= budget
            and longest - lengths[index] <= limits.call_overhead_tokens
        )
        if joins:
            batch.append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches


def window_around(
    lengths: Sequence[int], seed: int, limits: BatchLimits, *, budget: int | None = None
) -> range:
    """Return the run of positions around ``seed`` to batch together.

    Args:
        lengths: tokens of each waiting text, ascending.
        seed: the position that must be in the batch.
        limits: how large a batch may be.
        budget: padded tokens allowed this time; default ``limits.max_tokens``.
    """
    budget = limits.max_tokens if budget is None else budget
    start, stop = seed, seed + 1
    while stop - start < limits.max_texts:
        grown = stop - start + 1
        longest = lengths[stop - 1]
        # The padding that one more text brings: its own, or everyone else's when it is longer.
        below = longest - lengths[start - 1] if start > 0 else None
        above = (grown - 1) * (lengths[stop] - longest) if stop < len(lengths) else None
        if below is not None and grown * longest > budget:
            below = None
        if above is not None and grown * lengths[stop] > budget:
            above = None
        best = min((cost for cost in (below, above) if cost is not None), default=None)
        if best is None or best > limits.call_overhead_tokens:
            break
        if best == below:
            start -= 1
        else:
            stop += 1
    return range(start, stop)
