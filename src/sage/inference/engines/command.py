"""The command line that starts an engine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from sage.errors import ConfigError
from sage.inference.engines.context import countable_tokens
from sage.inference.engines.gpu import has_large_gpu
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.llama_cpp import (
    BATCH_TOKENS,
    DEFAULT_SLOTS,
    SLOT_FLAGS,
    context_of,
    embedding_batch,
)
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.resolve import ResolvedModel
from sage.inference.engines.spec import EngineSpec
from sage.inference.scheduling.request import Kind

# A text is a small piece of work that engines batch by themselves; more in flight fills batches.
_EMBEDDING_IN_FLIGHT = 256
# Tokens of a batch and tokens that may wait, as sage.inference.embeddings.server has them.
_EMBEDDING_BATCH = 512
_EMBEDDING_QUEUE = 1_048_576
# Batches for each core that an embedding engine is sent ahead: from fewer texts it could not choose
# neighbours in length, and its cores would run dry between two answers.
_BATCHES_AHEAD = 4
# Requests, and prompt tokens of a step, that vLLM's API server takes by default, and on large GPUs.
_VLLM_DEFAULTS = (256, 2048)
_VLLM_LARGE = (1024, 8192)


@dataclass(frozen=True, slots=True)
class _Engine:
    """A command line and what the engine can hold under it; see EngineSpec."""

    command: list[str]
    max_requests: int
    max_tokens: int | None
    chunk_tokens: int
    max_request_tokens: int | None = None
    priorities: bool = False
    note: str = ""


def engine_spec(
    id_: str,
    model: ResolvedModel,
    host: str,
    port: int,
    options: EngineOptions,
    *,
    engines: int = 1,
) -> EngineSpec:
    """Return what the supervisor must run for a model.

    Args:
        id_: its name among the instances.
        model: what it serves.
        host: address it listens on.
        port: port it listens on.
        options: what the user asked for.
        engines: how many engines of the model are to share the free memory.

    Raises:
        ConfigError: a flag after ``--`` says anew what this command line settles.
    """
    built = _BUILDERS[model.engine](model, host, port, options, engines)
    _check_extra(options.extra)
    return EngineSpec(
        id=id_,
        kind=model.kind,
        engine=model.engine,
        model=model.name,
        host=host,
        port=port,
        command=tuple(built.command),
        environment=_ENVIRONMENT.get(model.engine, {}),
        max_requests=built.max_requests,
        max_tokens=built.max_tokens,
        max_request_tokens=built.max_request_tokens,
        chunk_tokens=built.chunk_tokens,
        priorities=built.priorities,
        note=built.note,
    )


def unused_options(model: ResolvedModel, options: EngineOptions) -> list[str]:
    """Return the flags that were given but that the model's engine has no use for."""
    return [
        "--" + name.replace("_", "-")
        for name in _UNUSED[model.engine]
        if getattr(options, name) is not None
    ]


def threads_in(extra: Sequence[str]) -> int | None:
    """Return how many CPU threads the flags after ``--`` ask for, or None when they do not."""
    return _number_after(("--threads",), extra)


_UNUSED = {
    EngineKind.LLAMA_CPP: ("gpu_memory", "dtype", "tensor_parallel_size"),
    EngineKind.VLLM: (),
    EngineKind.ONNX: ("gpu_memory", "dtype", "max_model_len", "tensor_parallel_size"),
    EngineKind.SENTENCE_TRANSFORMERS: (
        "gpu_memory",
        "dtype",
        "max_model_len",
        "tensor_parallel_size",
    ),
}

_ENVIRONMENT = {
    # vLLM reports its use to its makers unless told not to; a closed network would see retries.
    EngineKind.VLLM: {"VLLM_NO_USAGE_STATS": "1"},
}

# The gateway, the state and the health checks count on these.
_SETTLED = ("--model", "--served-model-name", "--name", "--host", "--port")


