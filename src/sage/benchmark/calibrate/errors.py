"""How far a model is from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sage.benchmark.calibrate.model_player import ModelPlayer
from sage.benchmark.calibrate.played import Played, Shot
from sage.benchmark.calibrate.probes import Take
from sage.benchmark.simulate.profile import LlmProfile


@dataclass(frozen=True, slots=True)
class ProbeError:
    """Model against engine, for one figure of one kind of probe.

    Attributes:
        what: the figure.
        probes: how many different ones were compared, each by the median of its repeats.
        median: of the relative errors; above 0 where the model is slower.
        worst: the one farthest from 0.
        spread: how far repeats on the engine lay apart: (highest − lowest) / median, of the probes
            the median.
    """

    what: str
    probes: int
    median: float
    worst: float
    spread: float


def _first(played: Sequence[Played]) -> float:
    return max(one.ttft for one in played)


def _late(played: Sequence[Played]) -> float:
    return played[-1].ttft


def _gap(played: Sequence[Played]) -> float:
    """Return the mean gap from the moment on at which all have begun."""
    begun = max(one.tokens[0] for one in played)
    gaps = [b - a for one in played for a, b in pairwise(one.tokens) if a >= begun]
    return statistics.fmean(gaps) if gaps else 0.0


def _longest_gap(played: Sequence[Played]) -> float:
    late = played[-1]
    gaps = [
        b - a
        for one in played[:-1]
        for a, b in pairwise(one.tokens)
        if b > late.sent and a < late.tokens[0]
    ]
    return max(gaps, default=0.0)


_FIGURES: tuple[tuple[str, str, Callable[[Sequence[Played]], float]], ...] = (
    ("prefill", "TTFT of one prompt", _first),
    ("decode", "TTFT of the last of a batch", _first),
    ("decode", "mean gap of a batch", _gap),
    ("inject", "TTFT beside streams", _late),
    ("inject", "longest gap of the streams", _longest_gap),
)


def probe_errors(profile: LlmProfile, takes: Sequence[Take]) -> list[ProbeError]:
    """Play what was played to the engine to its model, and compare."""
    player = ModelPlayer(profile)
    pairs = [(take, player.play(_again(take))) for take in takes if take.kind != "prefix"]
    found = []
    for kind, what, figure in _FIGURES:
        by_label: dict[str, list[tuple[float, float]]] = {}
        for take, modelled in pairs:
            if take.kind == kind and (measured := figure(take.played)) > 0:
                by_label.setdefault(take.label, []).append((measured, figure(modelled)))
        if by_label:
            found.append(summary_of(what, list(by_label.values())))
    return found


def _again(take: Take) -> list[Shot]:
    """Return the same shots as the engine saw them."""
    return [Shot(one.sent, one.prompt, len(one.tokens), cached=one.cached) for one in take.played]


def summary_of(what: str, repeats: Sequence[Sequence[tuple[float, float]]]) -> ProbeError:
    errors, spreads = [], []
    for pairs in repeats:
        measured = [pair[0] for pair in pairs]
        middle = statistics.median(measured)
        errors.append(statistics.median(pair[1] for pair in pairs) / middle - 1.0)
        spreads.append((max(measured) - min(measured)) / middle)
    return ProbeError(
        what,
        len(repeats),
        statistics.median(errors),
        max(errors, key=abs),
        statistics.median(spreads),
    )
