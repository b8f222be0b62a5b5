"""What of each prompt must be computed, however well the caches are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.workload import PlannedRequest

_NEVER = float("inf")


class Prompt(NamedTuple):
    """What a prompt costs.

    Attributes:
        tail: tokens after its last whole block, which are always computed.
        new: tokens charged to it, the tail among them.
        pairs: that attention computes for these.
        own: tokens in blocks that no other prompt has.
        shared: tokens it may find in a cache, if all that others brought in time is there.
    """

    tail: int
    new: int
    pairs: float
    own: int
    shared: int


class Prompts:
    """What of each prompt nobody else computes.

    A block of a prompt that several have is charged to the one that arrives first, at the
    earliest place that it has in any of them: whoever computes it does so after that arrival.
    """

    def __init__(
        self, requests: Sequence[PlannedRequest], profile: LlmProfile, simulation: SimulationConfig
    ) -> None:
        self._size = simulation.hash_tokens
        self._caching = profile.prefix_caching
        self._uses: Counter[int] = Counter()
        self._first: dict[int, int] = {}
        # When another than the first brings it.
        self._again: dict[int, float] = {}
        self._charged: set[int] = set()
        self._place: dict[int, int] = {}
        for request in sorted(requests, key=lambda r: r.at):
            for place, block in enumerate(self._whole(request)):
                self._uses[block] += 1
                if self._first.setdefault(block, request.index) != request.index:
                    self._again.setdefault(block, request.at)
                self._place[block] = min(place, self._place.get(block, place))

    def _whole(self, request: PlannedRequest) -> tuple[int, ...]:
        """Return the blocks that can be taken from a cache."""
        if not self._caching:
            return ()
        return request.blocks[: (request.prompt_tokens - 1) // self._size]

    def of(self, request: PlannedRequest, due: float) -> Prompt:
        """Return what a request's prompt costs; ask once for each.

        Args:
            request: which.
            due: when its first token is, in seconds of the run.
        """
        size, blocks = self._size, self._whole(request)
        tail = new = request.prompt_tokens - size * len(blocks)
        pairs = new * (size * len(blocks) + 0.5 * new)
        own_tokens = new
        shared = 0
        leading = True
        for block in blocks:
            own_tokens += size * (self._uses[block] == 1)
            first = self._first[block] == request.index
            # What only comes later cannot have computed it by then.
            leading = leading and (not first or self._again.get(block, _NEVER) < due)
            shared += size * leading
            if first and block not in self._charged:
                self._charged.add(block)
                new += size
                pairs += size * (size * self._place[block] + 0.5 * size)
        return Prompt(tail, new, pairs, own_tokens, shared)
