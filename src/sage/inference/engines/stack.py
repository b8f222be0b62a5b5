"""What ``sage llm serve`` runs: supervised engines and the gateway, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sage.cluster.opening import take_back_signals
from sage.config.listeners import listen
from sage.config.lock import exclusive_now
from sage.config.paths import UserPaths, user_paths
from sage.config.processes import created
from sage.config.settings import load_settings
from sage.errors import AlreadyRunningError, EngineError
from sage.inference.engines.control import clear_stale
from sage.inference.engines.plan import StackConfig, StackPlan, plan_stack
from sage.inference.engines.process import EngineProcess
from sage.inference.engines.registry import EngineRegistry
from sage.inference.engines.remote.fleet import Fleet
from sage.inference.engines.runner import EngineRunner
from sage.inference.engines.running import running_engine, who_runs
from sage.inference.engines.spec import EngineSpec, base_url
from sage.inference.engines.state import (
    StackState,
    cannot_write,
    read_state,
    remove_state,
    write_state,
)
from sage.inference.engines.supervisor import Supervisor, Timing
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.gateway.unified import UnifiedAPIServer

logger = logging.getLogger("sage.engines")


class Stack:
    """Engines and their gateway; an async context manager.

    Args:
        config: what to run.
        paths: where logs and state go.
        arguments: the command line it came from, kept in the state for ``sage llm restart``.
        timing: how long to wait for engines.
        reread: returns the gateway's configuration to change to, for
            ``POST /v1/management/reload``.
    """

    def __init__(
        self,
        config: StackConfig,
        *,
        paths: UserPaths | None = None,
        arguments: Sequence[str] = (),
        timing: Timing | None = None,
        reread: Callable[[], UnifiedServerConfig] | None = None,
    ) -> None:
        self.config = config
        self._reread = reread
        self._fleet = Fleet(config.remote) if config.remote is not None else None
        self.paths = paths or user_paths()
        self._arguments = list(arguments)
        self._folder = Path.cwd()
        self._timing = timing
        self._resources = AsyncExitStack()
        self._registry: EngineRegistry
        self._server: UnifiedAPIServer
        self._supervisor: Supervisor
        self._serving = False

    @property
    def gateway_url(self) -> str:
        """The gateway's base URL, without /v1."""
        return base_url(self._registry.plan.host, self._registry.plan.gateway_port)

    @property
    def engines(self) -> tuple[EngineSpec, ...]:
        """The engines of this stack, LLMs first."""
        return self._registry.plan.engines

    async def __aenter__(self) -> Self:
        """Start everything; return when every engine is healthy and the gateway answers.

        Raises:
            AlreadyRunningError: this user's stack is running already.
            PortInUseError: a port is held.
            ModelError: a model is not here or damaged.
            EngineStartError: an engine did not become healthy.
            ClusterError: the cluster of engines that are to run on one cannot be reached, or has
                no room for them.
            EngineError: the state folder cannot be written.
            ConfigError: the gateway's configuration names an address or backends of its own.
        """
        try:
            await self._start()
        except BaseException:
            await self._resources.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the gateway, then the engines, then forget the state."""
        self._serving = False
        await self._resources.aclose()

    async def _start(self) -> None:
        self._hold_lock()
        left = await asyncio.to_thread(clear_stale, self.paths)
        if left:
            logger.warning("ended %d engines that had outlived their stack", left)
        plan = await self._make_plan()
        self._registry = EngineRegistry(plan, may_vanish=self._fleet is not None)
        self._resources.callback(self._registry.close)
        listeners = listen(plan.host, plan.gateway_port)
        for listener in listeners:
            self._resources.callback(listener.close)
        self._server = UnifiedAPIServer(
            plan.server(self.config.gateway),
            on_reload=self._reloaded if self._reread is not None else None,
            listeners=listeners,
        )
        self._registry.server = self._server
        self._supervisor = Supervisor(
            plan.engines,
            self.paths.logs,
            on_up=self._registry.up,
            on_down=self._registry.down,
            on_change=self._changed,
            timing=self._timing,
            run=self._runner,
        )
        self._resources.callback(remove_state, self.paths, os.getpid())
        write_state(self.paths, self._state())
        self._resources.push_async_callback(self._supervisor.stop)
        await self._supervisor.start()
        await self._resources.enter_async_context(self._server)
        self._serving = True
        write_state(self.paths, self._state())

    async def _make_plan(self) -> StackPlan:
        if self._fleet is None:
            return plan_stack(self.config, self.paths, load_settings())
        self._resources.callback(self._fleet.disconnect)
        await asyncio.to_thread(self._fleet.connect)
        take_back_signals()
        return await asyncio.to_thread(self._fleet.plan, self.config, self.paths, load_settings())

    def _runner(self, spec: EngineSpec, logs: Path) -> EngineRunner:
        if self._fleet is None:
            return EngineProcess(spec, logs)
        return self._fleet.engine(spec, logs, on_change=self._changed)

    def _reloaded(self) -> UnifiedServerConfig:
        assert self._reread is not None
        return self._registry.plan.server(self._reread())

    def _hold_lock(self) -> None:
        try:
            self.paths.state.mkdir(parents=True, exist_ok=True)
            lock = exclusive_now(self.paths.state / "stack.lock")
            held = self._resources.enter_context(lock)
        except OSError as error:
            raise cannot_write(self.paths.state, error) from error
        if not held:
            raise AlreadyRunningError(who_runs(read_state(self.paths)))

    def _changed(self) -> None:
        """Rewrite the state; once serving, a full disk must not take the engines down."""
        try:
            write_state(self.paths, self._state())
        except EngineError as error:
            if not self._serving:
                raise
            logger.error("%s", error)  # noqa: TRY400 - the message says all

    def _state(self) -> StackState:
        pid = os.getpid()
        return StackState(
            pid=pid,
            pid_created=created(pid) or 0.0,
            gateway_url=self.gateway_url,
            gateway_port=self._registry.plan.gateway_port,
            ready=self._serving,
            arguments=self._arguments,
            engines=[running_engine(engine) for engine in self._supervisor.engines],
            folder=str(self._folder),
            needs_key=bool(self._server.config.api_keys),
        )


@contextmanager
def running_stack(
    config: StackConfig | None = None, *, paths: UserPaths | None = None
) -> Iterator[Stack]:
    """Run a stack in a thread of its own while the block lasts, for code that is not async.

    Args:
        config: what to run; by default the packaged models on the default ports.
        paths: where logs and state go.

    Raises:
        SageError: as `Stack` does when it starts.
    """
    life = _Life(Stack(config or StackConfig(), paths=paths))
    try:
        yield life.start()
    finally:
        # Also when Ctrl-C came while it was starting: then there is a start to break off.
        life.end()


class _Life:
    """A stack from start to stop, on an event loop in a thread of its own."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._cancel: Future[Callable[[], object]] = Future()
        self._ready: Future[Stack] = Future()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sage-stack", daemon=True)

    def start(self) -> Stack:
        self._thread.start()
        return self._ready.result()

    def end(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed: the start has failed
            self._cancel.result()()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            self._ready.cancel()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            if self._ready.done():
                self._failure = error
            else:
                self._ready.set_exception(error)

    async def _live(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        cancel = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        self._cancel.set_result(cancel)
        async with self._stack:
            self._ready.set_result(self._stack)
            await asyncio.Event().wait()
