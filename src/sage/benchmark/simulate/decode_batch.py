"""The requests of an engine that decode: who ends when, and what their tokens need."""

from __future__ import annotations

import heapq

from sage.benchmark.simulate.engine_request import EngineRequest


class DecodeBatch:
    """Each step gives every one of them a token; steps are counted from 0.

    Nothing is done by step: a request is booked when it joins and when it stops.

    Args:
        block_size: tokens of a block of KV cache.

    Attributes:
        size: how many there are.
        context: tokens they attend to in the next step, all together.
    """

    __slots__ = ("_block_size", "_ends", "_growth", "_order", "context", "size")

    def __init__(self, block_size: int) -> None:
        self.size = 0
        self.context = 0
        self._block_size = block_size
        # How many of them need one more block in the steps of each remainder.
        self._growth = [0] * block_size
        # Requests by the step of their last token; one that has stopped is left in.
        self._ends: list[tuple[int, int, EngineRequest]] = []
        self._order = 0

    def join(self, request: EngineRequest, step: int) -> None:
        """Take one whose prompt is computed with this step, which gives it a token."""
        request.since = step
        request.phase = (step + 1 - request.context) % self._block_size
        self._growth[request.phase] += 1
        self.size += 1
        self.context += request.context + 1
        self._order += 1
        heapq.heappush(self._ends, (_last_step(request), self._order, request))

    def stop(self, request: EngineRequest, step: int) -> int:
        """Let one get no token in any step from `step` on; return the blocks its tokens fill."""
        tokens = step - request.since
        request.runs.append((request.since, step))
        request.since = -1
        request.generated += tokens
        self._growth[request.phase] -= 1
        self.size -= 1
        self.context -= request.context + tokens
        return -(-(request.context + tokens - 1) // self._block_size)

    def next_end(self) -> int:
        """Return the step of the next last token; there is one that decodes."""
        ends = self._ends
        while ends[0][2].since < 0 or _last_step(ends[0][2]) != ends[0][0]:
            heapq.heappop(ends)
        return ends[0][0]

    def next_ended(self, last: int) -> EngineRequest | None:
        """Return one whose last token is of step `last`, which is over; None if there is no more.

        It is handed out once, and is to be stopped.
        """
        ends = self._ends
        while ends and ends[0][0] <= last:
            request = heapq.heappop(ends)[2]
            if request.since >= 0 and _last_step(request) == last:
                return request
        return None

    def new_blocks(self, first: int, count: int) -> int:
        """Return the blocks that decoding takes in `count` steps from `first` on."""
        growth, size = self._growth, self._block_size
        if count == 1:
            return growth[first % size]
        whole, rest = divmod(count, size)
        return whole * self.size + sum(growth[(first + i) % size] for i in range(rest))


def _last_step(request: EngineRequest) -> int:
    """Return the step of its last token, while it decodes."""
    return request.since + request.output - request.generated - 1
