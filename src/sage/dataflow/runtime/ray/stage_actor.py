"""The Ray actor of one replica: everything that other processes may ask of it."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

from sage.cluster.opening import load_ray
from sage.dataflow.channel import ChannelClosed
from sage.dataflow.control import Barrier
from sage.dataflow.replica import OPENING
from sage.dataflow.runtime.failure import Failure, failure_of, sendable_error
from sage.dataflow.runtime.ray.link import Route
from sage.dataflow.runtime.ray.orders import Hello, Versions
from sage.dataflow.runtime.ray.outbox import Outbox
from sage.dataflow.runtime.ray.station import Station
from sage.dataflow.runtime.ray.wire import dump, load
from sage.errors import ClusterError, DataflowError

# Seconds after which a thread that wants to run may: three threads and an event loop hand batches
# to each other here, and would else wait for each other's 5 ms.
SWITCH = 0.001


def versions() -> Versions:
    """Return the versions of this process."""
    major, minor, _ = platform.python_version_tuple()
    return Versions(f"{major}.{minor}", version("sage-stack"))


class StageActor:
    """Runs one replica of a stage; an async actor.

    Args:
        name: the replica's; Ray puts it before what the actor prints.
        order: an `Order`, pickled: it is opened where an error in it can be told.
    """

    def __init__(self, name: str, order: bytes) -> None:
        self._name = name
        self._order = order
        self._outbox: Outbox | None = None
        self._station: Station | None = None

    def __repr__(self) -> str:
        return self._name

    async def hello(self, expected: Versions) -> Hello:
        """Say who runs the replica, whose versions must be those that are expected."""
        ray = load_ray()
        failure: Failure | None = None
        try:
            check_versions(expected)
        except ClusterError as error:
            failure = failure_of(error, dump)
        return Hello(
            versions=versions(),
            node=ray.get_runtime_context().get_node_id(),
            address=ray.util.get_node_ip_address(),
            pid=os.getpid(),
            failure=failure,
        )

    async def prepare(self) -> Failure | None:
        """Make the replica; return what went wrong. A user's constructor may take its time."""
        sys.setswitchinterval(SWITCH)
        self._outbox = Outbox(asyncio.get_running_loop())
        try:
            devices = len(load_ray().get_gpu_ids())
            self._station = Station(load(self._order), self._outbox, devices)
        except DataflowError as error:
            return failure_of(error, dump)
        except Exception as error:  # noqa: BLE001 - whatever a user's constructor or module raises
            return Failure("", OPENING, sendable_error(error, dump), [])
        return None

    async def begin(self, routes: Sequence[Route]) -> None:
        """Begin to run, all actors being there."""
        self._at_work.begin(routes)

    async def push(self, seat: int, number: int, payload: bytes) -> int | Failure | None:
        """Take a batch of a producer; see `Door.enter`.

        Returns:
            how many more records are welcome; None when the job was stopped; what went wrong.
        """
        try:
            return await self._at_work.door.enter(seat, number, payload)
        except ChannelClosed:
            return None
        except Exception as error:  # noqa: BLE001 - the records may be of a class unknown here
            return failure_of(error, dump)

    async def barrier(self, barrier: Barrier) -> None:
        """Let the source send a barrier."""
        self._at_work.barrier(barrier)

    async def pause(self, paused: bool) -> None:
        """Hold the source, or let it go on."""
        self._at_work.pause(paused)

    async def stop(self) -> None:
        """Let the source end."""
        self._at_work.stop()

    async def cancel(self) -> None:
        """Stop after the batch at hand."""
        self._at_work.cancel()

    async def report(self, patience: float) -> bytes:
        """Return how the replica stands, when there are news or after so many seconds.

        It is a `Report`, pickled here: Ray would make other classes of those that a script defines.
        """
        assert self._outbox is not None
        await self._outbox.wait(patience)
        return dump(self._at_work.report())

    @property
    def _at_work(self) -> Station:
        assert self._station is not None
        return self._station


def check_versions(expected: Versions) -> None:
    """Raise `ClusterError` unless this process has the versions of the driver."""
    found = versions()
    if found != expected:
        raise ClusterError(
            f"the cluster runs sage-stack {found.sage} on Python {found.python}, and the job was "
            f"submitted by sage-stack {expected.sage} on Python {expected.python}; install the "
            "same on both"
        )
