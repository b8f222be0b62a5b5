"""What a benchmark does, as one validated value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from sage.benchmark.arrivals import PATTERNS, ArrivalPattern, Arrivals
from sage.benchmark.classes import RequestClass, TrafficClass, check_classes
from sage.benchmark.lengths import Lengths, parse_lengths, parse_times
from sage.benchmark.slo import HybridSLOConfig, LLMSLOConfig
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.gateway.policies import check_policy

_ONE_TURN = Lengths("fixed", 1)
_NO_TIME = Lengths("fixed", 0)


@dataclass(frozen=True, kw_only=True)
class _Benchmark:
    """What both kinds of benchmark have.

    Attributes:
        url: base URL of the gateway, without ``/v1``; None is the gateway on this machine.
        model: the chat model; None is the first LLM the gateway lists.
        policies: in force one after another; none leaves the gateway's own in force.
        requests: how many are issued; None is all of a trace.
        seed: of everything drawn: the same seed gives the same requests at the same moments.
        arrival: how requests are spread over time.
        rate: mean requests per second; for a ramp, the rate at its end.
        cv: coefficient of variation of gamma's gaps.
        burst_size: requests of a burst.
        ramp_from: requests per second at a ramp's start.
        ramp_s: seconds that a ramp takes.
        users: of a closed loop.
        think_s: seconds a user of a closed loop waits after an answer.
        trace: path of a trace to replay in place of arrivals and lengths.
        trace_start_s: seconds of the trace, from its beginning, that are passed over.
        time_scale: how many times as fast a trace is replayed.
        prompt_tokens: distribution of a chat prompt's tokens.
        output_tokens: distribution of the most tokens asked for.
        turns: distribution of the turns of a chat session; ``rate`` then counts sessions.
        think: distribution of the seconds from a turn's end until the next one should leave.
        system_tokens: distribution of the tokens of the tenants' system prompts, each of which
            all chats of its tenant begin with; None for no such prompts.
        stream: whether chat answers are streamed.
        ignore_eos: ask the engine not to end early (vLLM and llama.cpp know it).
        text: path of a text file that prompts are taken from; None is the built-in text.
        tenants: requests come evenly from so many, named in the field ``user``.
        priorities: drawn evenly; sent in the header ``X-Request-Priority`` when not 0.
        classes: what the requests are, by share; none makes them what the other attributes say.
        max_in_flight: at most so many are out at once; the wait for a slot counts as latency.
        timeout_s: seconds after which an answer is given up.
        warmup_requests: sent before the clock starts, one after another; not in the results.
        cut_start_s: requests due in the first seconds are issued but left out of the results.
        cut_end_s: the same for the last seconds.
        rounds: of a comparison; each policy runs once a round, with the round's own seed.
    """

    url: str | None = None
    model: str | None = None
    policies: tuple[str, ...] = ()
    requests: int | None = 100
    seed: int = 0
    arrival: ArrivalPattern = ArrivalPattern.POISSON
    rate: float = 2.0
    cv: float = 2.0
    burst_size: int = 10
    ramp_from: float = 1.0
    ramp_s: float = 30.0
    users: int = 8
    think_s: float = 0.0
    trace: str | None = None
    trace_start_s: float = 0.0
    time_scale: float = 1.0
    prompt_tokens: str = "lognormal:64:0.6"
    output_tokens: str = "lognormal:32:0.6"
    turns: str = "1"
    think: str = "0"
    system_tokens: str | None = None
    stream: bool = True
    ignore_eos: bool = False
    text: str | None = None
    tenants: int = 1
    priorities: tuple[int, ...] = (0,)
    classes: tuple[RequestClass, ...] = ()
    max_in_flight: int | None = None
    timeout_s: float = 120.0
    warmup_requests: int = 3
    cut_start_s: float = 0.0
    cut_end_s: float = 0.0
    rounds: int = 5

    def validate(self) -> None:
        """Raise ConfigError, saying which value is wrong and what it may be."""
        self._check_ranges()
        if not self.priorities:
            raise ConfigError("priorities is empty; name at least one, such as 0")
        if self.requests is None and self.trace is None:
            raise ConfigError("requests is None, but only a trace has an end; give a number")
        self._check_loop()
        for policy in self.policies:
            check_policy(policy)
        if len(set(self.policies)) < len(self.policies):
            raise ConfigError(f"policies names one twice: {', '.join(self.policies)}")
        check_classes(self.classes)
        self._check_trace()
        self.arrivals()
        self.lengths("prompt_tokens")
        self.lengths("output_tokens")
        self._check_sessions()

    def _check_ranges(self) -> None:
        for name in ("requests", "users", "tenants", "max_in_flight", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        for name in ("think_s", "trace_start_s", "warmup_requests", "cut_start_s", "cut_end_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("timeout_s", "time_scale"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be a positive number")

    def _check_loop(self) -> None:
        if self.arrival is not ArrivalPattern.CLOSED:
            return
        if self.trace is not None:
            raise ConfigError("a trace has its own arrival times; a closed loop cannot replay it")
        if self.max_in_flight is not None:
            raise ConfigError("max_in_flight has no meaning in a closed loop; set users")

    def _check_trace(self) -> None:
        if self.trace is None:
            if self.trace_start_s:
                raise ConfigError("trace_start_s is for a trace; name one, or leave it out")
            return
        for one in self.classes:
            for name in ("prompt_tokens", "output_tokens"):
                if getattr(one, name) is not None:
                    raise ConfigError(f"class {one.name}: {name}: the trace says that itself")

    def _check_sessions(self) -> None:
        several = self.lengths("turns") != _ONE_TURN
        if self.think_times() != _NO_TIME and not several:
            raise ConfigError("think is the time between a session's turns; set turns too")
        if several and self.arrival is ArrivalPattern.CLOSED:
            raise ConfigError(
                "turns has no meaning in a closed loop, whose users wait for every answer; "
                "leave it out, or choose another arrival"
            )
        self.system_lengths()
        if self.trace is not None and self.has_sessions:
            raise ConfigError("a trace says what is asked; leave turns and system_tokens out")

    @property
    def has_sessions(self) -> bool:
        """Whether chats have several turns, or system prompts."""
        return self.lengths("turns") != _ONE_TURN or self.system_tokens is not None

    def think_times(self) -> Lengths:
        """Return the distribution of the times between turns, in seconds."""
        return parse_times(self.think, "think")

    def system_lengths(self) -> Lengths | None:
        """Return the distribution of the system prompts' tokens; None for no such prompts."""
        if self.system_tokens is None:
            return None
        return parse_lengths(self.system_tokens, "system_tokens")

    def arrivals(self) -> Arrivals:
        """Return the arrival process."""
        return Arrivals(
            self.arrival, self.rate, self.cv, self.burst_size, self.ramp_from, self.ramp_s
        )

    def lengths(self, name: str) -> Lengths:
        """Return the distribution that the attribute ``name`` writes."""
        return parse_lengths(getattr(self, name), name)


