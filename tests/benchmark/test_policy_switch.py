"""Putting policies in force on a real gateway."""

from __future__ import annotations

import pytest

from sage.benchmark.policies import StrategyAdapter
from sage.errors import UnknownKeyError
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.gateway.unified import UnifiedAPIServer


def test_a_real_gateway_takes_policies() -> None:
    """The gateway's own names can be set and are read back, and afterwards all is as before."""
    with UnifiedAPIServer(UnifiedServerConfig(port=0, scheduling_policy="fifo")) as server:
        adapter = StrategyAdapter(server.url)
        assert {"round_robin", "hybrid_slo"} <= set(adapter.available())
        with adapter.restored() as before:
            adapter.apply("hybrid_slo")
            assert (before, adapter.current()) == ("fifo", "hybrid_slo")
        assert adapter.current() == "fifo"
        with pytest.raises(UnknownKeyError, match="did you mean 'hybrid_slo'"):
            adapter.apply("hybrid_sloo")
