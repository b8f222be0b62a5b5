"""The engines of one stack on a cluster: the connection, the plan, and what runs each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sage.cluster.connect import RayCluster
from sage.config.paths import UserPaths
from sage.config.settings import Settings
from sage.inference.engines.remote.config import RemoteConfig
from sage.inference.engines.remote.engine import RayEngine
from sage.inference.engines.remote.order import EngineOrder
from sage.inference.engines.remote.plan import plan_remote
from sage.inference.engines.remote.rooms import rooms
from sage.inference.engines.spec import EngineSpec

if TYPE_CHECKING:
    from sage.inference.engines.plan import StackConfig, StackPlan


class Fleet:
    """A stack's part of a Ray cluster.

    The actors belong to this process's connection: when the process is gone, however it went, Ray
    ends them, and each actor's guard its engine.

    Args:
        remote: which cluster, and how much of it each engine takes.
    """

    def __init__(self, remote: RemoteConfig) -> None:
        self._remote = remote
        self._cluster = RayCluster(remote.cluster)
        self._orders: dict[str, EngineOrder] = {}

    def connect(self) -> None:
        """Connect to the cluster; with the address ``local``, start it.

        Raises:
            ClusterError: there is none, or it cannot be used.
            ConfigError: Ray is not installed.
        """
        self._cluster.connect()

    def disconnect(self) -> None:
        """End the connection; Ray that was started for it is stopped."""
        self._cluster.disconnect()

    def plan(self, config: StackConfig, paths: UserPaths, settings: Settings) -> StackPlan:
        """Return what will run; see `plan_remote`."""
        plan = plan_remote(config, self._remote, rooms(self._cluster), paths, settings)
        self._orders = {order.id: order for order in plan.orders}
        return plan

    def engine(self, spec: EngineSpec, logs: Path, *, on_change: Callable[[], None]) -> RayEngine:
        """Return what runs an engine of the plan."""
        return RayEngine(self._orders[spec.id], spec, logs, self._cluster, on_change=on_change)
