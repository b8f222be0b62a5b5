"""Engines, scheduler and gateway inside this process; no port is opened.

llama.cpp, the embedding app and the gateway listen on Unix sockets in a folder that only this
user can enter. The gateway and its scheduler are the ones that ``sage llm serve`` runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2

from sage.errors import ConfigError, EngineStartError, ModelNotFoundError
from sage.inference.client.calls import Endpoint
from sage.inference.client.config import ClientConfig
from sage.inference.client.target import Attempt, Target
from sage.inference.client.transports import UnixSocket
from sage.inference.embeddings.app import EmbeddingApp
from sage.inference.embeddings.server import ServerOptions, load_embedder, queue_policy
from sage.inference.engines.context import countable_tokens
from sage.inference.engines.gguf import check_gguf
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.llama_cpp import (
    DEFAULT_SLOTS,
    build_params,
    library,
    parse_arguments,
)
from sage.inference.engines.resolve import ResolvedModel, resolve_model
from sage.inference.gateway import Gateway, build_server
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import uvicorn

log = logging.getLogger("sage.client")

# The kernel keeps a socket's path in 104 bytes (macOS) or 108 (Linux), its end mark included.
_LONGEST_PATH = 103
_STOP_S = 15.0
_ENDPOINT = Endpoint("http://embedded/v1")


def start(config: ClientConfig) -> tuple[dict[Kind, Target], EmbeddedTransports]:
    """Load the models and serve them in this process.

    A kind whose default packaged model is not installed is left out; a model that was named must
    be there.

    Raises:
        ModelNotFoundError: a named model is missing, or no model of either kind is installed.
        ConfigError: a model needs an engine that is a process of its own.
        EngineStartError: an engine cannot load its model.
    """
    models: dict[Kind, ResolvedModel] = {}
    missing: dict[Kind, ModelNotFoundError] = {}
    named = {Kind.LLM: config.default_llm_model, Kind.EMBEDDING: config.default_embedding_model}
    for kind, name in named.items():
        try:
            models[kind] = _resolved(name, kind)
        except ModelNotFoundError as error:
            if name is not None or missing:
                raise
            missing[kind] = error
            log.warning("no %s engine is embedded: %s", kind, error)
    transports = EmbeddedTransports(models)
    return {kind: _target(kind, models, missing) for kind in Kind}, transports


def _resolved(name: str | None, kind: Kind) -> ResolvedModel:
    model = resolve_model(name, kind)
    if model.engine is EngineKind.VLLM:
        raise ConfigError(
            f"{model.name} needs vLLM, which runs as a process of its own: start it with "
            f"`sage llm serve --model {model.name}` and leave embedded out"
        )
    return model


def _target(
    kind: Kind, models: Mapping[Kind, ResolvedModel], missing: Mapping[Kind, ModelNotFoundError]
) -> Target:
    if kind in models:
        model = models[kind]
        reason = f"embedded=True: {model.engine} runs {model.name} in this process"
        return Target(kind, _ENDPOINT, model.name, "embedded", reason)
    why = str(missing[kind])
    return Target(kind, None, None, "none", why, (Attempt("this process", "embedded", why),))


class EmbeddedTransports:
    """Reaches the engines of this process, and owns them.

    They end with ``close()``, when this is dropped, or with the process. A copy in another
    process reaches them for as long as this one lives.

    Args:
        models: the model to run for each kind.
    """

    def __init__(self, models: Mapping[Kind, ResolvedModel]) -> None:
        stack = _Stack(models)
        try:
            stack.start()
        except BaseException:
            stack.stop()
            raise
        self._socket = UnixSocket(stack.path("gateway"))
        self._end = weakref.finalize(self, stack.stop)

    def sync(self, limits: httpx2.Limits) -> httpx2.BaseTransport:
        """A pool of connections to the gateway."""
        return self._socket.sync(limits)

    def asynchronous(self, limits: httpx2.Limits) -> httpx2.AsyncBaseTransport:
        """A pool of connections to the gateway, for the running loop."""
        return self._socket.asynchronous(limits)

    def detached(self) -> UnixSocket:
        """The gateway's socket alone."""
        return self._socket

    def close(self) -> None:
        """Answer what is under way, then end the engines."""
        self._end()


