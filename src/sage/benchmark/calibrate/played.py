"""What became of the requests of a probe, played to an engine or to its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Shot(NamedTuple):
    """One request of a probe.

    Attributes:
        at: seconds from the probe's start.
        prompt: tokens of its prompt, as the client reckons them.
        output: tokens to generate.
        text: where in the text the prompt begins; None for a place that no other shot had.
        cached: tokens of the prompt that the engine is known to have, for a model of it; None where
            it is not known.
    """

    at: float
    prompt: int
    output: int
    text: int | None = None
    cached: int | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """A request that an engine answered.

    Attributes:
        sent: when, in seconds of the probe.
        prompt: tokens of its prompt, as the engine counted them.
        cached: those of them that it had computed before.
        tokens: when each token of the answer came.
    """

    sent: float
    prompt: int
    cached: int
    tokens: Sequence[float]

    @property
    def ttft(self) -> float:
        """Seconds until the first token."""
        return self.tokens[0] - self.sent


class Player(Protocol):
    """Plays probes to an engine that nobody else uses."""

    def play(self, shots: Sequence[Shot]) -> list[Played]:
        """Send the shots, each when it is due, and wait for all answers.

        Raises:
            SageError: one of them has no good answer.
        """
        ...
