"""Which waiting embedding requests share a call to their instance, and which are cut into several.

A state machine as pure as the scheduler, for requests that differ in nothing but their inputs. A
request that finds a call free goes at once and alone; only what waits already, because every call
is on the wire, is joined. So joining adds no wait of its own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from sage.errors import ConfigError, InferenceError

INTERACTIVE_INPUTS = 8
"""Most inputs of a request that counts as interactive."""


class Lane(StrEnum):
    """Which of two queues a request waits in."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What an instance is given in one call, and how many calls at once.

    Attributes:
        max_inputs: inputs of a call.
        max_tokens: estimated tokens of a call; an input above that goes alone.
        max_calls: calls on the wire at once; bulk has a quarter of them at most, and one in
            any case.

    Raises:
        ConfigError: a limit below one.
    """

    max_inputs: int = 2048
    max_tokens: int = 8192
    max_calls: int = 16

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise ConfigError(
                    f"CallLimits.{item.name} is {getattr(self, item.name)}; it must be at least 1"
                )

    @property
    def bulk_calls(self) -> int:
        """Calls that bulk may have on the wire at once."""
        return max(1, self.max_calls // 4)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Inputs of one request that go in the same call: all of them, or a part.

    Attributes:
        request_id: whose they are.
        positions: their places in the request.
        lengths: estimated tokens of each.
        tokens: estimated tokens of all.
        whole: whether these are all of the request's inputs.
        lane: where it waits.
        arrived: when the request came, in seconds of the caller's clock.
    """

    request_id: int
    positions: tuple[int, ...]
    lengths: tuple[int, ...]
    tokens: int
    whole: bool
    lane: Lane
    arrived: float


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call to the instance."""

    lane: Lane
    pieces: tuple[Piece, ...]

    @property
    def tokens(self) -> int:
        """Estimated tokens of all its inputs."""
        return sum(piece.tokens for piece in self.pieces)

    @property
    def alone(self) -> bool:
        """Whether it is one whole request, which can go as it came."""
        return len(self.pieces) == 1 and self.pieces[0].whole

    def inputs(self) -> list[tuple[int, int]]:
        """Return (piece, position in its request) of each input, the longest first.

        An engine that cuts a call into batches as it comes then pads little.
        """
        order = [
            (-length, number, position)
            for number, piece in enumerate(self.pieces)
            for length, position in zip(piece.lengths, piece.positions, strict=True)
        ]
        return [(number, position) for _, number, position in sorted(order)]


def choose_lane(lengths: Sequence[int], priority: int, limits: CallLimits) -> Lane:
    """Return where a request waits.

    Bulk is what has more than ``INTERACTIVE_INPUTS`` inputs, a priority below normal, or more
    tokens than one call may carry.
    """
    if len(lengths) > INTERACTIVE_INPUTS or priority < 0 or sum(lengths) > limits.max_tokens:
        return Lane.BULK
    return Lane.INTERACTIVE


class Coalescer:
    """Forms calls for one instance from requests that may share them.

    A call takes at most its share of the tokens that wait or are on the wire, so that the calls
    are about alike: if one took all that waits, the others would find nothing when they end, and
    the engine would idle between large calls.

    The interactive lane goes first. Once the oldest bulk piece has waited for ``patience``, bulk
    has every other call, while it has less than its share of them on the wire. Each call carries
    the oldest of its lane and those nearest to it in length, so with k older pieces in its lane a
    piece has to wait for k further calls of the lane at most.

    Args:
        limits: of the instance.
        patience: seconds that bulk lets interactive requests go ahead.
    """

    __slots__ = (
        "_bulk_running",
        "_bulk_went",
        "_lanes",
        "_limits",
        "_patience",
        "_running",
        "_tokens",
    )

    def __init__(self, limits: CallLimits, patience: float = 1.0) -> None:
        self._limits = limits
        self._patience = patience
        self._lanes = {Lane.INTERACTIVE: _Lane(limits), Lane.BULK: _Lane(limits)}
        self._running = 0
        self._bulk_running = 0
        self._bulk_went = False
        self._tokens = 0

    @property
    def waiting(self) -> int:
        """How many pieces wait."""
        return sum(len(lane) for lane in self._lanes.values())

    @property
    def running(self) -> int:
        """How many calls are on the wire."""
        return self._running

    def submit(
        self, request_id: int, lengths: Sequence[int], priority: int, now: float
    ) -> list[Piece]:
        """Let a request wait, cut into pieces if it is more than a call may carry.

        Args:
            request_id: unique among those that wait or run.
            lengths: estimated tokens of each input, of which there is at least one.
            priority: 0 is normal.
            now: seconds of the caller's clock.
        """
        if not lengths:
            raise InferenceError(f"embedding request {request_id} has no inputs to form a call of")
        lane = choose_lane(lengths, priority, self._limits)
        groups = _cut(lengths, self._limits)
        pieces = [
            Piece(
                request_id,
                tuple(group),
                tuple(lengths[position] for position in group),
                sum(lengths[position] for position in group),
                len(groups) == 1,
                lane,
                now,
            )
            for group in groups
        ]
        for piece in pieces:
            self._lanes[lane].push(piece)
            self._tokens += piece.tokens
        return pieces

    def next_call(self, now: float) -> Call | None:
        """Return a call to make now, or None; ask again until None, and whenever one ends."""
        lane = self._turn(now)
        if lane is None:
            return None
        self._running += 1
        self._bulk_running += lane is Lane.BULK
        self._bulk_went = lane is Lane.BULK
        share = -(-self._tokens // self._limits.max_calls)
        return Call(lane, self._lanes[lane].take(share))

    def ended(self, call: Call) -> None:
        """A call is over, however it went."""
        self._running -= 1
        self._tokens -= call.tokens
        self._bulk_running -= call.lane is Lane.BULK

    def drop(self, piece: Piece) -> bool:
        """A piece is no longer wanted; return whether it was still waiting."""
        dropped = self._lanes[piece.lane].drop(piece)
        if dropped:
            self._tokens -= piece.tokens
        return dropped

    def _turn(self, now: float) -> Lane | None:
        if self._running >= self._limits.max_calls:
            return None
        interactive, bulk = self._lanes[Lane.INTERACTIVE], self._lanes[Lane.BULK]
        bulk_may = bool(bulk) and self._bulk_running < self._limits.bulk_calls
        if not interactive:
            return Lane.BULK if bulk_may else None
        aged = bulk_may and now - bulk.oldest.arrived >= self._patience
        return Lane.BULK if aged and not self._bulk_went else Lane.INTERACTIVE


class _Lane:
    """Waiting pieces, by age and by length."""

    __slots__ = ("_by_age", "_by_length", "_limits", "_order")

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._by_age: dict[Piece, tuple[int, int]] = {}
        self._by_length: list[tuple[int, int, Piece]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._by_age)

    @property
    def oldest(self) -> Piece:
        return next(iter(self._by_age))

    def push(self, piece: Piece) -> None:
        self._order += 1
        key = (max(piece.lengths), self._order)
        self._by_age[piece] = key
        insort(self._by_length, (*key, piece))

    def drop(self, piece: Piece) -> bool:
        key = self._by_age.pop(piece, None)
        if key is None:
            return False
        del self._by_length[bisect_left(self._by_length, key)]
        return True

    def take(self, share: int) -> tuple[Piece, ...]:
        """Take out the oldest piece and its neighbours in length, as many as a call may carry.

        Args:
            share: estimated tokens that it is to have at most; the oldest piece goes in any case.
        """
        most = min(share, self._limits.max_tokens)
        by_length = self._by_length
        longest, order = self._by_age[self.oldest]
        start = bisect_left(by_length, (longest, order))
        stop = start + 1
        inputs = len(by_length[start][2].positions)
        tokens = by_length[start][2].tokens
        shorter, longer = start > 0, stop < len(by_length)
        while shorter or longer:
            down = shorter and (
                not longer or longest - by_length[start - 1][0] <= by_length[stop][0] - longest
            )
            piece = by_length[start - 1 if down else stop][2]
            if (
                inputs + len(piece.positions) > self._limits.max_inputs
                or tokens + piece.tokens > most
            ):
                # Those behind it are no nearer, so the call ends on this side.
                shorter, longer = shorter and not down, longer and down
                continue
            inputs += len(piece.positions)
            tokens += piece.tokens
            start, stop = (start - 1, stop) if down else (start, stop + 1)
            shorter, longer = shorter and start > 0, longer and stop < len(by_length)
        taken = sorted(by_length[start:stop], key=lambda item: item[1])
        del by_length[start:stop]
        for *_, piece in taken:
            del self._by_age[piece]
        return tuple(piece for *_, piece in taken)


def _cut(lengths: Sequence[int], limits: CallLimits) -> list[list[int]]:
    """Return the positions of each piece: near in length, and about equal in tokens."""
    total = sum(lengths)
    parts = max(-(-total // limits.max_tokens), -(-len(lengths) // limits.max_inputs))
    if parts <= 1:
        return [list(range(len(lengths)))]
    share = -(-total // parts)
    groups: list[list[int]] = []
    tokens = limits.max_tokens + 1
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[position]
        full = bool(groups) and len(groups[-1]) == limits.max_inputs
        if full or tokens >= share or tokens + length > limits.max_tokens:
            groups.append([])
            tokens = 0
        groups[-1].append(position)
        tokens += length
    return groups
