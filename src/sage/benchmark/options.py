"""The command line's flags: one for each field of the configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from sage.benchmark.arrivals import PATTERNS, ArrivalPattern
from sage.benchmark.classes import RequestClass, parse_class
from sage.benchmark.config import (
    MODES,
    BenchmarkConfig,
    HybridBenchmarkConfig,
    LLMBenchmarkConfig,
    load_config,
    mode_of,
    with_options,
)
from sage.benchmark.lengths import FORMS
from sage.benchmark.slo import LLMSLOConfig
from sage.errors import ConfigError, UnknownKeyError

_F = TypeVar("_F", bound=Callable[..., Any])


class _Names(click.ParamType[tuple[Any, ...]]):
    """Names or numbers separated by commas."""

    name = "A,B,…"

    def __init__(self, kind: type[str] | type[int]) -> None:
        self._kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Split and convert."""
        try:
            return tuple(self._kind(part.strip()) for part in value.split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 0,1,5", param, ctx)


_LENGTHS = f"({FORMS}, or a number)"
_FLAGS: dict[str, tuple[Any, str]] = {
    "url": (str, "Base URL of the gateway or engine, without /v1."),
    "model": (str, "Chat model to ask."),
    "embedding_model": (str, "Embedding model to ask, in mode hybrid."),
    "requests": (int, "How many requests are issued."),
    "llm_ratio": (float, "Share of chat requests in mode hybrid, 0 to 1."),
    "seed": (int, "Seed of everything drawn; the same seed gives the same requests and times."),
    "arrival": (str, f"How requests are spread over time: {', '.join(PATTERNS)}."),
    "rate": (float, "Mean requests per second; for ramp, the rate at its end."),
    "cv": (float, "Coefficient of variation of the gaps, for gamma."),
    "burst_size": (int, "Requests that leave together, for burst."),
    "ramp_from": (float, "Requests per second at the start, for ramp."),
    "ramp_s": (float, "Seconds from the start of a ramp to its end."),
    "users": (int, "Users who each wait for their answer, for closed."),
    "think_s": (float, "Seconds such a user waits after an answer."),
    "prompt_tokens": (str, f"Tokens of a chat prompt {_LENGTHS}."),
    "output_tokens": (str, f"Most tokens of a chat answer {_LENGTHS}."),
    "embedding_tokens": (str, f"Tokens of each text to embed {_LENGTHS}."),
    "embedding_batch": (str, f"Texts of one embedding request {_LENGTHS}."),
    "turns": (str, f"Turns of a chat session; --rate then counts sessions {_LENGTHS}."),
    "think": (str, f"Seconds from a turn's end until the next should leave {_LENGTHS}."),
    "system_tokens": (str, f"Tokens of the system prompt that a tenant's chats share {_LENGTHS}."),
    "stream": (bool, "Ask for streamed chat answers."),
    "ignore_eos": (bool, "Ask the engine not to end answers early (vLLM, llama.cpp)."),
    "text": (str, "Text file that prompts are taken from."),
    "tenants": (int, "Tenants that requests come from, in the field `user`."),
    "priorities": (_Names(int), "Priorities, drawn evenly; sent unless 0."),
    "max_in_flight": (int, "Most requests out at once; waiting for a slot counts as latency."),
    "timeout_s": (float, "Seconds after which an answer is given up, which is a failure."),
    "warmup_requests": (int, "Requests sent before the clock starts; not in the results."),
    "cut_start_s": (float, "Leave requests due in the first seconds out of the results."),
    "cut_end_s": (float, "Leave requests due in the last seconds out of the results."),
    "rounds": (int, "Rounds of a comparison, each with a seed of its own."),
    "trace_start_s": (float, "Seconds of the trace, from its beginning, to pass over."),
    "time_scale": (float, "How many times as fast the trace is replayed."),
}
TRACE_ONLY = ("trace_start_s", "time_scale")
"""Fields that mean nothing without a trace."""
_CLASS_KEYS = [item.name for item in fields(RequestClass) if item.name != "name"]
_SLO_FLAGS: dict[str, str] = {
    "ttft_ms": "SLO: milliseconds to the first token.",
    "tpot_ms": "SLO: mean milliseconds for each further token.",
    "e2e_ms": "SLO: milliseconds to the end of a chat answer.",
    "embedding_ms": "SLO: milliseconds of an embedding request, in mode hybrid.",
}
_UNSET = {
    "url": "the gateway on this machine",
    "model": "the first one listed",
    "embedding_model": "the first one listed",
    "system_tokens": "none",
    "text": "built-in common words",
    "max_in_flight": "no limit",
}


def _default(name: str) -> str:
    value = getattr(HybridBenchmarkConfig(), name)
    if value is None:
        return _UNSET[name]
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def workload_options(*, leave_out: tuple[str, ...] = ()) -> Callable[[_F], _F]:
    """Add a flag for each field of the configurations to a command, in the table's order.

    Args:
        leave_out: fields that mean nothing to this command.
    """

    def add(command: _F) -> _F:
        for name, text in reversed(_SLO_FLAGS.items()):
            config = HybridBenchmarkConfig().slo
            default = config.embedding_ms if name == "embedding_ms" else getattr(config.llm, name)
            shown = "no limit" if default is None else f"{default:g}"
            command = click.option(
                f"--slo-{name.replace('_', '-')}",
                f"slo_{name}",
                type=float,
                help=f"{text} 0 is no limit.  [default: {shown}]",
            )(command)
        for name, (kind, text) in reversed(_FLAGS.items()):
            if name in leave_out:
                continue
            flag = f"--{name.replace('_', '-')}"
            declaration = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
            command = click.option(
                declaration,
                name,
                type=None if kind is bool else kind,
                default=None,
                help=f"{text}  [default: {_default(name)}]",
            )(command)
        command = click.option(
            "--class",
            "classes",
            metavar="NAME:KEY=VALUE,…",
            multiple=True,
            help="A class of requests with its share and SLO, such as "
            "chat:share=0.7,ttft_ms=1000,tpot_ms=50; repeat it for each. It wins over "
            f"--slo-… and --llm-ratio. Keys: {', '.join(_CLASS_KEYS)}.  [default: none]",
        )(command)
        command = click.option(
            "--mode",
            type=click.Choice(list(MODES)),
            help="Chat alone, or chat and embeddings mixed.  [default: llm, or the file's]",
        )(command)
        return click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="YAML or JSON file with these values; flags win over it.  [default: none]",
        )(command)

    return add


