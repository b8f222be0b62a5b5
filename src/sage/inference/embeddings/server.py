"""The embedding engine's process: ``python -m sage.inference.embeddings.server``."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
import uvicorn

from sage.config.listeners import listen
from sage.errors import ConfigError, SageError
from sage.inference.embeddings.app import EmbeddingApp, Message, Receive, Scope, Send
from sage.inference.embeddings.queue import QueuePolicy

if TYPE_CHECKING:
    from sage.inference.embeddings.embedder import LocalEmbedder

logger = logging.getLogger("sage.embeddings.server")

# Seconds an idle connection stays open; longer than the gateway keeps it, so that the gateway is
# the side that closes.
_KEEP_ALIVE = 120


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the command line asks for.

    Attributes:
        model: a folder, or, with sentence-transformers, a hub id.
        name: the name it is served by.
        engine: "onnx" or "sentence-transformers".
        host: what to listen on.
        port: likewise; 0 takes a free one.
        max_batch_tokens: padded tokens a batch; default the engine's.
        max_wait_ms: milliseconds a text waits for company while a worker is idle.
        max_queue_tokens: tokens that may wait before requests are refused with 429.
        threads: CPU threads; default the cores this process may use.
    """

    model: str
    name: str
    engine: str
    host: str
    port: int
    max_batch_tokens: int | None = None
    max_wait_ms: float = 0.0
    max_queue_tokens: int = 1_048_576
    threads: int | None = None


def load_embedder(options: ServerOptions) -> LocalEmbedder:
    """Load the model.

    Raises:
        ModelError, ConfigError: as the engine's embedder.
    """
    if options.engine == "onnx":
        from sage.inference.embeddings.onnx import OnnxEmbedder

        return OnnxEmbedder(options.model, name=options.name, threads=options.threads)
    if options.engine == "sentence-transformers":
        from sage.inference.embeddings.hf import (
            SentenceTransformersEmbedder,
        )

        return SentenceTransformersEmbedder(
            options.model, name=options.name, threads=options.threads
        )
    raise ConfigError(f"no engine {options.engine!r}; there are onnx and sentence-transformers")


def queue_policy(options: ServerOptions, embedder: LocalEmbedder) -> QueuePolicy:
    """Return how texts wait: the embedder's own limits, with what the options override."""
    limits = embedder.limits
    if options.max_batch_tokens is not None:
        limits = replace(limits, max_tokens=options.max_batch_tokens)
    return QueuePolicy(
        limits=limits,
        workers=embedder.workers,
        max_wait=options.max_wait_ms / 1000,
        max_queue_tokens=options.max_queue_tokens,
    )


class EmbeddingServer:
    """Listens at once, loads the model in a thread, serves until SIGTERM or SIGINT, drains.

    Args:
        options: what to serve.
        load: makes the embedder, in a thread.
    """

    def __init__(
        self,
        options: ServerOptions,
        *,
        load: Callable[[ServerOptions], LocalEmbedder] = load_embedder,
    ) -> None:
        self._options = options
        self._load = load
        self._app = EmbeddingApp(options.name)
        self._failure: BaseException | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._asgi,
                interface="asgi3",
                proxy_headers=False,
                loop="uvloop" if sys.platform != "win32" else "asyncio",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=_KEEP_ALIVE,
            )
        )

    def run(self) -> None:
        """Serve until a signal.

        Raises:
            PortInUseError: the port is held.
            ModelError, ConfigError: the model cannot be loaded.
        """
        sockets = listen(self._options.host, self._options.port, "--port", "embeddings")
        host, port = sockets[0].getsockname()[:2]
        logger.info("listening on http://%s:%d, loading %s", host, port, self._options.model)
        try:
            self._server.run(sockets=sockets)
        finally:
            for one in sockets:
                one.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Answer what is under way, then end."""
        self._server.should_exit = True

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._app(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async with self._loading():
            await _acknowledge("startup", receive, send)
            await _acknowledge("shutdown", receive, send)

    @asynccontextmanager
    async def _loading(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._load_model())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._app.aclose()

    async def _load_model(self) -> None:
        try:
            embedder = await asyncio.to_thread(self._load, self._options)
            policy = queue_policy(self._options, embedder)
            dim = embedder.dim
        except Exception as error:  # noqa: BLE001 - run() raises it once the server has stopped
            self._failure = error
            self.stop()
            return
        # What was loaded lives as long as the process; the collector need not look again.
        gc.collect()
        gc.freeze()
        self._app.ready(embedder, policy)
        logger.info(
            "ready: %s, %d dimensions, at most %s tokens a text, %d worker(s) of %d padded tokens",
            embedder.name,
            dim,
            embedder.max_tokens,
            policy.workers,
            policy.limits.max_tokens,
        )


async def _acknowledge(what: str, receive: Receive, send: Send) -> None:
    message: Message = await receive()
    assert message["type"] == f"lifespan.{what}", message
    await send({"type": f"lifespan.{what}.complete"})


@click.command()
@click.option("--model", required=True, help="A folder or, with sentence-transformers, a hub id.")
@click.option("--name", required=True, help="The name the model is served by.")
@click.option("--engine", type=click.Choice(["onnx", "sentence-transformers"]), default="onnx")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="0 takes a free one.")
@click.option("--max-batch-tokens", type=click.IntRange(1), help="Padded tokens a batch.")
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="How long a text waits for company while a worker is idle.",
)
@click.option(
    "--max-queue-tokens",
    type=click.IntRange(1),
    default=1_048_576,
    show_default=True,
    help="Tokens that may wait before requests are refused with 429.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; default all cores.")
def main(**given: Any) -> None:
    """Serve one embedding model over OpenAI's /v1/embeddings."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = EmbeddingServer(ServerOptions(**given))
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn takes the signals over while it serves and hands them on when it has drained:
        # ending as asked is then a success, not a death by signal.
        signal.signal(number, lambda *_: server.stop())
    try:
        server.run()
    except SageError as error:
        logger.error("%s", error)  # noqa: TRY400 - one line for people, the message says it all
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
