"""Random numbers that a seed decides."""

from __future__ import annotations

_MASK = (1 << 64) - 1


class SplitMix64:
    """A small generator of 64-bit numbers (Steele, Lea and Flood, OOPSLA 2014)."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def below(self, n: int) -> int:
        """Return a number from 0 to n - 1; the bias of the remainder is below n / 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (z ^ (z >> 31)) % n
