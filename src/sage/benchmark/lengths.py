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
    """A distribution of whole numbers, at least 1.

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

    def draw(self, rng: random.Random) -> int:
        """Return one number."""
        if self.form == "fixed":
            value = self.first
        elif self.form == "uniform":
            value = rng.randint(int(self.first), int(self.second))
        else:
            variance = math.log1p(self.second**2)
            value = rng.lognormvariate(math.log(self.first) - variance / 2, math.sqrt(variance))
        return min(self.most, max(1, round(value)))


def parse_lengths(text: str, where: str) -> Lengths:
    """Read ``fixed:N``, ``uniform:LOW:HIGH``, ``lognormal:MEAN:CV`` or a bare number.

    Args:
        text: what was written.
        where: the option it was written for, for the message.

    Raises:
        ConfigError: not a distribution, or one that gives numbers below 1.
    """
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
    lengths = Lengths(form, numbers[0], numbers[1] if len(numbers) > 1 else 0.0)
    _check(lengths, text, where)
    return lengths


def _check(lengths: Lengths, text: str, where: str) -> None:
    if lengths.first < 1:
        raise ConfigError(f"{where}: {text!r} would give lengths below 1")
    if lengths.form == "uniform" and lengths.second < lengths.first:
        raise ConfigError(f"{where}: {text!r} ends below where it begins")
    if lengths.form == "lognormal" and lengths.second <= 0:
        raise ConfigError(f"{where}: {text!r} needs a coefficient of variation above 0")
