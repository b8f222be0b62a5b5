"""The job manager as a server: one for each user."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from sage.config.listeners import listen
from sage.config.lock import exclusive_now
from sage.config.ports import LOOPBACK, SagePorts
from sage.dataflow.jobs.caretaker import LOG_LIMIT
from sage.dataflow.jobs.manager import JobManager
from sage.dataflow.jobs.pickling import load_cloudpickle
from sage.dataflow.jobs.token import make_token
from sage.errors import AlreadyRunningError, ConfigError, JobManagerError

logger = logging.getLogger("sage.dataflow.jobs")

_GRACE = 2


@dataclass(frozen=True, slots=True)
class JobManagerConfig:
    """Settings of a job manager.

    Attributes:
        root: the folder of its token, its database and its jobs.
        host: address to listen on.
        port: TCP port; 0 for any free one.
        tls_cert: file of a certificate, with which it speaks TLS; None for plain HTTP.
        tls_key: file of its key; None when the certificate's has it.
        log_limit: bytes that are kept of each job's log, in two files.
    """

    root: Path
    host: str = LOOPBACK
    port: int = SagePorts.JOB_MANAGER
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_limit: int = LOG_LIMIT

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; give one from 0 to 65535")
        if self.tls_key is not None and self.tls_cert is None:
            raise ConfigError("there is a TLS key and no certificate; give --tls-cert too")
        for what, path in (("certificate", self.tls_cert), ("key", self.tls_key)):
            if path is not None and not path.is_file():
                raise ConfigError(f"the TLS {what} {str(path)!r} is no file")


class JobManagerServer:
    """Serves a job manager.

    Args:
        config: how.
        on_ready: called when it answers.

    Attributes:
        port: the port; the real one once it serves, when 0 was asked for.
    """

    def __init__(
        self, config: JobManagerConfig, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        self._config = config
        self._on_ready = on_ready
        self.port = config.port

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; jobs go on after that.

        Raises:
            ConfigError: Starlette or cloudpickle is not installed, or the TLS files do not do.
            AlreadyRunningError: another manager has the folder.
            PortInUseError: the port is held; names the holder.
            JobManagerError: the folder or the database cannot be used.
        """
        load_cloudpickle()
        root = self._config.root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with exclusive_now(root / "manager.lock") as held:
                if not held:
                    raise AlreadyRunningError(
                        f"another job manager has {root}; `sage jobmanager stop` ends it"
                    )
                token = make_token(root / "token")
                listeners = listen(
                    self._config.host, self._config.port, "--port", "the job manager"
                )
                self._serve(token, listeners)
        except OSError as error:
            raise JobManagerError(
                f"cannot use {root}: {error.strerror or error}; free space or fix its permissions, "
                "or set SAGE_HOME to another folder"
            ) from error

    def _serve(self, token: str, listeners: list[socket.socket]) -> None:
        self.port = listeners[0].getsockname()[1]
        try:
            asyncio.run(self._run(token, listeners))
        finally:
            for listener in listeners:
                listener.close()

    async def _run(self, token: str, listeners: list[socket.socket]) -> None:
        try:
            from sage.dataflow.jobs.app import make_app
        except ImportError as error:
            raise ConfigError(
                f"{error.name} is not installed; run: pip install 'sage-stack[ray]'"
            ) from error
        manager = JobManager(self._config.root, log_limit=self._config.log_limit)

        @contextlib.asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            caring = asyncio.create_task(manager.run())
            try:
                yield
            finally:
                caring.cancel()
                await asyncio.gather(caring, return_exceptions=True)

        settings = uvicorn.Config(
            make_app(manager, token, lifespan),
            lifespan="on",
            log_config=None,
            access_log=False,
            ws="none",
            server_header=False,
            ssl_certfile=self._config.tls_cert,
            ssl_keyfile=self._config.tls_key,
            timeout_graceful_shutdown=_GRACE,
        )
        try:
            _load(settings)
            await self._until_signal(_DeafServer(settings), manager, listeners)
        finally:
            manager.close()

    async def _until_signal(
        self, server: uvicorn.Server, manager: JobManager, listeners: list[socket.socket]
    ) -> None:
        def leave() -> None:
            # Whoever follows a log or waits for a result would hold the server up.
            manager.leave()
            server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, leave)
        serving = asyncio.create_task(server.serve(listeners))
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        if not serving.done():
            logger.info("the job manager listens on port %d", self.port)
            self._on_ready()
        await serving


def _load(settings: uvicorn.Config) -> None:
    try:
        settings.load()
    except ssl.SSLError as error:
        raise ConfigError(
            f"the TLS files {str(settings.ssl_certfile)!r} and {str(settings.ssl_keyfile)!r} do "
            f"not do: {error.reason or error}; give a certificate in PEM and its key"
        ) from error


class _DeafServer(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override] # wider
        """Handle none."""
        return contextlib.nullcontext()
