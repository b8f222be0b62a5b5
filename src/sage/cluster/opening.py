"""Opening a connection to a Ray cluster, with errors in one line."""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from sage.cluster.address import AddressKind, RayAddress, parse_address
from sage.cluster.config import RayConfig
from sage.cluster.probe import check_answers, no_cluster
from sage.config.ports import LOOPBACK
from sage.config.settings import export, temporarily
from sage.errors import ClusterError, ConfigError

NAMESPACE = "sage"
_LOOPBACKS = (LOOPBACK, "localhost", "::1")
_PROBE_S = 5.0
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


def check_same(ray: Any, address: RayAddress) -> None:
    """Raise ClusterError when the connection that there is, is to another cluster."""
    if address.kind is AddressKind.AUTO:
        return
    here = ray.get_runtime_context().gcs_address
    if address.kind is not AddressKind.DIRECT or str(address) != here:
        raise ClusterError(
            f"this process is connected to the Ray cluster at {here} already, and cannot connect "
            f"to {address} too; call ray.shutdown() first"
        )


def open_cluster(ray: Any, config: RayConfig, *, log_to_driver: bool) -> None:
    """Connect this process; see `RayCluster.connect` for what it raises."""
    address = _found(config.where)
    options: dict[str, Any] = {"namespace": NAMESPACE}
    # Or it would replace this process's `print` by one of its own.
    export("RAY_TQDM_PATCH_PRINT", "0")
    if config.runtime_env is not None:
        options["runtime_env"] = dict(config.runtime_env)
    if address.kind is not AddressKind.CLIENT:
        # Its warnings are of its own affairs, such as which thread it is started in.
        options |= {"log_to_driver": log_to_driver, "logging_level": logging.ERROR}
    else:
        # The client server takes no such option, and this would name those that it does take.
        logging.getLogger("ray.client_builder").setLevel(logging.WARNING)
    patience: dict[str, str] = {}
    loopback = address.kind is AddressKind.LOCAL
    if address.kind is AddressKind.LOCAL:
        options |= _local(config)
    else:
        patience = _PATIENCE
        loopback = _probe(ray, address) if address.host else False
    _keep_to_loopback(loopback)
    with _signal_handlers_kept(), temporarily(patience):
        try:
            ray.init(address=str(address), **options)
        except ConnectionError as error:
            raise no_cluster(address, _one_line(error)) from error
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise ClusterError(
                f"the Ray cluster at {address} cannot be used: {_one_line(error)}"
            ) from error


def _found(address: RayAddress) -> RayAddress:
    """Return where ``auto`` leads, as Ray looks for it; any other address as it is."""
    if address.kind is not AddressKind.AUTO:
        return address
    services: Any = importlib.import_module("ray._private.services")
    try:
        found = parse_address(services.get_ray_address_from_environment(str(address), None))
    except ConnectionError as error:
        reason = "RAY_ADDRESS names none, and this machine belongs to none"
        raise no_cluster(address, reason) from error
    return found if found.host else address


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


def started() -> list[int]:
    """Return the pids of Ray's processes that this one has started."""
    worker: Any = importlib.import_module("ray._private.worker")
    node = worker._global_node  # noqa: SLF001 - Ray has no other way to ask
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


def _probe(ray: Any, address: RayAddress) -> bool:
    """Look whether Ray listens; return whether it does so on the loopback address alone.

    Ray itself looks for this machine's own clusters on the address that others reach it by.
    """
    try:
        _touch(address.host, address.port)
    except OSError as error:
        raise no_cluster(address, error.strerror or _one_line(error)) from error
    check_answers(ray, address)
    if address.kind is not AddressKind.DIRECT or address.host not in _LOOPBACKS:
        return False
    _keep_to_loopback(False)
    try:
        _touch(ray.util.get_node_ip_address(), address.port)
    except OSError:
        return True
    return False


def _touch(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=_PROBE_S).close()


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
