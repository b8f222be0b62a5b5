"""Embedders by name."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from sage.errors import ConfigError, ModelNotFoundError, UnknownKeyError
from sage.inference.embeddings import EmbeddingFactory
from tests.inference.embeddings.conftest import MINILM

HAS_SENTENCE_TRANSFORMERS = importlib.util.find_spec("sentence_transformers") is not None


def test_available_names_the_methods() -> None:
    """All of them, sorted."""
    assert EmbeddingFactory.available() == ["hash", "hf", "onnx", "openai"]


def test_an_unknown_method_names_the_nearest() -> None:
    """A typo is told what was meant."""
    with pytest.raises(UnknownKeyError, match="did you mean 'onnx'"):
        EmbeddingFactory.create("onxx")


def test_an_unknown_option_names_the_nearest() -> None:
    """Options are those of the embedder; others are errors, not ignored."""
    with pytest.raises(UnknownKeyError, match="did you mean 'threads'"):
        EmbeddingFactory.create("onnx", thread=2)


@pytest.mark.skipif(HAS_SENTENCE_TRANSFORMERS, reason="the extra hf is installed")
@pytest.mark.parametrize("model", ["all-minilm-l6-v2", str(MINILM), "BAAI/bge-m3"])
def test_hf_without_its_extra_says_what_works_now(model: str) -> None:
    """It names the extra and the packaged alternative, and falls back to nothing."""
    with pytest.raises(ConfigError, match=r"sage-stack\[hf\].*'onnx', model='all-minilm-l6-v2'"):
        EmbeddingFactory.create("hf", model=model)


def test_hf_needs_a_model() -> None:
    """There is no default to guess."""
    with pytest.raises(ConfigError, match="model="):
        EmbeddingFactory.create("hf")


@pytest.mark.parametrize("options", [{}, {"model": "m"}, {"base_url": "http://localhost:1/v1"}])
def test_openai_needs_a_model_and_a_url(options: dict[str, str]) -> None:
    """Both are named in the message."""
    with pytest.raises(ConfigError, match="model= and base_url="):
        EmbeddingFactory.create("openai", **options)  # type: ignore[arg-type]


def test_onnx_of_an_unknown_model_says_what_is_installed() -> None:
    """No download is tried."""
    with pytest.raises(ModelNotFoundError, match="all-minilm-l6-v2"):
        EmbeddingFactory.create("onnx", model="no-such-model")


@pytest.mark.engines
@pytest.mark.parametrize("model", [None, "all-minilm-l6-v2", MINILM])
def test_onnx_takes_the_packaged_model_by_default_by_name_or_by_folder(model: object) -> None:
    """All three are the same 384-dimensional model."""
    raw = EmbeddingFactory.create("onnx", model=model)  # type: ignore[arg-type]
    try:
        assert len(raw.embed("one text")) == raw.dim == 384
        assert (raw.name, raw.max_tokens) == ("all-minilm-l6-v2", 256)
    finally:
        raw.close()


def test_the_package_imports_no_heavy_library() -> None:
    """Importing the factory and the adapter loads neither numpy nor an engine."""
    code = (
        "import sys; from sage.common.components.sage_embedding import EmbeddingFactory;"
        "print([m for m in ('numpy', 'onnxruntime', 'tokenizers', 'httpx2', 'torch')"
        " if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
