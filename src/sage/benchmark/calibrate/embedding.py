"""An embedding engine's profile from probes of it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sage.benchmark.calibrate.embedding_probes import Call, CallTake
from sage.benchmark.calibrate.errors import ProbeError, summary_of
from sage.benchmark.calibrate.fitting import nearest
from sage.benchmark.simulate.embedding_engine import EmbeddingEngine
from sage.benchmark.simulate.engine_request import EngineRequest
from sage.benchmark.simulate.profile import EmbeddingProfile
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

_UNBOUNDED = 1 << 40
_FIGURES = {
    "call": "time of one text",
    "batch": "time of one call of many",
    "together": "mean time of calls at once",
}
# What is tried of what an engine does not tell.
CHOICES: Mapping[str, Sequence[int]] = {
    "workers": (1, 2, 4),
    "max_tokens": (512, 2048, 8192),
    "by_length": (True, False),
}
_ROUNDS = 4
_NUDGE = 0.02


@dataclass(frozen=True, slots=True)
class CalibratedEmbedding:
    """A profile and what it is worth.

    Attributes:
        profile: of the engine.
        errors: of its model, by kind of probe.
        takes: what was measured.
        chosen: what of it was chosen by which fits best, as the engine does not tell.
    """

    profile: EmbeddingProfile
    errors: Sequence[ProbeError]
    takes: Sequence[CallTake]
    chosen: Sequence[str]


def fit_embedding(
    takes: Sequence[CallTake], given: Mapping[str, int], *, name: str = "calibrated"
) -> CalibratedEmbedding:
    """Fit an embedding engine's profile.

    The time of a batch is fitted by least squares, for each way in which the engine might put
    batches together; the way whose errors are least is taken.

    Args:
        takes: the measurements.
        given: limits that are known, by `EmbeddingProfile`'s names.
        name: of the profile.

    Raises:
        ConfigError: SciPy is missing.
    """
    chosen = [key for key in CHOICES if key not in given]
    best: tuple[float, EmbeddingProfile] | None = None
    for values in itertools.product(*(CHOICES[key] for key in chosen)):
        limits = {**given, **dict(zip(chosen, values, strict=True))}
        start = EmbeddingProfile(name=name, call_ms=2.0, token_ms=0.1, **limits)  # type: ignore[arg-type] # by_length is a bool there
        profile = _fitted(start, takes)
        error = statistics.fmean(abs(value) for value in _relative(profile, takes))
        # Among equals the first is the simplest.
        if best is None or error < 0.98 * best[0]:
            best = error, profile
    assert best is not None
    profile = best[1]
    return CalibratedEmbedding(profile, call_errors(profile, takes), takes, chosen)


def call_errors(profile: EmbeddingProfile, takes: Sequence[CallTake]) -> list[ProbeError]:
    """Play what was played to the engine to its model, and compare."""
    found = []
    for kind, what in _FIGURES.items():
        by_label: dict[str, list[tuple[float, float]]] = {}
        for take in takes:
            if take.kind == kind:
                pair = statistics.fmean(take.seconds), statistics.fmean(play(profile, take.calls))
                by_label.setdefault(take.label, []).append(pair)
        if by_label:
            found.append(summary_of(what, list(by_label.values())))
    return found


def play(profile: EmbeddingProfile, calls: Sequence[Call]) -> list[float]:
    """Return how many seconds each of the calls takes that reach a simulated engine at once."""
    spec = InstanceSpec(
        "probe",
        Kind.EMBEDDING,
        ("probe",),
        coalesce=False,
        max_inputs=_UNBOUNDED,
        max_batch_tokens=_UNBOUNDED,
    )
    engine = EmbeddingEngine(profile, spec)
    for number, call in enumerate(calls):
        engine.submit(EngineRequest(number, call.tokens, 0, call.texts), 0.0)
    ends = [0.0] * len(calls)
    while engine.wake < float("inf"):
        emission = engine.step()
        for request in emission.ended if emission is not None else ():
            ends[request.id] = emission.at if emission is not None else 0.0
    return ends


def _fitted(profile: EmbeddingProfile, takes: Sequence[CallTake]) -> EmbeddingProfile:
    """Return the profile with the costs that are nearest (Gauss-Newton; the model is near linear).

    Each row holds what the model's answer changes by with each cost.
    """
    measured = [statistics.fmean(take.seconds) * 1000 for take in takes]
    names = ("call_ms", "token_ms", "h_in")
    for _ in range(_ROUNDS):
        base = _answers(profile, takes)
        columns = []
        for name in names:
            value = getattr(profile, name)
            nudge = max(abs(value) * _NUDGE, 1e-4)
            moved = _answers(replace(profile, **{name: value + nudge}), takes)
            columns.append([(m - b) / nudge for m, b in zip(moved, base, strict=True)])
        values = [getattr(profile, name) for name in names]
        rows = [list(row) for row in zip(*columns, strict=True)]
        # What is left when the changes are taken from the point where all costs are zero.
        offsets = [
            b - sum(c * v for c, v in zip(row, values, strict=True))
            for b, row in zip(base, rows, strict=True)
        ]
        wanted = [m - offset for m, offset in zip(measured, offsets, strict=True)]
        found = nearest(rows, wanted, measured)
        call, token, door = found
        profile = replace(profile, call_ms=call, token_ms=max(token, 1e-6), h_in=door)
    return replace(profile, h_in=profile.h_in / 2, h_out=profile.h_in / 2)


def _answers(profile: EmbeddingProfile, takes: Sequence[CallTake]) -> list[float]:
    return [statistics.fmean(play(profile, take.calls)) * 1000 for take in takes]


def _relative(profile: EmbeddingProfile, takes: Sequence[CallTake]) -> list[float]:
    answers = _answers(profile, takes)
    return [
        answer / (statistics.fmean(take.seconds) * 1000) - 1
        for answer, take in zip(answers, takes, strict=True)
    ]
