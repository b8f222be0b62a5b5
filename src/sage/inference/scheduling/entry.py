"""A request between its acceptance and its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.request import Request


@dataclass(slots=True, eq=False)
class Entry:
    """A request between its acceptance and its end.

    Attributes:
        request: what was accepted.
        order: number of its acceptance, which breaks ties of rank.
        group: the queue it belongs to.
        prompt: its prompt's tokens, as corrected.
        output: tokens it is expected to generate; 0 for embeddings.
        held: tokens it takes at its instance.
        instance: where it runs; None while it waits.
        waiting: whether it is in its group's queue.
        size: seconds of one engine that it is likely to take, prefill and decode together.
        lost: whether it was given up so that others are in time.
        tried: ids of the instances that could not be reached with it.
        dispatched: when it was last dispatched.
        first_token: when its first token came, in seconds of the caller's clock.
        tokens: how many tokens have been reported for it.
        prefill: its share of its instance's waiting prefill; 0 once prefilled.
        backlog: tokens that its instance had to prefill up to its first token, at dispatch.
        batch: how many requests its instance ran at dispatch, itself included.
        tpot: what its stream's tokens are to take, in seconds; None where that does not matter.
        work: seconds that its prefill is predicted to take its instance.
        new: prompt tokens that its instance likely has to prefill for it.
        before: tokens and pairs that its instance had prefilled by its first token.
        area: tokens that its instance had held by then, times seconds.
    """

    request: Request
    order: int
    group: Any  # a Group, whose queue holds entries: mypyc has no classes that name each other
    prompt: int = 0
    output: int = 0
    held: int = 0
    instance: InstanceState | None = None
    waiting: bool = False
    size: float = 0.0
    lost: bool = False
    tried: tuple[str, ...] = ()
    dispatched: float = 0.0
    first_token: float | None = None
    tokens: int = 0
    prefill: int = 0
    backlog: int = 0
    batch: int = 1
    tpot: float | None = None
    work: float = 0.0
    new: int = 0
    before: tuple[float, float] = (0.0, 0.0)
    area: float = 0.0

    def tokens_at(self, state: InstanceState) -> int:
        """Return the tokens that it takes of an instance's token limit."""
        spec = state.spec
        if spec.max_tokens is None:
            return self.prompt + self.output
        tokens = self.prompt + (self.request.expected_tokens or self.output)
        longest = spec.max_request_tokens
        return tokens if longest is None or tokens <= longest else longest
