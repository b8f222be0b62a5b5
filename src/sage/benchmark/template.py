"""A configuration file to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sage.benchmark.config import BenchmarkConfig, mode_of


def as_json(config: BenchmarkConfig) -> str:
    """Return the configuration as a JSON document."""
    return json.dumps(_values(config), indent=2, default=str)


def as_yaml(config: BenchmarkConfig) -> str:
    """Return the configuration as a YAML document."""
    return "\n".join(_lines(_values(config), ""))


def _values(config: BenchmarkConfig) -> dict[str, Any]:
    return {"mode": mode_of(config), **msgspec.to_builtins(config)}


def _lines(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            # Scalars and lists of JSON are YAML as well.
            yield f"{indent}{key}: {json.dumps(value)}"
