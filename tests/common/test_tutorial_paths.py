"""Every import of the tutorial that this version has, as written there."""

from __future__ import annotations

import importlib

import pytest

PATHS = {
    "sage.common.components.sage_llm": (
        "BackendInstanceConfig",
        "ControlPlaneVLLMService",
        "SchedulingPolicyType",
        "UnifiedAPIServer",
        "UnifiedInferenceClient",
        "UnifiedServerConfig",
    ),
    "sage.common.config.network": ("detect_china_mainland", "ensure_hf_mirror_configured"),
    "sage.common.config.ports": ("SagePorts",),
    "sage.common.core.functions.map_function": ("MapFunction",),
    "sage.kernel.api.local_environment": ("LocalEnvironment",),
}


@pytest.mark.parametrize("path", PATHS)
def test_path(path: str) -> None:
    """The module is there, with its names."""
    module = importlib.import_module(path)
    for name in PATHS[path]:
        assert getattr(module, name).__name__ == name
