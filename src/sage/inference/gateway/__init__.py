"""The OpenAI-compatible gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.inference.gateway.app import Gateway as Gateway
    from sage.inference.gateway.config import BackendInstanceConfig as BackendInstanceConfig
    from sage.inference.gateway.config import UnifiedServerConfig as UnifiedServerConfig
    from sage.inference.gateway.config_file import load_config as load_config
    from sage.inference.gateway.limits import GatewayLimits as GatewayLimits
    from sage.inference.gateway.server import build_server as build_server
    from sage.inference.gateway.unified import UnifiedAPIServer as UnifiedAPIServer

_HOMES = {
    "BackendInstanceConfig": "config",
    "Gateway": "app",
    "GatewayLimits": "limits",
    "UnifiedAPIServer": "unified",
    "UnifiedServerConfig": "config",
    "build_server": "server",
    "load_config": "config_file",
}

__all__ = [
    "BackendInstanceConfig",
    "Gateway",
    "GatewayLimits",
    "UnifiedAPIServer",
    "UnifiedServerConfig",
    "build_server",
    "load_config",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
