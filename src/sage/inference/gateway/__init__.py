"""The OpenAI-compatible gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.inference.gateway.app import Gateway as Gateway
    from sage.inference.gateway.limits import GatewayLimits as GatewayLimits
    from sage.inference.gateway.server import build_server as build_server

_HOMES = {"Gateway": "app", "GatewayLimits": "limits", "build_server": "server"}

__all__ = ["Gateway", "GatewayLimits", "build_server"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
