"""The engines and what they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sage.errors import ConfigError
from sage.inference.engines.kinds import EngineKind, parse_engine


def test_names_are_the_ones_users_write() -> None:
    """A name parses to its engine, another gets the nearest or all."""
    assert parse_engine("llama.cpp") is EngineKind.LLAMA_CPP
    with pytest.raises(ConfigError, match="did you mean 'vllm'"):
        parse_engine("vlm")
    with pytest.raises(ConfigError, match=r"there are: llama\.cpp, vllm, onnx, sentence-tr"):
        parse_engine("torch")


def test_asking_for_an_engine_imports_none() -> None:
    """Looking whether one is there must not cost its seconds of import."""
    script = (
        "import sys\n"
        "from sage.inference.engines.kinds import EngineKind\n"
        "print([kind.available for kind in EngineKind][0])\n"
        "print({'xllamacpp', 'onnxruntime', 'numpy', 'tokenizers'} & set(sys.modules))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout == "True\nset()\n"


def test_every_engine_names_its_extra() -> None:
    """The error of a missing engine is a command that works."""
    assert {kind.extra for kind in EngineKind} == {"local", "vllm", "hf"}
