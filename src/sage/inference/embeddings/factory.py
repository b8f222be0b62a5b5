"""Embedders by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sage.errors import ConfigError, UnknownKeyError
from sage.inference.embeddings.adapter import SingleTextEmbedder
from sage.inference.embeddings.embedder import Embedder


class EmbeddingFactory:
    """Makes embedders; each heavy library is imported only when its embedder is made."""

    @staticmethod
    def available() -> list[str]:
        """Return the methods that ``create`` knows."""
        return sorted(_BUILDERS)

    @staticmethod
    def create(
        method: str, *, model: str | Path | None = None, **options: Any
    ) -> SingleTextEmbedder:
        """Make an embedder for one text at a time.

        Args:
            method: "onnx" (onnxruntime), "hf" (sentence-transformers), "openai" (any endpoint
                with OpenAI's /embeddings) or "hash" (no model; for tests only).
            model: "onnx": a packaged model's name or a folder, default the packaged model.
                "hf": a hub id or a folder. "openai": the model's name at the endpoint.
            **options: those of OnnxEmbedder, SentenceTransformersEmbedder, OpenAIEmbedder or
                HashEmbedder.

        Raises:
            UnknownKeyError: no such method or option; names the nearest.
            ConfigError: the method needs a library or an option that is missing.
            ModelError: the model is not there or cannot be used.
        """
        builder = _BUILDERS.get(method)
        if builder is None:
            raise UnknownKeyError(method, _BUILDERS, where="EmbeddingFactory.create")
        return SingleTextEmbedder(builder(model, options))


def _onnx(model: str | Path | None, options: dict[str, Any]) -> Embedder:
    from sage.inference.embeddings.onnx import OnnxEmbedder

    _check_options("onnx", OnnxEmbedder, options)
    if model is not None and Path(model).is_dir():
        return OnnxEmbedder(model, **options)
    name, path = _packaged(None if model is None else str(model))
    return OnnxEmbedder(path, **{"name": name, **options})


def _packaged(model: str | None) -> tuple[str, Path]:
    """Return the name and folder of a packaged model."""
    from sage.inference.engines.resolve import resolve_model
    from sage.inference.scheduling.request import Kind

    resolved = resolve_model(model, Kind.EMBEDDING, engine="onnx")
    if resolved.path is None:
        raise ConfigError(
            f"{model!r} is not a packaged model or a folder, and the onnx engine downloads "
            "nothing; see `sage models list`"
        )
    return resolved.name, resolved.path


def _hf(model: str | Path | None, options: dict[str, Any]) -> Embedder:
    from sage.inference.embeddings.hf import (
        SentenceTransformersEmbedder,
    )

    _check_options("hf", SentenceTransformersEmbedder, options)
    if model is None:
        raise ConfigError(
            "EmbeddingFactory.create('hf') needs model=, a hub id or a folder; "
            "create('onnx') has a packaged default"
        )
    return SentenceTransformersEmbedder(model, **options)


def _openai(model: str | Path | None, options: dict[str, Any]) -> Embedder:
    from sage.inference.embeddings.openai import OpenAIEmbedder

    _check_options("openai", OpenAIEmbedder, options)
    if model is None or "base_url" not in options:
        raise ConfigError(
            "EmbeddingFactory.create('openai') needs model= and base_url=, "
            "such as base_url='http://localhost:8090/v1'"
        )
    return OpenAIEmbedder(str(model), **options)


def _hash(model: str | Path | None, options: dict[str, Any]) -> Embedder:
    from sage.inference.embeddings.hashing import HashEmbedder

    _check_options("hash", HashEmbedder, options)
    if model is not None:
        options = {"name": str(model), **options}
    return HashEmbedder(**options)


def _check_options(method: str, kind: Callable[..., object], options: dict[str, Any]) -> None:
    known = set(inspect.signature(kind).parameters) - {"model"}
    for key in options:
        if key not in known:
            raise UnknownKeyError(key, known, where=f"EmbeddingFactory.create({method!r})")


_BUILDERS: dict[str, Callable[[str | Path | None, dict[str, Any]], Embedder]] = {
    "hash": _hash,
    "hf": _hf,
    "onnx": _onnx,
    "openai": _openai,
}
