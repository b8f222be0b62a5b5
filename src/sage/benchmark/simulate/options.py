"""The command line's flags for simulated engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import click

from sage.benchmark.config import BenchmarkConfig, HybridBenchmarkConfig
from sage.benchmark.simulate.config import SimulationConfig
from sage.errors import ConfigError

_F = TypeVar("_F", bound=Callable[..., Any])
_EMBEDDING = "minilm-onnx-cpu"

_FLAGS: dict[str, tuple[Any, str]] = {
    "profile": (str, "Profile of the LLM engines: a packaged one's name, or a JSON file."),
    "engines": (int, "How many LLM engines there are."),
    "embedding_profile": (str, "The same for embedding engines, in mode hybrid."),
    "embedding_engines": (int, "How many embedding engines there are."),
    "network_ms": (float, "Milliseconds that anything takes over the network, one way."),
    "max_requests": (int, "Requests that an LLM engine is given at once."),
    "max_queued": (int, "Requests of a model that may wait at the gateway."),
    "max_model_len": (int, "Longest request in tokens; 0 is what the KV cache holds."),
    "prefix_caching": (bool, "Whether LLM engines keep what prompts begin with."),
}
_UNSET = {
    "embedding_profile": _EMBEDDING,
    "max_queued": "256 an engine, at least 1024",
    "max_model_len": "the profile's",
    "prefix_caching": "the profile's",
}
SIMULATION_FLAGS = tuple(_FLAGS)
"""The values' names."""


def simulation_options(*, leave_out: tuple[str, ...] = ()) -> Callable[[_F], _F]:
    """Add a flag for each of a simulation's values to a command.

    Args:
        leave_out: those that mean nothing to this command.
    """
    defaults = {item.name: item.default for item in fields(SimulationConfig)}

    def add(command: _F) -> _F:
        for name, (kind, text) in reversed(_FLAGS.items()):
            if name in leave_out:
                continue
            flag = f"--{name.replace('_', '-')}"
            command = click.option(
                f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
                name,
                type=None if kind is bool else kind,
                default=None,
                help=f"Simulated: {text[0].lower() if name != 'profile' else text[0]}{text[1:]}  "
                f"[default: {_UNSET.get(name, defaults[name])}]",
            )(command)
        return command

    return add


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values that were given for the simulation, and all the others."""
    given = {name: options[name] for name in SIMULATION_FLAGS if options.get(name) is not None}
    return given, {name: value for name, value in options.items() if name not in _FLAGS}


def build_simulation(config: BenchmarkConfig, given: Mapping[str, Any]) -> SimulationConfig:
    """Return what the flags say, for a workload.

    Raises:
        ConfigError: a value out of range, or one that the workload has no use for.
    """
    values = dict(given)
    if isinstance(config, HybridBenchmarkConfig):
        if config.llm_ratio < 1:
            values.setdefault("embedding_profile", _EMBEDDING)
        if config.llm_ratio == 0:
            values["profile"] = None
    elif any(name.startswith("embedding") for name in given):
        raise ConfigError("embedding engines are for embedding requests; add --mode hybrid")
    return SimulationConfig(**values)
