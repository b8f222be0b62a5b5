"""The engines SAGE can run, and what each needs."""

from __future__ import annotations

import importlib.util
from enum import StrEnum

from sage.errors import ConfigError, nearest


class EngineKind(StrEnum):
    """A program that serves a model over the OpenAI routes."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"
    ONNX = "onnx"
    SENTENCE_TRANSFORMERS = "sentence-transformers"

    @property
    def extra(self) -> str:
        """The extra of `sage-stack` that brings it."""
        return _NEEDS[self][1]

    @property
    def available(self) -> bool:
        """Whether the packages it runs on are installed in this environment; none is imported."""
        return all(importlib.util.find_spec(module) is not None for module in _NEEDS[self][0])


# The modules that must be there, and the extra that brings them.
_NEEDS = {
    EngineKind.LLAMA_CPP: (("xllamacpp",), "local"),
    EngineKind.VLLM: (("vllm",), "vllm"),
    EngineKind.ONNX: (("onnxruntime", "tokenizers", "numpy"), "local"),
    EngineKind.SENTENCE_TRANSFORMERS: (("sentence_transformers",), "hf"),
}


def parse_engine(name: str) -> EngineKind:
    """Return the engine of that name.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    try:
        return EngineKind(name)
    except ValueError:
        names = [engine.value for engine in EngineKind]
        close = nearest(name, names)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(names)}"
        raise ConfigError(f"no engine is named {name!r}; {hint}") from None
