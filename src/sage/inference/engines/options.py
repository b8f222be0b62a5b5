"""What a user may ask of an engine, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass

from sage.errors import ConfigError

DTYPES = ("auto", "bfloat16", "half", "float16", "float32")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Options of the command line that concern the engines of a model.

    Attributes:
        gpu_memory: share of the GPU's memory for the engine, above 0 up to 1 (vLLM).
        dtype: precision of weights and activations (vLLM).
        max_model_len: longest request, prompt and answer together, in tokens.
        tensor_parallel_size: GPUs a model is split over (vLLM).
        threads: CPU threads of one engine (llama.cpp); None lets the engine choose.
        extra: arguments handed to the engine as they are.
        vllm_python: interpreter of the environment that has vLLM; None is this one.
    """

    gpu_memory: float | None = None
    dtype: str | None = None
    max_model_len: int | None = None
    tensor_parallel_size: int | None = None
    threads: int | None = None
    extra: tuple[str, ...] = ()
    vllm_python: str | None = None

    def __post_init__(self) -> None:
        if self.gpu_memory is not None and not 0 < self.gpu_memory <= 1:
            raise ConfigError(f"--gpu-memory is a share above 0 up to 1, not {self.gpu_memory}")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ConfigError(f"--dtype {self.dtype!r} is none of {', '.join(DTYPES)}")
        for flag, value in (
            ("--max-model-len", self.max_model_len),
            ("--tensor-parallel-size", self.tensor_parallel_size),
            ("threads", self.threads),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"{flag} must be at least 1, not {value}")
