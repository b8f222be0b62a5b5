"""A Ray cluster: connecting to it, and what it has."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from sage.dataflow.interrupts import in_main_thread
from sage.dataflow.runtime.ray.config import AUTO, CLIENT, LOCAL, RayConfig
from sage.dataflow.runtime.ray.installed import load_ray
from sage.dataflow.runtime.ray.placement import Needs
from sage.errors import ClusterError

logger = logging.getLogger("sage.dataflow")

# Seconds to wait for somebody to answer at an address; Ray itself tries for minutes.
ANSWER = 5.0
# Seconds from one look to the next at a cluster that has too little.
LOOK = 1.0


class RayCluster:
    """The cluster that a config names.

    Args:
        config: which one, and what is asked of it.
        sleep: waits for seconds.
    """

    # By what address this process is connected: it can be to one cluster.
    _address: ClassVar[str | None] = None

    def __init__(
        self, config: RayConfig | None = None, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.config = config or RayConfig()
        self._sleep = sleep
        self._connected = False

    def connect(self) -> None:
        """Connect this process; does nothing when it is connected to a cluster already.

        Raises:
            ConfigError: Ray is not installed.
            ClusterError: there is no cluster at the address, or it is of another version.
        """
        ray = load_ray()
        address = self.config.address
        if ray.is_initialized():
            self._check_same(ray.get_runtime_context().gcs_address)
            return
        if self.config.endpoint is not None:
            _check_answer(address, *self.config.endpoint)
        settings: dict[str, Any] = {"address": address, "logging_level": logging.WARNING}
        if self.config.runtime_env:
            settings["runtime_env"] = dict(self.config.runtime_env)
        if address == LOCAL:
            settings |= {"num_cpus": self.config.num_cpus, "num_gpus": self.config.num_gpus}
            settings["include_dashboard"] = False
        try:
            with _own_signals():
                ray.init(**settings)
        except Exception as error:
            raise _refusal(address, error) from error
        self._connected = True
        RayCluster._address = address

    def _check_same(self, connected: str) -> None:
        """Raise `ClusterError` if this process is connected to another cluster than was asked."""
        address = self.config.address
        if address not in (AUTO, connected, RayCluster._address):
            raise ClusterError(
                f"this process is connected to the Ray cluster at {connected} and cannot use "
                f"{address} too; call ray.shutdown() before, or leave out the address"
            )

    def disconnect(self) -> None:
        """End the connection; a "local" cluster ends with it."""
        if self._connected:
            self._connected = False
            RayCluster._address = None
            load_ray().shutdown()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()

    def total(self) -> Needs:
        """Return what all nodes have together."""
        return _needs(load_ray().cluster_resources())

    def free(self) -> Needs:
        """Return what nobody has taken."""
        return _needs(load_ray().available_resources())

    def largest(self) -> list[Needs]:
        """Return what each living node has."""
        return [_needs(node["Resources"]) for node in load_ray().nodes() if node["Alive"]]

    def check(self, asked: Needs, each: Mapping[str, Needs]) -> None:
        """See that the cluster has what a job asks for, or wait for it when the config says so.

        Args:
            asked: by all actors together.
            each: by one replica of a stage, which one node must have; by the stage's name.

        Raises:
            ClusterError: it has not.
        """
        self._await_size(Needs(self.config.num_cpus or 0.0, self.config.num_gpus or 0.0))
        lack = self._lack(asked, each)
        if lack and not self.config.wait:
            raise ClusterError(f"{lack}; ask for less, or set ray={{'wait': True}}")
        if lack:
            # Its actors are created all the same: a cluster that grows does so for them.
            logger.warning("%s; the job waits", lack)

    def _await_size(self, wanted: Needs) -> None:
        told = False
        while not wanted.fit(total := self.total()):
            lack = f"the job asks for {wanted}, and the cluster has {total}"
            if not self.config.wait:
                raise ClusterError(f"{lack}; ask for less, or set ray={{'wait': True}}")
            if not told:
                logger.warning("%s; the job waits", lack)
                told = True
            self._sleep(LOOK)

    def _lack(self, asked: Needs, each: Mapping[str, Needs]) -> str:
        """Say what the cluster lacks for the actors; empty for nothing."""
        total = self.total()
        if not asked.fit(total):
            return f"the operators ask for {asked}, and the cluster has {total}"
        nodes = self.largest()
        for name, needs in each.items():
            if not any(needs.fit(node) for node in nodes):
                has = "; ".join(map(str, nodes))
                return f"a replica of {name!r} asks for {needs}, and no node has that: {has}"
        return ""


def _needs(resources: Mapping[str, float]) -> Needs:
    return Needs(
        resources.get("CPU", 0.0), resources.get("GPU", 0.0), int(resources.get("memory", 0))
    )


def _check_answer(address: str, host: str, port: int) -> None:
    try:
        with socket.create_connection((host, port), ANSWER):
            pass
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; see that it runs "
            "and that the port is the right one"
        ) from error


def _refusal(address: str, error: Exception) -> ClusterError:
    """Return what Ray says in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) and address == AUTO:
        return ClusterError(
            f"this machine belongs to no Ray cluster that runs ({text}); start one with "
            "`ray start --head`, or set ray={'address': 'local'}"
        )
    if "ersion mismatch" in text:
        return ClusterError(f"the cluster at {address} is of another version: {text}")
    if address.startswith(CLIENT):
        text += "; see that its client server runs there (`ray start --ray-client-server-port`)"
    elif address not in (AUTO, LOCAL):
        text += f"; from a machine that is no node of it, use '{CLIENT}host:10001'"
    return ClusterError(f"cannot use the Ray cluster at {address}: {text}")


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's answer to SIGTERM, which Ray would replace by an exit."""
    if not in_main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
