"""Keep-alive connection pools, lazily made: one for sync calls, one for each event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx2

from sage.errors import InferenceError
from sage.inference.client.forking import on_fork
from sage.inference.client.transports import Transports
from sage.inference.scheduling.request import Kind

# Servers commonly close idle connections after 5 s: leave first, never send into a closing one.
_KEEPALIVE_S = 4.0
# A proxy cannot reach this machine's loopback, whatever the proxy variables say.
_DIRECT = ("all://localhost", "all://127.0.0.1", "all://[::1]")


@dataclass(slots=True)
class LoopPool:
    """One event loop's connections, and the locks that only make sense inside it."""

    client: httpx2.AsyncClient
    keeper: AsyncGenerator[None, None]
    locks: dict[Kind, asyncio.Lock] = field(
        default_factory=lambda: {kind: asyncio.Lock() for kind in Kind}
    )


def _limits() -> httpx2.Limits:
    # The callers' threads and tasks bound the connections; a pool limit would only add waiting.
    return httpx2.Limits(
        max_connections=None, max_keepalive_connections=64, keepalive_expiry=_KEEPALIVE_S
    )


class Pools:
    """The connections of one client.

    Args:
        transports: what carries requests.
    """

    def __init__(self, transports: Transports) -> None:
        self.transports = transports
        self.closed = False
        self._renew()
        on_fork(self._renew)

    def _renew(self) -> None:
        # After a fork nothing is closed: the connections are the parent's, and so may the locks be.
        self._lock = threading.Lock()
        self._sync: httpx2.Client | None = None
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopPool] = {}
        self.locks = {kind: threading.Lock() for kind in Kind}

    def sync(self) -> httpx2.Client:
        """The pool of sync calls.

        Raises:
            InferenceError: the client was closed.
        """
        with self._lock:
            self._check_open()
            if self._sync is None:
                self._sync = httpx2.Client(
                    transport=self.transports.sync(_limits()),
                    limits=_limits(),
                    mounts=dict.fromkeys(_DIRECT),
                )
            return self._sync

    async def asynchronous(self) -> LoopPool:
        """The pool of the running loop.

        Raises:
            InferenceError: the client was closed.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check_open()
            pool = self._by_loop.get(loop)
            if pool is not None:
                return pool
            client = httpx2.AsyncClient(
                transport=self.transports.asynchronous(_limits()),
                limits=_limits(),
                mounts=dict.fromkeys(_DIRECT),
            )
            pool = LoopPool(client, self._keep(loop, client))
            self._by_loop[loop] = pool
        # A started generator is closed by its loop when that ends (shutdown_asyncgens, which
        # asyncio.run calls), so connections never outlive the loop that owns them.
        await anext(pool.keeper)
        return pool

    async def _keep(
        self, loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._by_loop.pop(loop, None)
            await client.aclose()

    def close(self) -> None:
        """Close everything; pools of loops that run elsewhere are closed there, soon.

        A pool whose loop is stopped is closed by that loop's own end.
        """
        for loop, pool in self._end():
            if loop.is_running():
                loop.call_soon_threadsafe(_close_in_loop, loop, pool)
        self.transports.close()

    async def aclose(self) -> None:
        """Close everything, and wait for the running loop's pool."""
        here = asyncio.get_running_loop()
        for loop, pool in self._end():
            if loop is here:
                await pool.keeper.aclose()
            elif loop.is_running():
                loop.call_soon_threadsafe(_close_in_loop, loop, pool)
        # Embedded engines finish what they do first.
        await asyncio.to_thread(self.transports.close)

    def _end(self) -> list[tuple[asyncio.AbstractEventLoop, LoopPool]]:
        with self._lock:
            self.closed = True
            pools = list(self._by_loop.items())
            client, self._sync = self._sync, None
        if client is not None:
            client.close()
        return pools

    def _check_open(self) -> None:
        if self.closed:
            raise InferenceError("this client was closed; make a new one with create()")


_closing: set[asyncio.Task[None]] = set()


def _close_in_loop(loop: asyncio.AbstractEventLoop, pool: LoopPool) -> None:
    async def close() -> None:
        await pool.keeper.aclose()

    task = loop.create_task(close())
    # The loop holds its tasks weakly.
    _closing.add(task)
    task.add_done_callback(_closing.discard)
