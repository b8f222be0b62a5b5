"""Other projects' policies by their own definitions, as baselines."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mypy_extensions import mypyc_attr

from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.policy import Completion, View
from sage.inference.scheduling.request import Request
from sage.inference.scheduling.rng import SplitMix64


@mypyc_attr(allow_interpreted_subclasses=True)
class RoundRobin:
    """Each in turn: the one whose last turn lies furthest back."""

    def choose(
        self,
        request: Request,  # noqa: ARG002 - Placement's signature
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return the one whose turn it is."""
        return min(instances, key=lambda state: state.last_dispatch)


@mypyc_attr(allow_interpreted_subclasses=True)
class Random:
    """Any, with equal chances."""

    def __init__(self) -> None:
        self._rng = SplitMix64(0)

    def bind(self, view: View) -> None:
        """Take the scheduler's seed."""
        self._rng = SplitMix64(view.seed)

    def choose(
        self,
        request: Request,  # noqa: ARG002 - Placement's signature
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return one by chance."""
        return instances[self._rng.below(len(instances))]


@mypyc_attr(allow_interpreted_subclasses=True)
class PowerOfTwo(Random):
    """Of two taken by chance, the one with fewer requests (Mitzenmacher, 2001)."""

    def choose(
        self,
        request: Request,  # noqa: ARG002 - Placement's signature
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return the less busy of two."""
        if len(instances) == 1:
            return instances[0]
        first = self._rng.below(len(instances))
        second = self._rng.below(len(instances) - 1)
        pair = instances[first], instances[second + (second >= first)]
        return min(pair, key=lambda state: len(state.running))


@mypyc_attr(allow_interpreted_subclasses=True)
class LeastBusyFirst:
    """LiteLLM's least-busy: the fewest requests in flight, the first listed among equals."""

    def choose(
        self,
        request: Request,  # noqa: ARG002 - Placement's signature
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return the least busy."""
        return min(instances, key=lambda state: len(state.running))


@mypyc_attr(allow_interpreted_subclasses=True)
class CacheAware:
    """SGLang's cache-aware routing (sglang-router 0.3, with its defaults).

    While loads are out of balance, by more than ``absolute`` requests and by more than a factor
    ``relative``, the least loaded. Else the instance that has the longest share of the prompt
    cached, if that is above ``threshold``, or the one with the fewest cached blocks.

    Args:
        threshold: share of the prompt's blocks.
        absolute: requests between the most and the least loaded.
        relative: most loaded over least loaded.
    """

    def __init__(
        self, *, threshold: float = 0.3, absolute: int = 64, relative: float = 1.5
    ) -> None:
        self._threshold = threshold
        self._absolute = absolute
        self._relative = relative

    def choose(
        self,
        request: Request,
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return by balance, else by cache."""
        loads = [len(state.running) for state in instances]
        most, least = max(loads), min(loads)
        if most - least > self._absolute and most > self._relative * least:
            return min(instances, key=lambda state: len(state.running))
        if request.prefix:
            hits = [state.prefixes.matched(request.prefix) for state in instances]
            best = max(hits)
            if best / len(request.prefix) > self._threshold:
                return instances[hits.index(best)]
        return min(instances, key=lambda state: len(state.prefixes))


@mypyc_attr(allow_interpreted_subclasses=True)
class LowestLatency(Random):
    """LiteLLM's latency-based routing: the lowest mean of the last ten latencies.

    For a stream that is the time to the first token, where an instance has served streams; else
    the seconds a generated token took, of all it has served. An instance without any is taken
    first; equals are taken by chance. (litellm 1.x, router_strategy/lowest_latency.py, with its
    defaults: ten latencies, no buffer.)
    """

    def __init__(self) -> None:
        super().__init__()
        self._per_token: dict[str, deque[float]] = {}
        self._ttft: dict[str, deque[float]] = {}

    def completed(self, state: InstanceState, completion: Completion) -> None:
        """Take in a request served."""
        _note(self._per_token, state, completion.seconds / max(1, completion.tokens))
        if completion.ttft is not None:
            _note(self._ttft, state, completion.ttft)

    def choose(
        self,
        request: Request,
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return the quickest so far."""
        means = [self._mean(state.spec.id, request.streamed) for state in instances]
        lowest = min(means)
        best = [s for s, mean in zip(instances, means, strict=True) if mean == lowest]
        return best[self._rng.below(len(best))]

    def _mean(self, instance_id: str, streamed: bool) -> float:
        latencies = self._ttft.get(instance_id) if streamed else None
        latencies = latencies or self._per_token.get(instance_id)
        return sum(latencies) / len(latencies) if latencies else 0.0


def _note(latencies: dict[str, deque[float]], state: InstanceState, seconds: float) -> None:
    latencies.setdefault(state.spec.id, deque(maxlen=10)).append(seconds)