def build_config(
    config_file: Path | None, mode: str | None, options: Mapping[str, Any]
) -> BenchmarkConfig:
    """Return the validated configuration of file and flags; a flag that is None was not given.

    Raises:
        ConfigError: as the configuration's own checks; also a flag that the mode has no use for.
    """
    base: BenchmarkConfig = load_config(config_file) if config_file else MODES[mode or "llm"]()
    if mode and mode != mode_of(base):
        raise ConfigError(f"{config_file} is of mode {mode_of(base)!r}, but --mode says {mode!r}")
    given = {name: value for name, value in options.items() if value not in (None, ())}
    slo = {name[4:]: value or None for name, value in given.items() if name.startswith("slo_")}
    given = {name: value for name, value in given.items() if not name.startswith("slo_")}
    if "arrival" in given:
        given["arrival"] = _pattern(given["arrival"])
    if "classes" in given:
        given["classes"] = tuple(map(parse_class, given["classes"]))
    _check_mode(base, given, slo)
    config = with_options(base, given)
    if slo:
        config = _with_slo(config, slo)
    config.validate()
    return config


def _check_mode(base: BenchmarkConfig, given: Mapping[str, Any], slo: Mapping[str, Any]) -> None:
    if isinstance(base, HybridBenchmarkConfig):
        return
    known = {item.name for item in fields(LLMBenchmarkConfig)}
    useless = [name for name in given if name not in known]
    useless += [f"slo_{name}" for name in slo if name == "embedding_ms"]
    if useless:
        flag = useless[0].replace("_", "-")
        raise ConfigError(f"--{flag} is for embedding requests; add --mode hybrid")


def _pattern(name: str) -> ArrivalPattern:
    try:
        return ArrivalPattern(name)
    except ValueError:
        raise UnknownKeyError(name, PATTERNS, where="--arrival") from None


def _with_slo(config: BenchmarkConfig, limits: dict[str, float | None]) -> BenchmarkConfig:
    slo = config.slo
    if isinstance(slo, LLMSLOConfig):
        return with_options(config, {"slo": replace(slo, **limits)})
    whole = {"embedding_ms": limits.pop("embedding_ms")} if "embedding_ms" in limits else {}
    return with_options(config, {"slo": replace(slo, llm=replace(slo.llm, **limits), **whole)})
