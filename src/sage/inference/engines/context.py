"""How much context an engine is given: the longest request, and the pool that all share."""

from __future__ import annotations

from dataclasses import dataclass

from sage.inference.engines.shape import ModelShape

# What a slot holds at the least when memory allows: enough for a prompt with retrieved passages.
_TOKENS_A_SLOT = 2048
# Of the memory that the weights leave free. The rest is for the other engines and the user.
_SHARE = 0.25
_UNKNOWN_CONTEXT = 4096
# Of the pool, which requests may count on: lengths are estimates, and what overflows the pool fails
# together with everything that runs there.
_POOL_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """Sizes in tokens.

    Attributes:
        request: longest prompt and answer together.
        pool: what all requests in flight share; one whole request fits.
        reason: why it is less than the model could do or the user wanted; empty when it is not.
    """

    request: int
    pool: int
    reason: str = ""


def plan_context(
    shape: ModelShape | None, slots: int, asked: int | None, free_bytes: int
) -> ContextPlan:
    """Choose the context of an engine.

    A request may use all the context that the model was trained on; the pool lets each slot hold
    2,048 tokens, or one whole request if that is more, as far as a quarter of the memory goes.

    Args:
        shape: the model's; None when its file does not tell.
        slots: requests in flight at once.
        asked: longest request that the user wants to allow; kept whatever memory it takes, since
            llama.cpp says what it cannot allocate.
        free_bytes: memory that is free once the weights are loaded.
    """
    trained = shape.context if shape else asked or _UNKNOWN_CONTEXT
    request = min(trained, asked or trained)
    reason = f"the model was trained on {trained} tokens" if request < (asked or 0) else ""
    pool = min(slots * request, max(slots * _TOKENS_A_SLOT, request))
    if shape is not None and shape.token_bytes:
        affordable = int(free_bytes * _SHARE) // shape.token_bytes
        bounded = max(affordable, min(_TOKENS_A_SLOT, trained))
        if asked is None and bounded < request:
            request = bounded
            reason = (
                f"{trained} tokens would take {trained * shape.token_bytes >> 20} MiB, more than "
                f"a quarter of the {free_bytes >> 20} MiB that are free; --max-model-len allows it"
            )
        pool = max(min(pool, affordable), request)
    return ContextPlan(request, pool, reason)


def countable_tokens(pool: int) -> int:
    """Return how many of a pool's tokens the scheduler hands out at once."""
    return max(1, int(pool * _POOL_SHARE))
