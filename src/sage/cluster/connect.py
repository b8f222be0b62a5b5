"""A connection to a Ray cluster, from the address to an error in one line."""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sage.cluster.address import AddressKind, RayAddress
from sage.cluster.config import RayConfig
from sage.cluster.reaper import Reaper
from sage.config.ports import LOOPBACK
from sage.config.settings import export, temporarily
from sage.errors import ClusterError, ConfigError, NoClusterError, ResourceError

logger = logging.getLogger("sage.cluster")

NAMESPACE = "sage"
_LOOPBACKS = (LOOPBACK, "localhost", "::1")
_PROBE_S = 5.0
_POLL_S = 1.0
# Left to itself, Ray looks for minutes for a cluster that is not there.
_PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": "1",
    "RAY_py_gcs_connect_timeout_s": "5",
}


def load_ray() -> Any:
    """Return the module ``ray``.

    Raises:
        ConfigError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(f"Ray is needed ({error}): pip install 'sage-stack[ray]'") from None


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


class RayCluster:
    """This process's connection to a cluster; a context manager.

    One process has one connection. When it has one already, to the cluster that is asked for or
    with the address ``auto``, that one is used, and left open at the end.

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
        self._owned = False
        self._reaper: Reaper | None = None

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
        if ray.is_initialized():
            _check_same(ray, self.config.where)
        else:
            _open(ray, self.config, log_to_driver=self._log_to_driver)
            self._owned = True
            if self.config.where.kind is AddressKind.LOCAL:
                self._reaper = Reaper(_started())
        self._ray = ray
        try:
            self.require(self.config.num_cpus or 0, self.config.num_gpus or 0)
        except BaseException:
            self.disconnect()
            raise
        return self

    def disconnect(self) -> None:
        """End the connection, and with it what this process started on the cluster.

        Ray that was started for the address ``local`` is stopped.
        """
        ray, self._ray = self._ray, None
        if ray is not None and self._owned:
            self._owned = False
            ray.shutdown()
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.release()

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
        if self.config.where.kind is AddressKind.CLIENT:
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


def _check_same(ray: Any, address: RayAddress) -> None:
    if address.kind is AddressKind.AUTO:
        return
    here = ray.get_runtime_context().gcs_address
    if address.kind is not AddressKind.DIRECT or str(address) != here:
        raise ClusterError(
            f"this process is connected to the Ray cluster at {here} already, and cannot connect "
            f"to {address} too; call ray.shutdown() first"
        )


def _open(ray: Any, config: RayConfig, *, log_to_driver: bool) -> None:
    address = config.where
    options: dict[str, Any] = {"namespace": NAMESPACE}
    if config.runtime_env is not None:
        options["runtime_env"] = dict(config.runtime_env)
    if address.kind is not AddressKind.CLIENT:
        # Its warnings are of its own affairs, such as which thread it is started in.
        options |= {"log_to_driver": log_to_driver, "logging_level": logging.ERROR}
    patience: dict[str, str] = {}
    loopback = address.kind is AddressKind.LOCAL
    if address.kind is AddressKind.LOCAL:
        options |= _local(config)
    else:
        patience = _PATIENCE
        loopback = _probe(address) if address.host else False
    _keep_to_loopback(loopback)
    with _signal_handlers_kept(), temporarily(patience):
        try:
            ray.init(address=str(address), **options)
        except ConnectionError as error:
            raise _no_cluster(address, error) from error
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise ClusterError(
                f"the Ray cluster at {address} cannot be used: {_one_line(error)}"
            ) from error


def _keep_to_loopback(loopback: bool) -> None:
    """Have Ray use the loopback address for this machine, or the one that others reach it by.

    Whoever reaches Ray's ports can run code, so a cluster of one machine is nobody else's. Ray
    does so by itself on systems where it forms no clusters; there is no option for others.
    """
    constants: Any = importlib.import_module("ray._private.ray_constants")
    constants.ENABLE_RAY_CLUSTER = not loopback


def _local(config: RayConfig) -> dict[str, Any]:
    # Ray reports its use to its makers unless told not to.
    export("RAY_USAGE_STATS_ENABLED", "0")
    return {
        "num_cpus": config.num_cpus,
        "num_gpus": config.num_gpus,
        "object_store_memory": config.object_store_memory,
        "include_dashboard": config.dashboard,
    }


def _started() -> list[int]:
    """Return the pids of Ray's processes that this one has started."""
    worker: Any = importlib.import_module("ray._private.worker")
    node = worker._global_node  # noqa: SLF001 - Ray has no other way to ask
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


def _probe(address: RayAddress) -> bool:
    """Look whether anything listens; return whether it does so on the loopback address alone.

    Ray itself looks for this machine's own clusters on the address that others reach it by.
    """
    try:
        _touch(address.host, address.port)
    except OSError as error:
        raise _no_cluster(address, error) from error
    if address.kind is not AddressKind.DIRECT or address.host not in _LOOPBACKS:
        return False
    _keep_to_loopback(False)
    try:
        _touch(load_ray().util.get_node_ip_address(), address.port)
    except OSError:
        return True
    return False


def _touch(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=_PROBE_S).close()


def _no_cluster(address: RayAddress, error: OSError) -> NoClusterError:
    reason = error.strerror or _one_line(error)
    return NoClusterError(
        f"no Ray cluster answers at {address}: {reason}; start one with `ray start --head`, or "
        'give the address "local"'
    )


def take_back_signals() -> None:
    """Have SIGTERM go to this process's own handler alone, after connecting in another thread.

    Ray puts one before it that prints a stack trace. Does nothing outside the main thread.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Put back the handlers that Ray replaces by its own, which would end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)
