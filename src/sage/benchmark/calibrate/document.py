"""A calibrated profile as the JSON file that the simulator reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from sage.benchmark.calibrate.embedding import CalibratedEmbedding
from sage.benchmark.calibrate.engine_facts import EngineFacts
from sage.benchmark.calibrate.errors import ProbeError
from sage.benchmark.calibrate.llm import Calibrated
from sage.benchmark.machine import machine, versions
from sage.benchmark.target import Found

_DIGITS = 6


def origin(found: Found, model: str | None, command: str) -> dict[str, Any]:
    """Return where, when and by what something was measured."""
    return {
        "model": model,
        "url": found.url,
        "measured": dt.datetime.now(dt.UTC).isoformat("T", "seconds"),
        "command": command,
        "client_machine": machine(),
        "client_versions": versions(),
    }


def llm_document(
    calibrated: Calibrated, facts: EngineFacts, found: Found, command: str
) -> dict[str, Any]:
    """Return an LLM engine's profile with the facts and measurements behind it."""
    profile = calibrated.profile
    times = {name: value for name, value in asdict(profile.times).items() if value is not None}
    return {
        "kind": "llm",
        "meta": {
            "what": f"{facts.name} {facts.version}".strip() + ", calibrated by sage-cp-bench",
            "engine": facts.name,
            "engine_version": facts.version,
            "assumed": list(facts.assumed),
            **origin(found, found.models.chat, command),
        },
        "scheduling": {
            "asynchronous": profile.asynchronous,
            "prefix_caching": profile.prefix_caching,
            "preempts": profile.preempts,
            "head_tokens": profile.head_tokens,
            "clears_idle": profile.clears_idle,
        },
        "f_capacity": asdict(profile.capacity),
        "step_model_for_a_simulator": {"params_ms": times},
        "errors": errors_of(calibrated.errors),
        "measurements": [
            {
                "kind": take.kind,
                "probe": take.label,
                "requests": [
                    {
                        "sent_s": one.sent,
                        "prompt_tokens": one.prompt,
                        "cached_tokens": one.cached,
                        "token_s": list(one.tokens),
                    }
                    for one in take.played
                ],
            }
            for take in calibrated.takes
        ],
    }


def embedding_document(
    calibrated: CalibratedEmbedding, found: Found, command: str
) -> dict[str, Any]:
    """Return an embedding engine's profile with the facts and measurements behind it."""
    profile = calibrated.profile
    return {
        "kind": "embedding",
        "meta": {
            "what": "an embedding engine, calibrated by sage-cp-bench",
            "chosen_by_fit": list(calibrated.chosen),
            **origin(found, found.models.embedding, command),
        },
        "call_model": {
            "params_ms": {
                "call": profile.call_ms,
                "token": profile.token_ms,
                "h_in": profile.h_in,
                "h_out": profile.h_out,
            },
            "max_tokens": profile.max_tokens,
            "max_texts": profile.max_texts,
            "workers": profile.workers,
            "by_length": profile.by_length,
        },
        "errors": errors_of(calibrated.errors),
        "measurements": [
            {
                "kind": take.kind,
                "probe": take.label,
                "calls": [
                    {"texts": call.texts, "tokens": call.tokens, "seconds": seconds}
                    for call, seconds in zip(take.calls, take.seconds, strict=True)
                ],
            }
            for take in calibrated.takes
        ],
    }


def errors_of(errors: Sequence[ProbeError]) -> list[dict[str, Any]]:
    """Return errors as they stand in the file."""
    return [asdict(error) for error in errors]


def encode_profile(document: Mapping[str, Any]) -> bytes:
    """Return the file's bytes; numbers are rounded to a millionth."""
    return msgspec.json.format(msgspec.json.encode(_rounded(document)), indent=1) + b"\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        # Costs by token and pair are tiny, so what is below a millionth keeps its digits.
        return round(value, _DIGITS) if abs(value) >= 0.01 else float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
