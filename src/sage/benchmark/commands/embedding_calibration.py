"""``sage-cp-bench calibrate --kind embedding``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sage.benchmark.config import HybridBenchmarkConfig
from sage.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from sage.benchmark.calibrate.errors import ProbeError

LIMITS = {
    "workers": "Embedding: batches that run at once.",
    "batch_tokens": "Embedding: padded tokens of a batch.",
    "max_texts": "Embedding: texts of a batch.",
}
_NAMES = {"batch_tokens": "max_tokens"}


def calibrate_embedding(
    options: Mapping[str, Any], command: str, console: Console
) -> tuple[dict[str, Any], Sequence[ProbeError]]:
    """Measure an embedding engine, and return its profile's document and its errors.

    Raises:
        SageError: a flag is wrong, or a probe has no good answer.
    """
    from rich.console import Console as Status

    from sage.benchmark.calibrate.document import embedding_document
    from sage.benchmark.calibrate.embedding import fit_embedding
    from sage.benchmark.calibrate.embedding_probes import EmbeddingProbing, embedding_probes
    from sage.benchmark.prompts import built_in_text
    from sage.benchmark.target import find_target

    longest = options["longest"] or 256
    repeats = options["repeats"] or 3
    if longest < 32 or repeats < 1:
        raise ConfigError(
            f"longest is {longest} and repeats {repeats}; at least 32 tokens and 1 are needed"
        )
    config = HybridBenchmarkConfig(
        url=options["url"], embedding_model=options["model"], llm_ratio=0.0
    )
    found = find_target(config, api_key=options["api_key"])
    given = {_NAMES.get(name, name): options[name] for name in LIMITS if options[name] is not None}
    probing = EmbeddingProbing(found, built_in_text(), timeout_s=options["timeout_s"])
    probes = list(embedding_probes(longest))
    for kind, label, calls in probes[:2]:
        probing.play(kind, label, calls)  # what is loaded by a first request is
    takes = []
    status = Status(stderr=True)
    # Repeats are far apart, so that a slow minute of the machine falls on all probes alike.
    for number, (kind, label, calls) in enumerate(probes * repeats, start=1):
        takes.append(probing.play(kind, label, calls))
        status.print(f"{number}/{len(probes) * repeats} {kind}: {label}", highlight=False)
    calibrated = fit_embedding(takes, given)
    if calibrated.chosen:
        told = ", ".join(
            f"{name} {getattr(calibrated.profile, name)}" for name in calibrated.chosen
        )
        console.print(f"chosen, as what fits best: {told}", highlight=False)
    return embedding_document(calibrated, found, command), calibrated.errors
