"""Four coefficients learned as observations come."""

from __future__ import annotations

from math import copysign

_UNCERTAINTY = 30.0
_LEAST = 1e-4


class LeastSquares:
    """Recursive least squares over four features, none of whose coefficients is below zero.

    It weighs relative errors, clips outliers and forgets. All coefficients begin at 1, so the
    features are to come in multiples of what is to be expected of them.

    Args:
        forgetting: what an observation still weighs after the next one, above 0 and below 1.

    Attributes:
        theta: the coefficients.
    """

    __slots__ = ("_forgetting", "_growth", "_p", "_spread", "theta")

    def __init__(self, forgetting: float = 0.99) -> None:
        self.theta = [1.0, 1.0, 1.0, 1.0]
        self._forgetting = forgetting
        self._growth = forgetting**-0.5
        self._p = [[_UNCERTAINTY if i == j else 0.0 for j in range(4)] for i in range(4)]
        self._spread = 0.5

    def learn(self, a: float, b: float, c: float, d: float, seconds: float) -> None:
        """Take in the four features of an observation and what came of them."""
        theta, p = self.theta, self._p
        predicted = theta[0] * a + theta[1] * b + theta[2] * c + theta[3] * d
        scale = 1.0 / max(predicted, _LEAST)
        error = self._clipped((seconds - predicted) * scale)
        a, b, c, d = a * scale, b * scale, c * scale, d * scale
        px = [row[0] * a + row[1] * b + row[2] * c + row[3] * d for row in p]
        k, m, n, o = px
        shrink = 1.0 / (self._forgetting + k * a + m * b + n * c + o * d)
        # Forgetting what is not observed any longer would let its uncertainty grow without end.
        grow = [self._growth if p[i][i] < _UNCERTAINTY else 1.0 for i in range(4)]
        g, h, i, j = grow
        for index, row in enumerate(p):
            gain = px[index] * shrink
            t = theta[index] + gain * error
            theta[index] = max(0.0, t)
            w = grow[index]
            p[index] = [
                (row[0] - gain * k) * g * w,
                (row[1] - gain * m) * h * w,
                (row[2] - gain * n) * i * w,
                (row[3] - gain * o) * j * w,
            ]

    def _clipped(self, error: float) -> float:
        size = abs(error)
        limit = 2.5 * self._spread
        # The spread takes in clipped errors: an outlier hardly moves it, a lasting change does.
        self._spread = max(0.02, 0.9 * self._spread + 0.1 * min(size, limit))
        return error if size <= limit else copysign(limit, error)
