"""The client of the inference control plane: chat, generate and embed, sync and async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.inference.client.client import UnifiedInferenceClient as UnifiedInferenceClient
    from sage.inference.client.result import InferenceResult as InferenceResult
    from sage.inference.client.streams import AsyncTextStream as AsyncTextStream
    from sage.inference.client.streams import TextStream as TextStream

_HOMES = {
    "AsyncTextStream": "streams",
    "InferenceResult": "result",
    "TextStream": "streams",
    "UnifiedInferenceClient": "client",
}

__all__ = ["AsyncTextStream", "InferenceResult", "TextStream", "UnifiedInferenceClient"]


def __getattr__(name: str) -> Any:
    # The client brings httpx2 with it, so it is loaded when first named.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
