"""How long prompts, answers and texts are, and how many texts go into one call."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from sage.errors import ConfigError, UnknownKeyError

_PARAMETERS = {"fixed": ("N",), "uniform": ("LOW", "HIGH"), "lognormal": ("MEAN", "CV")}
FORMS = ", ".join(":".join((name, *parameters)) for name, parameters in _PARAMETERS.items())
"""The ways to write a distribution, for messages and help."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of whole numbers of at least 1, or of times in seconds.

    Attributes:
        form: ``fixed``, ``uniform`` (both ends included) or ``lognormal``.
        first: the number, the low end, or the mean.
        second: the high end, or the coefficient of variation; unused when fixed.
        most: larger draws are cut to this.
    """

    form: str
    first: float
    second: float = 0.0
    most: int = 1_000_000

    @property
    def mean(self) -> float:
        """The mean of what is drawn, but for rounding and cutting."""
        return (self.first + self.second) / 2 if self.form == "uniform" else self.first

    def draw(self, rng: random.Random) -> int:
        """Return one number."""
        if self.form == "uniform":
            return min(self.most, rng.randint(int(self.first), int(self.second)))
        return min(self.most, max(1, round(self.value(rng))))

    def value(self, rng: random.Random) -> float:
        """Return one number that need not be whole."""
        if self.form == "fixed":
            return self.first
        if self.form == "uniform":
            return rng.uniform(self.first, self.second)
        variance = math.log1p(self.second**2)
        return rng.lognormvariate(math.log(self.first) - variance / 2, math.sqrt(variance))


def parse_lengths(text: str, where: str) -> Lengths:
    """Read ``fixed:N``, ``uniform:LOW:HIGH``, ``lognormal:MEAN:CV`` or a bare number.

    Args:
        text: what was written.
        where: the option it was written for, for the message.

    Raises:
        ConfigError: not a distribution, or one that gives numbers below 1.
    """
    lengths = _parse(text, where)
    if lengths.first < 1:
        raise ConfigError(f"{where}: {text!r} would give lengths below 1")
    return lengths


def parse_times(text: str, where: str) -> Lengths:
    """Read a distribution of seconds, written like one of lengths; 0 is a time too.

    Raises:
        ConfigError: not a distribution, or one that gives times below 0.
    """
    times = _parse(text, where)
    if times.first < 0 or (times.form == "lognormal" and not times.first):
        raise ConfigError(f"{where}: {text!r} is no distribution of times of at least 0")
    return times


def _parse(text: str, where: str) -> Lengths:
    form, *parts = text.strip().split(":") if ":" in text else ["fixed", text]
    if form not in _PARAMETERS:
        raise UnknownKeyError(form, _PARAMETERS, where=where)
    try:
        numbers = [float(part) for part in parts]
        good = len(numbers) == len(_PARAMETERS[form]) and all(map(math.isfinite, numbers))
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{where}: {text!r} is not one of {FORMS}, or a number")
    if form == "uniform" and numbers[1] < numbers[0]:
        raise ConfigError(f"{where}: {text!r} ends below where it begins")
    if form == "lognormal" and numbers[1] <= 0:
        raise ConfigError(f"{where}: {text!r} needs a coefficient of variation above 0")
    return Lengths(form, numbers[0], numbers[1] if len(numbers) > 1 else 0.0)
