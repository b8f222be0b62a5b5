"""The policies that come with SAGE, by the names users write."""

from __future__ import annotations

from enum import StrEnum


class SchedulingPolicyType(StrEnum):
    """Values are the names that ``make_policy`` knows; users' own policies have names alone."""

    FIFO = "fifo"
    PRIORITY = "priority"
    SLO_AWARE = "slo_aware"
    COST_OPTIMIZED = "cost_optimized"
    ADAPTIVE = "adaptive"
    HYBRID = "hybrid"
    HYBRID_SLO = "hybrid_slo"
