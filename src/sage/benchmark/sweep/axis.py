"""What a sweep varies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import RequestClass, TrafficClass
from sage.benchmark.config import BenchmarkConfig, HybridBenchmarkConfig, with_options
from sage.benchmark.workload import requests_per_arrival
from sage.errors import ConfigError, UnknownKeyError


@dataclass(frozen=True, slots=True)
class Axis:
    """One quantity of a workload.

    Attributes:
        name: as users write it.
        unit: of its values, for people.
        load: whether more of it is more load, so that a knee can be looked for.
        whole: whether its values are whole numbers.
        start: the configuration's own value, where a search begins.
        put: returns a configuration with the value in it.
    """

    name: str
    unit: str
    load: bool
    whole: bool
    start: Callable[[BenchmarkConfig], float]
    put: Callable[[BenchmarkConfig, float], BenchmarkConfig]

    def at(
        self, config: BenchmarkConfig, value: float, *, seconds: float | None = None
    ) -> BenchmarkConfig:
        """Return the configuration of one value.

        Args:
            config: of the whole sweep.
            value: on this axis.
            seconds: how long requests keep coming at the configuration's rate, or sessions with
                all their turns; None issues as many as the configuration says.

        Raises:
            ConfigError: a value that the configuration cannot have.
        """
        if self.whole and value != int(value):
            raise ConfigError(f"{self.name} is {value:g}; it must be a whole number")
        made = self.put(config, value)
        if seconds is not None:
            count = made.rate * seconds * requests_per_arrival(made)
            made = replace(made, requests=max(1, math.ceil(count)))
        made.validate()
        return made


def _rate(config: BenchmarkConfig, value: float) -> BenchmarkConfig:
    if config.trace is not None:
        raise ConfigError("a trace has a rate of its own; sweep it with --over time_scale")
    if config.arrival in (ArrivalPattern.CLOSED, ArrivalPattern.RAMP):
        raise ConfigError(
            f"arrival {config.arrival.value!r} does not hold one rate; "
            "choose constant, poisson, gamma or burst, or sweep --over users"
        )
    return replace(config, rate=value)


def _users(config: BenchmarkConfig, value: float) -> BenchmarkConfig:
    return replace(config, arrival=ArrivalPattern.CLOSED, users=int(value))


def _time_scale(config: BenchmarkConfig, value: float) -> BenchmarkConfig:
    if config.trace is None:
        raise ConfigError("time_scale is for a trace; name one with --trace")
    return replace(config, time_scale=value)


def _prompt_tokens(config: BenchmarkConfig, value: float) -> BenchmarkConfig:
    if config.trace is not None:
        raise ConfigError("a trace says how long its prompts are; sweep it with --over time_scale")
    for one in config.classes:
        if one.prompt_tokens is not None:
            raise ConfigError(f"class {one.name} says its own prompt_tokens; leave them out")
    return replace(config, prompt_tokens=f"fixed:{int(value)}")


def _llm_ratio(config: BenchmarkConfig, value: float) -> BenchmarkConfig:
    if not isinstance(config, HybridBenchmarkConfig):
        raise ConfigError("llm_ratio is for chat and embeddings mixed; add --mode hybrid")
    if not 0 <= value <= 1:
        raise ConfigError(f"llm_ratio is {value:g}; it must be between 0 and 1")
    return with_options(config, {"llm_ratio": value, "classes": _reshared(config.classes, value)})


def _reshared(classes: Sequence[RequestClass], llm_ratio: float) -> tuple[RequestClass, ...]:
    """Give the classes of each traffic their part, divided among them as before."""
    parts = {TrafficClass.CHAT: llm_ratio, TrafficClass.EMBEDDING: 1 - llm_ratio}
    sums = {kind: sum(one.share for one in classes if one.traffic is kind) for kind in parts}
    for kind, part in parts.items():
        if classes and part and not sums[kind]:
            raise ConfigError(f"llm_ratio is {llm_ratio:g}, but no class is of {kind} requests")
    return tuple(
        replace(one, share=one.share * parts[one.traffic] / (sums[one.traffic] or 1))
        for one in classes
    )


AXES = {
    axis.name: axis
    for axis in (
        Axis("rate", "requests/s", True, False, lambda config: config.rate, _rate),
        Axis("users", "users", True, True, lambda config: config.users, _users),
        Axis("time_scale", "× the trace", True, False, lambda c: c.time_scale, _time_scale),
        Axis("prompt_tokens", "tokens", False, True, lambda _: 64, _prompt_tokens),
        Axis("llm_ratio", "share of chat", False, False, lambda _: 0.5, _llm_ratio),
    )
}


def find_axis(name: str) -> Axis:
    """Return an axis by its name.

    Raises:
        UnknownKeyError: there is none of that name.
    """
    if name not in AXES:
        raise UnknownKeyError(name, AXES, where="what a sweep can vary")
    return AXES[name]