@dataclass(frozen=True, kw_only=True)
class LLMBenchmarkConfig(_Benchmark):
    """Chat requests alone.

    Attributes:
        slo: what a good answer keeps to, where ``classes`` do not say.
    """

    slo: LLMSLOConfig = field(default_factory=LLMSLOConfig)

    def validate(self) -> None:
        """Raise ConfigError, saying which value is wrong and what it may be."""
        super().validate()
        self.slo.validate()
        for one in self.classes:
            if one.traffic is TrafficClass.EMBEDDING:
                raise ConfigError(f"class {one.name} is of embedding requests; use mode hybrid")

    def request_classes(self) -> tuple[RequestClass, ...]:
        """Return the classes of the requests: those named, or else the one there is."""
        return self.classes or (_chat(1.0, self.slo),)


@dataclass(frozen=True, kw_only=True)
class HybridBenchmarkConfig(_Benchmark):
    """Chat and embedding requests, mixed.

    Attributes:
        llm_ratio: share of chat requests, 0 to 1; with ``classes`` their shares decide.
        embedding_model: None is the first embedding model the gateway lists.
        embedding_tokens: distribution of a text's tokens.
        embedding_batch: distribution of the texts of one embedding request.
        slo: what a good answer keeps to, where ``classes`` do not say.
    """

    llm_ratio: float = 0.7
    embedding_model: str | None = None
    embedding_tokens: str = "lognormal:64:0.6"
    embedding_batch: str = "fixed:1"
    slo: HybridSLOConfig = field(default_factory=HybridSLOConfig)

    def validate(self) -> None:
        """Raise ConfigError, saying which value is wrong and what it may be."""
        super().validate()
        if not 0 <= self.llm_ratio <= 1:
            raise ConfigError(f"llm_ratio is {self.llm_ratio}; it must be between 0 and 1")
        if self.trace is not None:
            raise ConfigError("a trace holds chat requests; replay it in mode llm")
        self.lengths("embedding_tokens")
        self.lengths("embedding_batch")
        self.slo.validate()

    def request_classes(self) -> tuple[RequestClass, ...]:
        """Return the classes of the requests: those named, or else chat and embeddings."""
        embedding = RequestClass(
            name=TrafficClass.EMBEDDING.value,
            share=1 - self.llm_ratio,
            traffic=TrafficClass.EMBEDDING,
            e2e_ms=self.slo.embedding_ms,
        )
        return self.classes or (_chat(self.llm_ratio, self.slo.llm), embedding)


