"""A connection to a Ray cluster, and what the cluster has."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sage.cluster.address import AddressKind
from sage.cluster.config import RayConfig
from sage.cluster.opening import check_same, load_ray, open_cluster, started
from sage.cluster.reaper import Reaper
from sage.errors import ClusterError, ResourceError

logger = logging.getLogger("sage.cluster")

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node that is alive.

    Attributes:
        id: Ray's, in hexadecimal.
        address: the IP address that the other nodes reach it by.
        hostname: as it names itself.
        cpus: CPUs that it has for Ray, used or not.
        gpus: GPUs, likewise.
        free_cpus: those of its CPUs that nobody holds at the moment.
        free_gpus: GPUs, likewise.
    """

    id: str
    address: str
    hostname: str
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float


class _Connection:
    """The one connection of this process: how many use it, and what ends with it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        # As what it was opened here; None when it was there before.
        self._address: str | None = None
        self._reaper: Reaper | None = None

    def enter(self, ray: Any, config: RayConfig, *, log_to_driver: bool) -> None:
        with self.lock:
            address = str(config.where)
            if ray.is_initialized():
                if address != self._address:
                    check_same(ray, config.where)
            else:
                open_cluster(ray, config, log_to_driver=log_to_driver)
                self.users, self._address = 0, address
                if config.where.kind is AddressKind.LOCAL:
                    self._reaper = Reaper(started())
            self.users += 1

    def leave(self, ray: Any) -> None:
        with self.lock:
            self.users -= 1
            if self.users or self._address is None:
                return
            self._address = None
            ray.shutdown()
            reaper, self._reaper = self._reaper, None
            if reaper is not None:
                reaper.release()


_connection = _Connection()


class RayCluster:
    """This process's connection to a cluster; a context manager.

    One process has one connection, which all that ask for the same cluster, or for ``auto``,
    share; it ends with the last of them. One that was there before the first stays open.

    Args:
        config: which cluster, and what it must have.
        log_to_driver: whether what workers print is printed here too.
        on_wait: called with the reason when waiting for resources begins, and when the reason
            changes.
        pause: waits for seconds between two looks.
    """

    def __init__(
        self,
        config: RayConfig,
        *,
        log_to_driver: bool = False,
        on_wait: Callable[[str], None] = logger.warning,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.config = config
        self._log_to_driver = log_to_driver
        self._on_wait = on_wait
        self._pause = pause
        self._ray: Any = None

    @property
    def ray(self) -> Any:
        """The module ``ray``, connected."""
        if self._ray is None:
            raise ClusterError("not connected to a Ray cluster; connect first")
        return self._ray

    @property
    def address(self) -> str:
        """The address as it was asked for."""
        return str(self.config.where)

    def connect(self) -> Self:
        """Connect, starting Ray for the address ``local``; wait for resources where asked to.

        Raises:
            NoClusterError: nothing answers at the address.
            ResourceError: the cluster has less than was asked, and waiting was not.
            ClusterError: what answers cannot be used: another version of Ray or Python, or this
                process is connected to another cluster.
            ConfigError: Ray is not installed.
        """
        ray = load_ray()
        if self._ray is None:
            _connection.enter(ray, self.config, log_to_driver=self._log_to_driver)
            self._ray = ray
        try:
            self.require(self.config.num_cpus or 0, self.config.num_gpus or 0)
        except BaseException:
            self.disconnect()
            raise
        return self

    def disconnect(self) -> None:
        """End the connection, unless others use it, and with it what it started on the cluster.

        Ray that was started for the address ``local`` is stopped.
        """
        ray, self._ray = self._ray, None
        if ray is not None:
            _connection.leave(ray)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disconnect()

    def nodes(self) -> list[ClusterNode]:
        """Return the nodes that are alive."""
        free = self._free()
        return [
            ClusterNode(
                id=node["NodeID"],
                address=node["NodeManagerAddress"],
                hostname=node["NodeManagerHostname"],
                cpus=node["Resources"].get("CPU", 0.0),
                gpus=node["Resources"].get("GPU", 0.0),
                free_cpus=free.get(node["NodeID"], {}).get("CPU", 0.0),
                free_gpus=free.get(node["NodeID"], {}).get("GPU", 0.0),
            )
            for node in self.ray.nodes()
            if node["Alive"]
        ]

    def _free(self) -> dict[str, dict[str, float]]:
        """Return what nobody holds, by node; it has no public name in Ray."""
        if self.ray.util.client.ray.is_connected():
            # The client has no such call: a task on the cluster makes it.
            look = self.ray.remote(num_cpus=0)(_free_resources)
            free: dict[str, dict[str, float]] = self.ray.get(look.remote())
            return free
        return _free_resources()

    def resources(self) -> dict[str, float]:
        """Return what the living nodes have together, by Ray's names (CPU, GPU, memory…)."""
        return dict(self.ray.cluster_resources())

    def available(self) -> dict[str, float]:
        """Return what of that nobody holds at the moment."""
        return dict(self.ray.available_resources())

    def shortage(self, cpus: float, gpus: float) -> str | None:
        """Say in what the cluster falls short of so many CPUs and GPUs; None when it does not."""
        has = self.resources()
        short = [
            f"{asked:g} {name}s are asked for and the Ray cluster at {self.address} has "
            f"{has.get(name, 0):g}"
            for name, asked in (("CPU", cpus), ("GPU", gpus))
            if asked > has.get(name, 0)
        ]
        return ", ".join(short) or None

    def require(self, cpus: float, gpus: float) -> None:
        """Return when the cluster has so many CPUs and GPUs, used or not.

        Raises:
            ResourceError: it has less, and ``wait`` is off.
        """
        self.wait_for(lambda: self.shortage(cpus, gpus))

    def wait_for(self, shortage: Callable[[], str | None]) -> None:
        """Return when nothing is short any more; with ``wait`` off, nothing may be short now.

        Args:
            shortage: says what is short, or None.

        Raises:
            ResourceError: something is short, and ``wait`` is off.
        """
        told = None
        while (short := shortage()) is not None:
            if not self.config.wait:
                raise ResourceError(f"{short}; ask for less, add nodes, or wait for them (wait)")
            if short != told:
                self._on_wait(f"waiting: {short}")
                told = short
            self._pause(_POLL_S)


def _free_resources() -> dict[str, dict[str, float]]:
    state = importlib.import_module("ray._private.state")
    free: dict[str, dict[str, float]] = state.available_resources_per_node()
    return free