def _llama_cpp(
    model: ResolvedModel, host: str, port: int, options: EngineOptions, engines: int
) -> _Engine:
    command = [sys.executable, "-m", "sage.inference.engines.llama_cpp"]
    command += ["--model", model.source, "--name", model.name, "--host", host, "--port", str(port)]
    if model.kind is Kind.EMBEDDING:
        command.append("--embedding")
    if options.threads:
        command += ["--threads", str(options.threads)]
    extra = options.extra
    slots = _number_after(SLOT_FLAGS, extra) or DEFAULT_SLOTS
    asked = _number_after(("--max-model-len",), extra) or options.max_model_len
    # Decided here and not by the engine, so that the scheduler counts with the same pool, also
    # after a restart with other memory free.
    plan = context_of(Path(model.source), slots, asked, engines=engines)
    command += ["--max-model-len", str(plan.request), "--pool", str(plan.pool)]
    pool = _number_after(("--n-ctx", "--n_ctx"), extra) or plan.pool
    batch = embedding_batch(plan) if model.kind is Kind.EMBEDDING else BATCH_TOKENS
    note = plan.reason and f"requests are limited to {plan.request} tokens: {plan.reason}"
    return _Engine(
        [*command, *extra],
        slots,
        countable_tokens(pool),
        _number_after(("--n-batch", "--n_batch"), extra) or batch,
        max_request_tokens=plan.request,
        note=note,
    )


def _vllm(
    model: ResolvedModel,
    host: str,
    port: int,
    options: EngineOptions,
    engines: int,  # noqa: ARG001 - one signature for all; a GPU's memory is shared by --gpu-memory
) -> _Engine:
    # The module, not `vllm serve`: that command fails in CPU builds.
    command = [options.vllm_python or sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", model.source, "--served-model-name", model.name]
    command += ["--host", host, "--port", str(port)]
    order = _text_after(("--scheduling-policy", "--scheduling_policy"), options.extra)
    if order is None:
        command += ["--scheduling-policy", "priority"]
    for flag, value in (
        ("--gpu-memory-utilization", options.gpu_memory),
        ("--dtype", options.dtype),
        ("--max-model-len", options.max_model_len),
        ("--tensor-parallel-size", options.tensor_parallel_size),
    ):
        if value is not None:
            command += [flag, str(value)]
    requests = _number_after(("--max-num-seqs", "--max_num_seqs"), options.extra)
    batch = _number_after(("--max-num-batched-tokens", "--max_num_batched_tokens"), options.extra)
    usual = _VLLM_LARGE if has_large_gpu() else _VLLM_DEFAULTS
    return _Engine(
        [*command, *options.extra],
        requests or usual[0],
        None,  # it preempts and queues by itself when its cache is full, and tells of it
        batch or usual[1],
        priorities=order in (None, "priority"),
    )


def _embedding_server(
    model: ResolvedModel,
    host: str,
    port: int,
    options: EngineOptions,
    engines: int,  # noqa: ARG001 - one signature for all; it has no pool to share out
) -> _Engine:
    command = [sys.executable, "-m", "sage.inference.embeddings.server"]
    command += ["--model", model.source, "--name", model.name, "--engine", model.engine.value]
    command += ["--host", host, "--port", str(port)]
    extra = options.extra
    batch = _number_after(("--max-batch-tokens",), extra) or _EMBEDDING_BATCH
    workers = _number_after(("--threads",), extra) or psutil.cpu_count() or 1
    return _Engine(
        [*command, *extra],
        _EMBEDDING_IN_FLIGHT,
        _number_after(("--max-queue-tokens",), extra) or _EMBEDDING_QUEUE,
        2 * _BATCHES_AHEAD * workers * batch,  # half of it is what a policy keeps waiting there
    )


_BUILDERS = {
    EngineKind.LLAMA_CPP: _llama_cpp,
    EngineKind.VLLM: _vllm,
    EngineKind.ONNX: _embedding_server,
    EngineKind.SENTENCE_TRANSFORMERS: _embedding_server,
}


def _check_extra(extra: Sequence[str]) -> None:
    for word in extra:
        flag = word.partition("=")[0].replace("_", "-")
        if flag in _SETTLED:
            raise ConfigError(f"{flag} after -- would contradict the stack; give it before the --")


def _number_after(flags: Sequence[str], extra: Sequence[str]) -> int | None:
    """Return the value of a flag that stands for a count, or None when it is none."""
    text = _text_after(flags, extra)
    return int(text) if text is not None and text.isdecimal() and int(text) > 0 else None


def _text_after(flags: Sequence[str], extra: Sequence[str]) -> str | None:
    """Return the value of a flag, as ``--flag 8`` or ``--flag=8``; the last one counts."""
    found = None
    for word, following in zip(extra, [*extra[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if flag in flags:
            found = value if equals else following
    return found
