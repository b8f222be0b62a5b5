"""Step times fitted to measured steps, by least squares."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sage.benchmark.calibrate.step_samples import StepSample
from sage.benchmark.simulate.step_times import StepTimes
from sage.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

_NAMES = ("p0", "r0", "c1", "c2", "d1", "b2", "h")
_ROUNDS = 12
# Relative errors beyond this weigh as their square root (Huber): a pause of the machine is no step.
_USUAL_ERROR = 0.05


def fit_steps(samples: Sequence[StepSample], batches: Sequence[int]) -> StepTimes:
    """Return the step times nearest to the samples in relative error, none below zero.

    Args:
        samples: of steps with and without prompts.
        batches: sizes of the decoding batches that were measured.

    Raises:
        ConfigError: SciPy is missing, or there are samples of one kind only.
    """
    knots = sorted(set(batches))
    if not knots or not any(item.new for item in samples) or all(item.new for item in samples):
        raise ConfigError(
            "the probes show no steps of some kind, with prompts or without: the engine's streams "
            "do not come token by token"
        )
    ms = [sample.ms for sample in samples]
    return _times(nearest([_row(sample, knots) for sample in samples], ms, ms), knots)


def nearest(
    rows: Sequence[Sequence[float]], wanted: Sequence[float], sizes: Sequence[float]
) -> list[float]:
    """Return the unknowns, none below zero, whose products with the rows are nearest to the wanted.

    Args:
        rows: what each unknown counts, by measurement.
        wanted: by measurement.
        sizes: what an error is relative to, by measurement.

    Raises:
        ConfigError: SciPy is missing.
    """
    optimize, np = solver()
    size = np.array(sizes)
    matrix, goal = np.array(rows) / size[:, None], np.array(wanted) / size
    # Columns of one size: NNLS stops early on those of 1e-5.
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12)
    weights = np.ones(len(goal))
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        found, _ = optimize.nnls(matrix / scale * root[:, None], goal * root)
        error = np.abs(matrix @ (found / scale) - goal)
        weights = np.minimum(1.0, _USUAL_ERROR / np.maximum(error, 1e-9))
    return [float(value) for value in found / scale]


def _row(sample: StepSample, knots: Sequence[int]) -> list[float]:
    """Return what each unknown counts in a step."""
    table = [0.0] * len(knots)
    if not sample.new:
        _spread(sample.batch, knots, table)
        return [0.0, 0.0, 0.0, 0.0, 0.0, sample.context, 0.0, *table]
    prompt = [1.0, float(sample.begun), float(sample.new), sample.pairs]
    return [*prompt, float(sample.batch), sample.context, float(sample.idle), *table]


def _spread(batch: int, knots: Sequence[int], table: list[float]) -> None:
    """Share a batch out between the two knots beside it."""
    place = min(bisect_left(knots, batch), len(knots) - 1)
    if place == 0 or batch >= knots[place]:
        table[place] = 1.0
        return
    low, high = knots[place - 1], knots[place]
    table[place] = (batch - low) / (high - low)
    table[place - 1] = 1.0 - table[place]


def _times(found: Sequence[float], knots: Sequence[int]) -> StepTimes:
    value = dict(zip(_NAMES, found, strict=False))
    table = tuple(zip(knots, found[len(_NAMES) :], strict=True))
    b1 = 0.0
    if len(table) > 1:
        (low, before), (high, after) = table[-2:]
        b1 = max(0.0, (after - before) / (high - low))
    b0 = max(table[0][1] - b1 * table[0][0], 1e-3)
    return StepTimes(
        b0=b0,
        b1=b1,
        b2=value["b2"],
        p0=value["p0"],
        c1=max(value["c1"], 1e-6),
        c2=value["c2"],
        r0=value["r0"],
        d1=value["d1"],
        decode=tuple((batch, ms) for batch, ms in table if ms > 0),
        # Their sum is what is measured.
        h_in=value["h"] / 2,
        h_out=value["h"] / 2,
        least=0.0,
    )


def solver() -> tuple[Any, ModuleType]:
    """Return SciPy's optimize and NumPy, which the extra `bench` installs.

    Raises:
        ConfigError: they are missing.
    """
    try:
        import numpy as np
        from scipy import optimize
    except ImportError as error:
        raise ConfigError(
            f"calibration needs SciPy ({error}): pip install 'sage-stack[bench]'"
        ) from None
    return optimize, np
