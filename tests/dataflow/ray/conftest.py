"""A Ray cluster of two raylets on this machine, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MODELS_DIR
from tests.ray_nodes import ray_nodes

from sage.dataflow.runtime.ray import JobCluster, RayJobConfig

HERE = Path(__file__).parent
# Where actors find the modules of these tests: their functions go there by name.
MODULES = (HERE, HERE.parent)


@pytest.fixture(scope="session")
def raylets() -> Iterator[Any]:
    """The cluster; gone at the end."""
    nodes = ((4, 2), (4, 0))
    with ray_nodes(*nodes, models=MODELS_DIR, slow_ms=10_000, modules=MODULES) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def ray_cluster(raylets: Any) -> Iterator[JobCluster]:
    """A connection to it, which other modules' clusters must not find open."""
    with JobCluster(RayJobConfig(address=raylets.address)) as connected:
        yield connected
