"""What is known of an engine: how long its steps take, and how much it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from sage.benchmark.simulate.step_times import StepTimes, check_numbers
from sage.errors import ConfigError, UnknownKeyError

_PACKAGE = "sage.benchmark"
_FOLDER = "profiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How much an engine holds.

    Attributes:
        num_gpu_blocks: blocks of KV cache.
        block_size: tokens of a block.
        max_num_seqs: requests of a step.
        max_num_batched_tokens: tokens of a step, prompts and decodes together.
        max_model_len: tokens of the longest request, prompt and answer together.
    """

    num_gpu_blocks: int
    block_size: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 32768

    def __post_init__(self) -> None:
        check_numbers(self, tuple(item.name for item in fields(self)), "f_capacity")
        if self.max_num_batched_tokens <= self.max_num_seqs:
            raise ConfigError(
                f"f_capacity: max_num_batched_tokens is {self.max_num_batched_tokens}; it must be "
                f"above max_num_seqs ({self.max_num_seqs}), or prompts would get no room"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmProfile:
    """An engine that batches continuously: vLLM, or llama.cpp's server.

    Attributes:
        name: for reports.
        times: of a step.
        capacity: its limits.
        asynchronous: whether a step is put together while the one before runs (vLLM V1), so that
            what arrives meanwhile waits for a whole step more.
        prefix_caching: whether it keeps what it has computed for prompts that begin alike.
        preempts: whether a request starts over when the KV cache is full (vLLM). Where it does not
            (llama.cpp), the gateway gives the engine no more tokens than the cache has.
        head_tokens: tokens with which every prompt begins (a chat template's), and which are always
            cached; where ``clears_idle``, as `SlotHeads` says.
        clears_idle: whether idle slots are cleared when a request begins (llama.cpp's, with one
            pool of KV cache for all).
    """

    name: str
    times: StepTimes
    capacity: Capacity
    asynchronous: bool = True
    prefix_caching: bool = True
    preempts: bool = True
    head_tokens: int = 0
    clears_idle: bool = False

    def __post_init__(self) -> None:
        check_numbers(self, (), "scheduling")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingProfile:
    """An engine that embeds batches of texts, each padded to the batch's longest.

    Attributes:
        name: for reports.
        call_ms: milliseconds of any batch.
        token_ms: milliseconds for each padded token.
        h_in: milliseconds from a call's arrival until its texts can be taken.
        h_out: milliseconds from a batch's end until the answer leaves.
        max_tokens: padded tokens of a batch; a longer text runs alone.
        max_texts: texts of a batch.
        workers: batches that run at once, each as fast as one alone.
        by_length: whether texts near in length share a batch (SAGE's embedding server); else
            they are taken as they came.
    """

    name: str
    call_ms: float
    token_ms: float
    h_in: float = 0.0
    h_out: float = 0.0
    max_tokens: int = 512
    max_texts: int = 64
    workers: int = 1
    by_length: bool = True

    def __post_init__(self) -> None:
        check_numbers(self, ("token_ms", "max_tokens", "max_texts", "workers"), "call_model")


@dataclass(frozen=True, slots=True, kw_only=True)
class _EmbeddingModel:
    """The part of a profile's file that tells of an embedding engine."""

    params_ms: Mapping[str, float]
    max_tokens: int = 512
    max_texts: int = 64
    workers: int = 1
    by_length: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scheduling:
    """How an LLM engine forms its steps; the defaults are vLLM's."""

    asynchronous: bool = True
    prefix_caching: bool = True
    preempts: bool = True
    head_tokens: int = 0
    clears_idle: bool = False

    def __post_init__(self) -> None:
        check_numbers(self, (), "scheduling")


@dataclass(frozen=True, slots=True)
class _Source:
    """A decoded file and what it is called in messages."""

    where: str
    name: str
    data: Mapping[str, Any] = field(repr=False)

    def part(self, key: str) -> Mapping[str, Any]:
        value = self.data.get(key)
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{self.where}: it has no object {key!r}; docs/simulator.md lists all"
            )
        return value

    def build(self, kind: type[Any], values: Mapping[str, Any], key: str) -> Any:
        known = [item.name for item in fields(kind)]
        for name in values:
            if name not in known:
                raise UnknownKeyError(name, known, where=f"{self.where}, {key}")
        try:
            return msgspec.convert(values, kind)
        except (msgspec.ValidationError, ConfigError) as error:
            raise ConfigError(f"{self.where}, {key}: {error}") from None


