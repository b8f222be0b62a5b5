"""The command line that starts an engine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sage.errors import ConfigError
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.llama_cpp import DEFAULT_SLOTS, SLOT_FLAGS
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.resolve import ResolvedModel
from sage.inference.engines.spec import EngineSpec
from sage.inference.scheduling.request import Kind

# A text is a small piece of work that engines batch by themselves; more in flight fills batches.
_EMBEDDING_IN_FLIGHT = 256
_VLLM_IN_FLIGHT = 256


def engine_spec(
    id_: str, model: ResolvedModel, host: str, port: int, options: EngineOptions
) -> EngineSpec:
    """Return what the supervisor must run for a model.

    Raises:
        ConfigError: a flag after ``--`` says anew what this command line settles.
    """
    command, max_requests = _BUILDERS[model.engine](model, host, port, options)
    _check_extra(options.extra)
    return EngineSpec(
        id=id_,
        kind=model.kind,
        engine=model.engine,
        model=model.name,
        host=host,
        port=port,
        command=tuple(command),
        environment=_ENVIRONMENT.get(model.engine, {}),
        max_requests=max_requests,
    )


def unused_options(model: ResolvedModel, options: EngineOptions) -> list[str]:
    """Return the flags that were given but that the model's engine has no use for."""
    return [
        "--" + name.replace("_", "-")
        for name in _UNUSED[model.engine]
        if getattr(options, name) is not None
    ]


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

Command = tuple[list[str], int]


def _llama_cpp(model: ResolvedModel, host: str, port: int, options: EngineOptions) -> Command:
    command = [sys.executable, "-m", "sage.inference.engines.llama_cpp"]
    command += ["--model", model.source, "--name", model.name, "--host", host, "--port", str(port)]
    if model.kind is Kind.EMBEDDING:
        command.append("--embedding")
    if options.max_model_len:
        command += ["--max-model-len", str(options.max_model_len)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    slots = _number_after(SLOT_FLAGS, options.extra)
    return [*command, *options.extra], slots or DEFAULT_SLOTS


def _vllm(model: ResolvedModel, host: str, port: int, options: EngineOptions) -> Command:
    # The module, not `vllm serve`: that command fails in CPU builds.
    command = [options.vllm_python or sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", model.source, "--served-model-name", model.name]
    command += ["--host", host, "--port", str(port), "--scheduling-policy", "priority"]
    for flag, value in (
        ("--gpu-memory-utilization", options.gpu_memory),
        ("--dtype", options.dtype),
        ("--max-model-len", options.max_model_len),
        ("--tensor-parallel-size", options.tensor_parallel_size),
    ):
        if value is not None:
            command += [flag, str(value)]
    batch = _number_after(("--max-num-seqs",), options.extra)
    return [*command, *options.extra], batch or _VLLM_IN_FLIGHT


def _embedding_server(
    model: ResolvedModel, host: str, port: int, options: EngineOptions
) -> Command:
    command = [sys.executable, "-m", "sage.inference.embeddings.server"]
    command += ["--model", model.source, "--name", model.name, "--engine", model.engine.value]
    command += ["--host", host, "--port", str(port)]
    return [*command, *options.extra], _EMBEDDING_IN_FLIGHT


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
    """Return the value of a flag, as ``--flag 8`` or ``--flag=8``; the last one counts."""
    found = None
    for word, following in zip(extra, [*extra[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        text = value if equals else following
        if flag in flags and text.isdecimal() and int(text) > 0:
            found = int(text)
    return found
