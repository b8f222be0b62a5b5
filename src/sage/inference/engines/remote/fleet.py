"""The engines of one stack on a cluster: the connection, the plan, and what runs each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sage.cluster.connect import RayCluster
from sage.config.paths import UserPaths
from sage.config.settings import Settings
from sage.errors import ResourceError
from sage.inference.engines.remote.config import RemoteConfig
from sage.inference.engines.remote.engine import RayEngine
from sage.inference.engines.remote.order import EngineOrder
from sage.inference.engines.remote.placement import Room
from sage.inference.engines.remote.plan import plan_remote
from sage.inference.engines.remote.rooms import empty_rooms, rooms
from sage.inference.engines.spec import EngineSpec

if TYPE_CHECKING:
    from sage.inference.engines.plan import StackConfig, StackPlan

_LOOKS = 6
_LOOK_S = 0.5


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
        """Return what will run; see `plan_remote`.

        What was freed a moment ago, as by a stack that is started again, is not seen as free at
        once; what the cluster would hold when empty is therefore looked for a few seconds.
        """
        for _ in range(_LOOKS):
            with contextlib.suppress(ResourceError):
                return self._plan(config, rooms(self._cluster), paths, settings)
            self._plan(config, empty_rooms(self._cluster), paths, settings)
            time.sleep(_LOOK_S)
        return self._plan(config, rooms(self._cluster), paths, settings)

    def _plan(
        self, config: StackConfig, free: list[Room], paths: UserPaths, settings: Settings
    ) -> StackPlan:
        plan = plan_remote(config, self._remote, free, paths, settings)
        self._orders = {order.id: order for order in plan.orders}
        return plan

    def engine(self, spec: EngineSpec, logs: Path, *, on_change: Callable[[], None]) -> RayEngine:
        """Return what runs an engine of the plan."""
        return RayEngine(self._orders[spec.id], spec, logs, self._cluster, on_change=on_change)