class _Stack:
    """The engines, and a thread whose event loop serves the gateway and the embedding app."""

    def __init__(self, models: Mapping[Kind, ResolvedModel]) -> None:
        self._models = models
        self._owner = os.getpid()
        self._folder = Path(tempfile.mkdtemp(prefix="sage-"))
        self._engines: dict[Kind, Any] = {}
        self._pools: dict[Kind, int] = {}
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="sage-embedded", daemon=True)

    def path(self, name: str) -> str:
        """The path of a socket."""
        return str(self._folder / f"{name}.sock")

    def start(self) -> None:
        """Load the models, then serve; returns when the gateway answers."""
        if len(os.fsencode(self.path("embedding"))) > _LONGEST_PATH:
            raise ConfigError(
                f"the temporary folder {self._folder.parent} has too long a name for a socket; "
                "set TMPDIR to a shorter one"
            )
        for kind, model in self._models.items():
            if model.engine is EngineKind.LLAMA_CPP:
                self._engines[kind], self._pools[kind] = _llama_cpp(model, self.path(kind))
            else:
                self._engines[kind] = _LoadedApp(model)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise EngineStartError(f"the embedded gateway cannot start: {self._failure}")

    def stop(self) -> None:
        """End everything; in a forked child nothing, since it is the parent's."""
        if os.getpid() != self._owner:
            return
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
        # llama.cpp's server ends in its destructor.
        self._engines.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:
            # SystemExit too: that is how uvicorn says that it cannot listen.
            self._failure = error
            if self._ready.is_set():
                log.exception("the embedded gateway ended")
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        gateway = Gateway()
        async with AsyncExitStack() as running:
            for kind, engine in self._engines.items():
                if isinstance(engine, _LoadedApp):
                    engine.app.ready(engine.embedder, engine.policy)
                    running.push_async_callback(engine.app.aclose)
                    server = build_server(engine.app, uds=self.path(kind))
                    server.config.lifespan = "off"  # the app answers HTTP only
                    await running.enter_async_context(_served(server))
                gateway.add_instance(self._spec(kind), f"http+unix://{quote(self.path(kind), '')}")
            server = build_server(gateway.app, uds=self.path("gateway"))
            await running.enter_async_context(_served(server))
            self._ready.set()
            await self._stop.wait()

    def _spec(self, kind: Kind) -> InstanceSpec:
        name, models = f"embedded-{kind}", (self._models[kind].name,)
        pool = self._pools.get(kind)
        if pool is None:
            # Our own embedding app joins waiting texts itself, over all its callers.
            return InstanceSpec(name, kind, models, coalesce=False)
        return InstanceSpec(name, kind, models, DEFAULT_SLOTS, countable_tokens(pool))


class _LoadedApp:
    """The embedding app with its model, before the loop that serves it runs."""

    def __init__(self, model: ResolvedModel) -> None:
        options = ServerOptions(model.source, model.name, model.engine.value, host="", port=0)
        self.embedder = load_embedder(options)
        self.policy = queue_policy(options, self.embedder)
        self.app = EmbeddingApp(model.name)


def _llama_cpp(model: ResolvedModel, socket: str) -> tuple[Any, int]:
    """Start llama.cpp's server on a socket; return it and the tokens that all requests share."""
    check_gguf(Path(model.source))
    given = ["--model", model.source, "--name", model.name, "--host", socket, "--port", "0"]
    if model.kind is Kind.EMBEDDING:
        given.append("--embedding")
    params = build_params(*parse_arguments(given))
    params.verbosity = -1  # standard error is the application's
    try:
        return library().Server(params), int(params.n_ctx)
    except (RuntimeError, ValueError) as error:
        raise EngineStartError(f"llama.cpp cannot load {model.source}: {error}") from error


@asynccontextmanager
async def _served(server: uvicorn.Server) -> AsyncIterator[None]:
    task = asyncio.ensure_future(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        if task.done():
            task.result()
            raise EngineStartError("its socket cannot be served")
        yield
    finally:
        server.should_exit = True
        await task


def _loop_factory() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
