"""Load, measure and compare what serves LLM and embedding requests.

The names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.benchmark.arrivals import ArrivalPattern
    from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
    from sage.benchmark.policies import SchedulingPolicy, StrategyAdapter
    from sage.benchmark.slo import HybridSLOConfig, LLMSLOConfig

_HOMES = {
    "ArrivalPattern": "sage.benchmark.arrivals",
    "HybridBenchmarkConfig": "sage.benchmark.config",
    "HybridSLOConfig": "sage.benchmark.slo",
    "LLMBenchmarkConfig": "sage.benchmark.config",
    "LLMSLOConfig": "sage.benchmark.slo",
    "SchedulingPolicy": "sage.benchmark.policies",
    "StrategyAdapter": "sage.benchmark.policies",
}

__all__ = [
    "ArrivalPattern",
    "HybridBenchmarkConfig",
    "HybridSLOConfig",
    "LLMBenchmarkConfig",
    "LLMSLOConfig",
    "SchedulingPolicy",
    "StrategyAdapter",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home at first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sage.benchmark' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
