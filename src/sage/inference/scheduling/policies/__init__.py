"""The policies that come with SAGE; importing this package registers them."""

from __future__ import annotations

from sage.inference.scheduling.policies import builtin
from sage.inference.scheduling.policies.peers import CacheAware, LeastBusyFirst, RoundRobin
from sage.inference.scheduling.policies.placements import LeastBusy
from sage.inference.scheduling.policy import PolicyFactory, register_policy

DEFAULT = "fifo"

_POLICIES: tuple[tuple[str, PolicyFactory, str], ...] = (
    (
        "fifo",
        builtin.fifo,
        "first come, first served, on the instance with the fewest requests running",
    ),
    ("priority", builtin.priority, "the higher priority first, with ageing"),
    (
        "slo_aware",
        builtin.slo_aware,
        "the least slack first, by learned latency; those that cannot make it last",
    ),
    (
        "cost_optimized",
        builtin.cost_optimized,
        "as slo_aware, on the cheapest instance that still meets the SLO",
    ),
    (
        "adaptive",
        builtin.adaptive,
        "fifo while load is low and SLOs are met, slo_aware while not",
    ),
    (
        "hybrid",
        builtin.hybrid,
        "LLM and embedding calls that someone waits for before bulk, with slots kept for them",
    ),
    ("hybrid_slo", builtin.hybrid_slo, "slo_aware and hybrid together"),
    (
        "round_robin",
        lambda: builtin.by_arrival("round_robin", RoundRobin()),
        "baseline: each instance in turn",
    ),
    ("random", builtin.random, "baseline: any instance, by a seeded chance"),
    (
        "least_requests",
        lambda: builtin.by_arrival("least_requests", LeastBusy()),
        "baseline: the instance with the fewest requests",
    ),
    (
        "power_of_two",
        builtin.power_of_two,
        "baseline: of two instances taken by chance, the one with fewer requests",
    ),
    (
        "prefix_cache_aware",
        lambda: builtin.by_arrival("prefix_cache_aware", CacheAware()),
        "baseline: SGLang's cache-aware routing with its balance thresholds",
    ),
    (
        "lmetric",
        builtin.lmetric,
        "baseline: the least (new and waiting prefill tokens) x (batch + 1)",
    ),
    (
        "least_busy",
        lambda: builtin.by_arrival("least_busy", LeastBusyFirst()),
        "baseline: LiteLLM's least-busy routing",
    ),
    (
        "latency_based",
        builtin.latency_based,
        "baseline: LiteLLM's latency-based routing over the last ten answers",
    ),
    (
        "edf_ttl",
        builtin.edf_ttl,
        "baseline: by priority, then the earliest expiry, as llm-d's flow control",
    ),
)

for _name, _factory, _description in _POLICIES:
    register_policy(_name, _factory, description=_description)