def _chat(share: float, slo: LLMSLOConfig) -> RequestClass:
    return RequestClass(
        name=TrafficClass.CHAT.value,
        share=share,
        ttft_ms=slo.ttft_ms,
        tpot_ms=slo.tpot_ms,
        e2e_ms=slo.e2e_ms,
    )


BenchmarkConfig = LLMBenchmarkConfig | HybridBenchmarkConfig

MODES: dict[str, type[LLMBenchmarkConfig] | type[HybridBenchmarkConfig]] = {
    "llm": LLMBenchmarkConfig,
    "hybrid": HybridBenchmarkConfig,
}


def mode_of(config: BenchmarkConfig) -> str:
    """Return ``llm`` or ``hybrid``."""
    return "hybrid" if isinstance(config, HybridBenchmarkConfig) else "llm"


def with_options(config: BenchmarkConfig, options: Mapping[str, Any]) -> BenchmarkConfig:
    """Return the configuration with some of its values replaced.

    Raises:
        UnknownKeyError: an option this configuration does not have.
    """
    check_keys(options, type(config), type(config).__name__)
    return replace(config, **options)


def check_keys(data: Mapping[str, Any], kind: type[Any], where: str) -> None:
    """Raise UnknownKeyError, naming the nearest, for a key that ``kind`` has no field for."""
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    for key, value in data.items():
        if key not in known:
            raise UnknownKeyError(key, known, where=where)
        hint = hints[key]
        kinds: tuple[Any, ...] = (hint, *get_args(hint))
        part = next((one for one in kinds if isinstance(one, type) and is_dataclass(one)), None)
        if part is None:
            continue
        if isinstance(value, Mapping):
            check_keys(value, part, f"{where}, {key}")
        elif isinstance(value, list):
            for number, one in enumerate(value, 1):
                if isinstance(one, Mapping):
                    check_keys(one, part, f"{where}, {key} {number}")


def config_from(data: Mapping[str, Any], where: str) -> BenchmarkConfig:
    """Build a configuration from decoded YAML or JSON.

    Args:
        data: the configuration's fields, and ``mode``: llm (the default) or hybrid.
        where: what it was read from, for messages.

    Raises:
        ConfigError: a key that does not exist, a value of the wrong type, or a wrong value.
    """
    values = dict(data)
    mode = values.pop("mode", "llm")
    if mode not in MODES:
        raise UnknownKeyError(str(mode), MODES, where=f"{where}, mode")
    kind = MODES[mode]
    check_keys(values, kind, where)
    pattern = values.get("arrival")
    if isinstance(pattern, str) and pattern not in PATTERNS:
        raise UnknownKeyError(pattern, PATTERNS, where=f"{where}, arrival")
    try:
        config: BenchmarkConfig = msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None
    config.validate()
    return config


def load_config(path: Path) -> BenchmarkConfig:
    """Read a configuration file: JSON, or YAML where PyYAML is installed.

    Raises:
        ConfigError: it cannot be read, or `config_from` refuses it.
    """
    try:
        raw = path.read_bytes()
        data = msgspec.json.decode(raw) if path.suffix == ".json" else msgspec.yaml.decode(raw)
    except ImportError:
        raise ConfigError(
            f"{path} is YAML, which needs PyYAML: pip install pyyaml, or write it as .json"
        ) from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, not keys with values")
    return config_from(data, str(path))
