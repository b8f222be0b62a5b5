"""The command line that starts an engine."""

from __future__ import annotations

import logging
import sys

from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.llama_cpp import DEFAULT_SLOTS
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.resolve import ResolvedModel
from sage.inference.engines.spec import EngineSpec
from sage.inference.scheduling.request import Kind

logger = logging.getLogger("sage.engines")

# A text is a small piece of work that engines batch by themselves; more in flight fills batches.
_EMBEDDING_IN_FLIGHT = 256
_VLLM_IN_FLIGHT = 256


def engine_spec(
    id_: str, model: ResolvedModel, host: str, port: int, options: EngineOptions
) -> EngineSpec:
    """Return what the supervisor must run for a model.

    An option that the engine has no use for is named in the log, once for each engine.
    """
    command, max_requests = _BUILDERS[model.engine](model, host, port, options)
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


# vLLM reports its use to its makers unless told not to; a closed network would only see retries.
_ENVIRONMENT = {EngineKind.VLLM: {"VLLM_NO_USAGE_STATS": "1"}}

Command = tuple[list[str], int]


def _llama_cpp(model: ResolvedModel, host: str, port: int, options: EngineOptions) -> Command:
    _say_unused(model, options, "gpu_memory", "dtype", "tensor_parallel_size")
    command = [sys.executable, "-m", "sage.inference.engines.llama_cpp"]
    command += ["--model", model.source, "--name", model.name, "--host", host, "--port", str(port)]
    if model.kind is Kind.EMBEDDING:
        command.append("--embedding")
    if options.max_model_len:
        command += ["--max-model-len", str(options.max_model_len)]
    return [*command, *options.extra], DEFAULT_SLOTS


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
    return [*command, *options.extra], _VLLM_IN_FLIGHT


def _embedding_server(
    model: ResolvedModel, host: str, port: int, options: EngineOptions
) -> Command:
    _say_unused(model, options, "gpu_memory", "dtype", "max_model_len", "tensor_parallel_size")
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


def _say_unused(model: ResolvedModel, options: EngineOptions, *names: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            flag = "--" + name.replace("_", "-")
            logger.warning("%s has no use for %s; it is ignored", model.engine.value, flag)
