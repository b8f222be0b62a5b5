"""What an LLM engine is asked for, to learn how long its steps take."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from sage.benchmark.calibrate.played import Played, Player, Shot
from sage.benchmark.simulate.profile import Capacity
from sage.errors import ConfigError, UpstreamError

_SHORT = 16
_STREAM = 28
# Beside longer streams, as the moment for a late prompt is reckoned from an earlier play.
_LONG_STREAM = 64
_LEAD = 5
_TRIES = 5
_TEMPLATE = 128  # more than any chat template is long


@dataclass(frozen=True, slots=True)
class Take:
    """A probe that was played.

    Attributes:
        kind: ``prefill``, ``decode``, ``inject`` or ``prefix``.
        label: what it was; repeats share it.
        played: its requests; of ``inject`` the last one is the prompt that came late.
    """

    kind: str
    label: str
    played: Sequence[Played]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """How much is asked.

    Attributes:
        longest: tokens of the longest prompt.
        batches: sizes of decoding batches.
        repeats: how often each probe is played.
        slots: requests that the engine computes at once.

    Raises:
        ConfigError: a number out of range.
    """

    longest: int = 512
    batches: tuple[int, ...] = (1, 2, 3, 4, 8, 16, 32)
    repeats: int = 3
    slots: int = 1 << 30

    def __post_init__(self) -> None:
        if self.longest < 64:
            raise ConfigError(f"longest is {self.longest}; it must be at least 64 tokens")
        if self.repeats < 1:
            raise ConfigError(f"repeats is {self.repeats}; it must be at least 1")
        if not self.batches or min(self.batches) < 1:
            raise ConfigError(f"batches is {self.batches}; name sizes from 1 on")

    def within(self, capacity: Capacity) -> ProbePlan:
        """Return what of it fits an engine.

        Raises:
            ConfigError: nothing does.
        """
        step = capacity.max_num_batched_tokens - capacity.max_num_seqs
        longest = min(self.longest, capacity.max_model_len - _TEMPLATE - _LONG_STREAM, step)
        if longest < 64:
            raise ConfigError(f"the engine takes prompts of {longest} tokens; 64 are needed")
        most = min(
            capacity.max_num_seqs,
            capacity.num_gpu_blocks * capacity.block_size // (_SHORT + _TEMPLATE + _LONG_STREAM),
        )
        batches = tuple(sorted({min(batch, most) for batch in self.batches}))
        return replace(self, longest=longest, batches=batches, slots=most)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of single prompts, in tokens."""
        found, length = [self.longest], self.longest // 2
        while length >= _SHORT:
            found.append(length)
            length //= 2
        return tuple(reversed(found))


class Probing:
    """Plays the probes one after the other.

    Args:
        player: of the engine.
        plan: what to ask, `ProbePlan.within` its limits.
        budget: most tokens of a step.
        on_take: called with each, for a progress display.
    """

    def __init__(
        self,
        player: Player,
        plan: ProbePlan,
        *,
        budget: int,
        on_take: Callable[[Take], None] | None = None,
    ) -> None:
        self._player = player
        self._plan = plan
        self._budget = budget
        self._on_take = on_take

    @property
    def total(self) -> int:
        """How many probes there are."""
        plan = self._plan
        shapes = sum(len(self._contexts(batch)) for batch in plan.batches)
        injected = len(self._late_beside()) * len(self._late_lengths())
        return plan.repeats * (len(plan.lengths) + shapes + injected) + 2

    def run(self) -> list[Take]:
        """Play all of them.

        Raises:
            SageError: one has no good answer.
        """
        self._player.play([Shot(0.0, _SHORT, 4)] * 2)  # what is loaded by a first request is
        takes: list[Take] = []
        for take in self._all(takes):
            takes.append(take)
            if self._on_take is not None:
                self._on_take(take)
        return takes

    def _all(self, before: Sequence[Take]) -> Iterator[Take]:
        # Repeats are far apart, so that a slow minute of the machine falls on all probes alike.
        for _ in range(self._plan.repeats):
            for length in self._plan.lengths:
                yield self._take("prefill", f"{length}", [Shot(0.0, length, 2)])
            for batch in self._plan.batches:
                for context in self._contexts(batch):
                    shots = [Shot(0.0, context, _STREAM)] * batch
                    yield self._take("decode", f"{batch} x {context}", shots)
            for batch in self._late_beside():
                for length in self._late_lengths():
                    like = min(known for known in self._plan.batches if known >= batch)
                    alone = [take for take in before if take.label == f"{like} x {_SHORT}"]
                    yield self._inject(length, batch, alone[-1].played)
        for _ in range(2):
            yield self._take("prefix", "again", [Shot(0.0, self._plan.longest, 2, text=1)])

    def _take(self, kind: str, label: str, shots: Sequence[Shot]) -> Take:
        return Take(kind, label, self._player.play(shots))

    def _inject(self, length: int, batch: int, alone: Sequence[Played]) -> Take:
        """Let a prompt come while a batch streams, as an earlier play of the batch says when."""
        shots = [Shot(0.0, _SHORT, _LONG_STREAM)] * batch
        for _ in range(_TRIES):
            late = Shot(_when_streaming(alone), length, 2)
            take = self._take("inject", f"{length} into {batch}", [*shots, late])
            if _beside(take.played):
                return take
            alone = take.played[:-1]
        raise UpstreamError(
            f"{_TRIES} times a prompt sent beside {batch} streams did not meet them: the engine's "
            "speed changes too much from one second to the next to be measured"
        )

    def _contexts(self, batch: int) -> tuple[int, ...]:
        """Prompt lengths of a batch, all of which fits one step."""
        long = min(self._budget // batch - 64, self._plan.longest)
        return (_SHORT, long) if long >= 4 * _SHORT else (_SHORT,)

    def _late_beside(self) -> tuple[int, ...]:
        """Sizes of batches beside which there is room for one more, far apart from each other."""
        batches, room = self._plan.batches, min(self._plan.slots - 1, self._plan.batches[-1])
        if room < batches[0]:
            return ()
        return tuple(sorted({batches[0], min(room, 2 * batches[len(batches) // 2])}))

    def _late_lengths(self) -> tuple[int, ...]:
        return tuple(sorted({64, self._plan.longest}))


def _when_streaming(played: Sequence[Played]) -> float:
    """Return the moment at which all streams of a batch have had some tokens."""
    begun = max(one.tokens[0] for one in played)
    gaps = [b - a for one in played for a, b in pairwise(one.tokens)]
    return begun + (_LEAD + 0.5) * statistics.median(gaps)


def _beside(played: Sequence[Played]) -> bool:
    """Return whether the last request was sent and answered while all others streamed."""
    late = played[-1]
    return all(one.tokens[0] < late.sent and late.tokens[0] < one.tokens[-1] for one in played[:-1])