Profile = LlmProfile | EmbeddingProfile


def packaged_profiles() -> list[str]:
    """Return the names of the profiles that come with SAGE."""
    folder = resources.files(_PACKAGE) / _FOLDER
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".json"))


def load_profile(name: str) -> Profile:
    """Read a profile: one that comes with SAGE by its name, or a JSON file by its path.

    Raises:
        ConfigError: there is none, it is not JSON, or a part or a value of it is wrong.
        UnknownKeyError: a packaged profile or a parameter that does not exist.
    """
    if name.endswith(".json") or "/" in name:
        path = Path(name)
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"profile {path}: {error}") from None
        return _read(raw, f"profile {path}", path.stem)
    known = packaged_profiles()
    if name not in known:
        raise UnknownKeyError(name, known, where="profiles (or the path of a .json file)")
    return _read((resources.files(_PACKAGE) / _FOLDER / f"{name}.json").read_bytes(), name, name)


def _read(raw: bytes, where: str, name: str) -> Profile:
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{where} holds {type(data).__name__}, not an object")
    source = _Source(where, name, data)
    kind = data.get("kind", "llm")
    if kind == "llm":
        return _llm(source)
    if kind == "embedding":
        return _embedding(source)
    raise UnknownKeyError(str(kind), ("llm", "embedding"), where=f"{where}, kind")


def _llm(source: _Source) -> LlmProfile:
    model = source.part("step_model_for_a_simulator")
    params = model.get("params_ms")
    if not isinstance(params, Mapping):
        raise ConfigError(f"{source.where}: step_model_for_a_simulator has no object 'params_ms'")
    times = source.build(StepTimes, params, "params_ms")
    measured = source.part("f_capacity")
    known = {item.name for item in fields(Capacity)}
    # A measured profile says more of its engine than is needed here.
    values = {key: value for key, value in measured.items() if key in known}
    meta = source.data.get("meta")
    args = meta.get("engine_args") if isinstance(meta, Mapping) else None
    if isinstance(args, Mapping) and "max_model_len" in args:
        values.setdefault("max_model_len", args["max_model_len"])
    capacity = source.build(Capacity, values, "f_capacity")
    how = source.data.get("scheduling", {})
    if not isinstance(how, Mapping):
        raise ConfigError(f"{source.where}: 'scheduling' is not an object")
    scheduling = source.build(_Scheduling, how, "scheduling")
    return LlmProfile(
        name=source.name,
        times=times,
        capacity=capacity,
        asynchronous=scheduling.asynchronous,
        prefix_caching=scheduling.prefix_caching,
        preempts=scheduling.preempts,
        head_tokens=scheduling.head_tokens,
        clears_idle=scheduling.clears_idle,
    )


def _embedding(source: _Source) -> EmbeddingProfile:
    model = source.build(_EmbeddingModel, source.part("call_model"), "call_model")
    known = ("call", "token", "h_in", "h_out")
    for name in model.params_ms:
        if name not in known:
            raise UnknownKeyError(name, known, where=f"{source.where}, call_model, params_ms")
    missing = [name for name in known[:2] if name not in model.params_ms]
    if missing:
        raise ConfigError(f"{source.where}, call_model: params_ms lacks {missing[0]!r}")
    return EmbeddingProfile(
        name=source.name,
        call_ms=model.params_ms["call"],
        token_ms=model.params_ms["token"],
        h_in=model.params_ms.get("h_in", 0.0),
        h_out=model.params_ms.get("h_out", 0.0),
        max_tokens=model.max_tokens,
        max_texts=model.max_texts,
        workers=model.workers,
        by_length=model.by_length,
    )
