"""The gateway as a server: configured, started, reloaded and stopped as one thing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sage.config.listeners import listen
from sage.errors import ConfigError, InferenceError
from sage.inference.engines.spec import base_url
from sage.inference.gateway.app import Gateway
from sage.inference.gateway.asgi import ASGIApp
from sage.inference.gateway.config import BackendInstanceConfig, UnifiedServerConfig
from sage.inference.gateway.cors import Cors
from sage.inference.gateway.server import build_server
from sage.inference.gateway.tracing import ProviderFactory, otlp_provider
from sage.inference.plugins import load_policy_plugins
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.scheduler import Scheduler

if TYPE_CHECKING:
    import uvicorn

T = TypeVar("T")

logger = logging.getLogger("sage.gateway")

_FIRST_LOOK = 3.0
_FIXED = (
    "host", "port", "limits", "probe", "breaker", "slow_start", "resend_share", "telemetry",
    "cors_origins", "tracing",
)  # fmt: skip


class UnifiedAPIServer:
    """LLM and embedding engines behind one OpenAI-compatible endpoint.

    ``start()`` blocks until SIGINT, SIGTERM or ``stop()``; ``start(block=False)`` and ``with``
    serve from a thread; ``await run_async()`` and ``async with`` serve on the running loop. Any
    ASGI server can run ``app``. A backend need not be there yet: it is taken in when it answers.

    Args:
        config: what to serve; by default a gateway without backends on port 8000.
        on_reload: called for SIGHUP and ``POST /v1/management/reload``; returns the configuration
            to change to.
        on_ready: called when it answers.
        uds: path of a Unix socket to listen on in place of host and port.
        listeners: sockets that are bound to host and port already, for one run; it closes them.
    """

    def __init__(
        self,
        config: UnifiedServerConfig | None = None,
        *,
        on_reload: Callable[[], UnifiedServerConfig] | None = None,
        on_ready: Callable[[], None] | None = None,
        uds: str | None = None,
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        load_policy_plugins()
        self.config = config or UnifiedServerConfig()
        self._on_reload = on_reload
        self._on_ready = on_ready
        self._uds = uds
        self._listeners = list(listeners)
        self._port = self.config.port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self.gateway = Gateway(
            scheduler=Scheduler(self.config.policy(), max_queued=self.config.limits.max_queued),
            limits=self.config.limits,
            care=self.config.care(),
            keys=self.config.key_ring(),
            slo_classes=self.config.slo_classes,
            access_log=self.config.access_log,
            tracing=_provider(self.config.tracing),
            on_startup=self._take_in,
            on_reload=self._reload_from_source if on_reload else None,
        )

    @property
    def app(self) -> ASGIApp:
        """The ASGI application; its lifespan brings the backends in."""
        origins = self.config.cors_origins
        return Cors(self.gateway.app, origins) if origins else self.gateway.app

    @property
    def port(self) -> int:
        """The port; the real one once the server has started, when 0 was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without ``/v1``."""
        return base_url(self.config.host, self._port)

    # Running

    def start(self, block: bool = True) -> None:
        """Serve.

        Args:
            block: stay until SIGINT, SIGTERM (when called in the main thread) or ``stop()``;
                otherwise return when the server answers.

        Raises:
            PortInUseError: the port is held; names the holder.
            InferenceError: the server runs already.
        """
        self._check_idle()
        if block:
            _run(self._serve_until_signal())
            return
        self._failure = None
        self._thread = threading.Thread(target=self._in_thread, name="sage-gateway", daemon=True)
        self._thread.start()
        self._ready.wait()
        failure = self._take_failure()
        if failure is not None:
            self._thread.join()
            self._thread = None
            raise failure

    def _take_failure(self) -> BaseException | None:
        failure, self._failure = self._failure, None
        return failure

    async def run_async(self) -> None:
        """Serve on the running loop until ``stop()`` or cancellation.

        Raises:
            PortInUseError: the port is held; names the holder.
            ConfigError: the access log cannot be opened.
            InferenceError: the server runs already.
        """
        self._check_idle()
        self._loop = asyncio.get_running_loop()
        listeners, self._listeners = self._listeners, []
        if self._uds is None and not listeners:
            listeners = listen(self.config.host, self.config.port, "port")
        if listeners:
            self._port = listeners[0].getsockname()[1]
        self._server = build_server(
            self.app, uds=self._uds, shutdown_timeout=self.config.shutdown_timeout, signals=False
        )
        try:
            self.gateway.open()
            await self._serve(self._server, listeners)
        finally:
            self._server = self._loop = None
            self._ready.clear()
            for listener in listeners:
                listener.close()

    async def _serve(self, server: uvicorn.Server, listeners: list[socket.socket]) -> None:
        serving = asyncio.create_task(server.serve(listeners or None))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            if not serving.done():
                logger.info("serving on %s", self._uds or f"{self.url}/v1")
                self._ready.set()
                if self._on_ready is not None:
                    self._on_ready()
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
        finally:
            leaving = list(self._leaving.values())
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)

    def stop(self) -> None:
        """Stop serving: running requests get ``shutdown_timeout`` seconds.

        From another thread it returns when the server has ended; on the server's own loop it only
        asks, and ``run_async`` returns when all is done. A server that does not run is left so.
        """
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
                loop.call_soon_threadsafe(self._ask_to_end)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of a server in another thread, and return its result.

        Raises:
            InferenceError: the server does not run.
        """
        if self._loop is None:
            work.close()
            raise InferenceError("the gateway does not run")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _ask_to_end(self) -> None:
        if self._server is not None:
            self._server.should_exit = True

    async def started(self) -> None:
        """Wait until a server that was started on this loop answers."""
        while not self._ready.is_set():
            if self._task is not None and self._task.done():
                await self._task
                raise InferenceError("the gateway ended while starting")
            await asyncio.sleep(0.005)

    def __enter__(self) -> Self:
        """Serve from a thread."""
        self.start(block=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Serve on the running loop."""
        self._task = asyncio.create_task(self.run_async())
        try:
            await self.started()
        except BaseException:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and wait for the end."""
        task, self._task = self._task, None
        self.stop()
        if task is not None:
            await task

    def _check_idle(self) -> None:
        mine = self._thread is threading.current_thread()
        elsewhere = self._thread is not None and self._thread.is_alive() and not mine
        if self._server is not None or elsewhere:
            raise InferenceError(f"the gateway on {self.url} runs already")

    def _in_thread(self) -> None:
        try:
            _run(self.run_async())
        except BaseException as error:
            # SystemExit too: that is how uvicorn says that it cannot start.
            self._failure = error
            if self._ready.is_set():
                logger.exception("the gateway ended")
        finally:
            self._ready.set()

    async def _serve_until_signal(self) -> None:
        loop = asyncio.get_running_loop()
        with _handlers(loop, {signal.SIGINT: self._ask_to_end, signal.SIGTERM: self._ask_to_end}):
            listens = self._on_reload is not None or self.config.access_log is not None
            hup = {signal.SIGHUP: self._reload_on_signal} if listens else {}
            with _handlers(loop, hup):
                await self.run_async()

    # Backends and reloading

    async def _take_in(self) -> None:
        for instance_id in self.gateway.instance_ids():  # of the last time it served
            await self.gateway.remove_instance(instance_id, drain_timeout=0)
        for spec, backend in self.config.instances():
            self._add(spec, backend)
        await self.gateway.looked(_FIRST_LOOK)
        instances = self.gateway.snapshot()["instances"]
        up = sum(item["up"] for item in instances)
        logger.info("%d backends, %d of them up", len(instances), up)

    def _add(self, spec: InstanceSpec, backend: BackendInstanceConfig) -> None:
        self.gateway.add_instance(spec, backend.url, backend.api_key, priorities=backend.priorities)

    def reload(self, config: UnifiedServerConfig) -> None:
        """Change backends, policy and keys without dropping a request; call it on the loop.

        Backends that are left out finish what they run and are removed then.

        Raises:
            ConfigError: the change needs a restart, or the access log cannot be opened; nothing
                has been changed.
        """
        changed = [name for name in _FIXED if getattr(config, name) != getattr(self.config, name)]
        if changed:
            raise ConfigError(f"{', '.join(changed)} cannot change while serving; restart for that")
        self.gateway.set_access_log(config.access_log)
        old = {spec.id: (spec, backend) for spec, backend in self.config.instances()}
        new = {spec.id: (spec, backend) for spec, backend in config.instances()}
        here = self.gateway.instance_ids()
        for instance_id in old.keys() - new.keys():
            if instance_id in here:
                self._remove_later(instance_id)
        for instance_id, (spec, backend) in new.items():
            if instance_id not in here:
                self._add(spec, backend)
            elif old.get(instance_id) != (spec, backend):
                self.gateway.change_instance(
                    spec, backend.url, backend.api_key, priorities=backend.priorities
                )
            if (leaving := self._leaving.pop(instance_id, None)) is not None:
                leaving.cancel()
                self.gateway.set_up(instance_id)
        if config.policy() != self.config.policy():
            self.gateway.set_policy(config.policy())
        self.gateway.slo_classes = config.slo_classes
        self.gateway.set_keys(config.key_ring())
        self.config = config
        logger.info("reloaded: %d backends", len(new))

    def _remove_later(self, instance_id: str) -> None:
        drain = self.config.limits.request_timeout
        task = asyncio.create_task(self.gateway.remove_instance(instance_id, drain_timeout=drain))
        self._leaving[instance_id] = task
        task.add_done_callback(lambda done: self._left(instance_id, done))

    def _left(self, instance_id: str, task: asyncio.Task[None]) -> None:
        if self._leaving.get(instance_id) is task:
            del self._leaving[instance_id]

    def _reload_from_source(self) -> None:
        # Without a source there is still a log that may have been moved away.
        self.reload(self._on_reload() if self._on_reload is not None else self.config)

    def _reload_on_signal(self) -> None:
        try:
            self._reload_from_source()
        except ConfigError as error:
            logger.error("not reloaded, all stays as it was: %s", error)  # noqa: TRY400 - the message says all


def _provider(tracing: bool | str) -> ProviderFactory | None:
    if not tracing:
        return None
    return otlp_provider(tracing if isinstance(tracing, str) else None)


def _run(main: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@contextlib.contextmanager
def _handlers(
    loop: asyncio.AbstractEventLoop, handlers: dict[signal.Signals, Callable[[], None]]
) -> Iterator[None]:
    """Handle signals while the block lasts; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
