"""How evenly tenants are served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum


@dataclass(frozen=True, slots=True)
class Fairness:
    """Jain's indices over the tenants of a run, from 1 / tenants to 1, where all have the same.

    Attributes:
        tenants: how many asked for something.
        goodput: over the requests of each that met their SLO; a tenant that asks for more than
            another makes it less even.
        attainment: over the share of each's requests that met it, whatever each asked for.
    """

    tenants: int
    goodput: float
    attainment: float


def jain(values: Sequence[float]) -> float:
    """Return Jain's index, (Σx)² / (n Σx²) (Jain, Chiu and Hawe 1984); 1 where all are 0.

    Args:
        values: at least one, none negative.
    """
    largest = max(values)
    if not largest:
        return 1.0
    # Scaled first: squares of very small numbers would vanish.
    scaled = [value / largest for value in values]
    return fsum(scaled) ** 2 / (len(scaled) * fsum(value * value for value in scaled))
