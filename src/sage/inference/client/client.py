"""The client that applications and pipelines use."""

from __future__ import annotations

import logging
from typing import Any, Self

from sage.config.settings import load_settings
from sage.errors import ConfigError
from sage.inference.client.async_calls import AsyncCalls
from sage.inference.client.calls import Endpoint
from sage.inference.client.config import ClientConfig
from sage.inference.client.detect import detect
from sage.inference.client.pools import Pools
from sage.inference.client.senders import SyncSender
from sage.inference.client.session import Timing
from sage.inference.client.shared import SharedClients
from sage.inference.client.sync_calls import SyncCalls
from sage.inference.client.target import Target, no_backend
from sage.inference.client.transports import Network, Transports
from sage.inference.scheduling.request import Kind

log = logging.getLogger("sage.client")


class UnifiedInferenceClient(SyncCalls, AsyncCalls):
    """Chat, generate and embed against a SAGE gateway or any server with the OpenAI routes.

    Made with ``create`` or ``get_instance``. One client keeps its connections alive between
    calls and may be used by any number of threads and event loops. It pickles as its
    configuration (API keys included): the copy uses the same servers over connections of its own;
    of an embedded client, the engines of the process that made it.

    Every method that asks a server may raise:
        NoBackendError: no server was found for this kind of request.
        BadRequestError: the server says that the request is wrong (4xx).
        RejectedError: it refuses for now (429, 503), after ``retries`` tries.
        UpstreamError: it failed (5xx), or its answer is not what was promised.
        RequestTimeoutError: no answer in time.
        InferenceError: it cannot be reached, or the client is closed.
        UnknownKeyError: a parameter that OpenAI's API does not have; names the nearest.

    Parameters that are ``None`` are not sent; all others are sent as given.
    """

    @classmethod
    def create(
        cls,
        control_plane_url: str | None = None,
        default_llm_model: str | None = None,
        default_embedding_model: str | None = None,
        prefer_local: bool = True,
        api_key: str | None = None,
        *,
        timeout: float = 120.0,
        connect_timeout: float = 2.0,
        retries: int = 2,
        embedding_batch_size: int = 64,
        embedding_concurrency: int = 8,
        embedded: bool = False,
    ) -> Self:
        """Make a client.

        Without ``control_plane_url`` it looks for servers now, for chat and embeddings each on
        its own: a healthy local gateway or engine, then what the environment or ``.env`` names
        (SAGE_CHAT_BASE_URL, SAGE_EMBEDDING_BASE_URL), then https://api.openai.com/v1 when
        SAGE_CHAT_API_KEY is set and a model is named. A local look takes at most half a second.
        The choice and its reason are logged and in ``get_status()``.

        Args:
            control_plane_url: the server to use for everything, with or without ``/v1``; nothing
                is asked of it before the first call.
            default_llm_model: the model of chats that name none; default: the first that the
                server lists, asked once.
            default_embedding_model: the same for embeddings.
            prefer_local: look at local places first; ``False`` puts them last.
            api_key: sent as a bearer token to whichever server is used; default: the keys of the
                environment, to the servers named there only.
            timeout: seconds for a whole answer; for a stream, the longest silence.
            connect_timeout: seconds for a connection.
            retries: further tries when the connection is refused or the server says 429 or 503.
                They wait as long as Retry-After asks (up to 30 s; beyond that the error is raised
                at once), else 0.25 s doubling, with jitter. A stream is never retried once open.
            embedding_batch_size: texts in one embedding request; larger lists are split.
            embedding_concurrency: embedding requests of one call in flight at once.
            embedded: run the scheduler and the engines in this process, without opening a port:
                the default models name what to run (as ``sage llm serve --model`` does, but only
                what needs no vLLM), else the packaged models. They load now, which takes a second
                or more, and end with the client.

        Raises:
            NoBackendError: no server was found for either kind; lists each place tried and why.
            ConfigError: an option cannot be used.
            ModelError, EngineStartError: an embedded engine cannot load its model.
        """
        config = ClientConfig(
            control_plane_url,
            default_llm_model,
            default_embedding_model,
            prefer_local,
            api_key,
            timeout,
            connect_timeout,
            retries,
            embedding_batch_size,
            embedding_concurrency,
            embedded,
        )
        if embedded:
            # It brings the engines' packages with it.
            from sage.inference.client.embedded import start

            targets, transports = start(config)
            return cls(config, targets, transports=transports)
        return cls(config, _targets(config))

    @classmethod
    def create_auto(cls, **options: Any) -> Self:
        """The same as ``create``."""
        return cls.create(**options)

    @classmethod
    def get_instance(cls, name: str = "default", **options: Any) -> Self:
        """Return the client shared under ``name``, made on first use with ``create``'s options.

        A closed one is replaced.

        Raises:
            ConfigError: it exists with other options than those given now.
        """
        client = _shared.get(name, options, lambda: cls.create(**options))
        if not isinstance(client, cls):
            raise ConfigError(
                f"the client {name!r} is a {type(client).__name__}, not a {cls.__name__}; "
                "give another name"
            )
        return client

    @property
    def config(self) -> ClientConfig:
        """The options it was made with."""
        return self._session.config

    @property
    def closed(self) -> bool:
        """True once it was closed; its methods then raise ``InferenceError``."""
        return self._pools.closed

    def close(self) -> None:
        """Close all connections."""
        self._pools.close()

    async def aclose(self) -> None:
        """Close all connections, and wait for those of the running event loop."""
        await self._pools.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        transports = self._pools.transports.detached()
        return _copy, (type(self), self._session.config, self._session.targets, transports)

    def __repr__(self) -> str:
        places = ", ".join(
            f"{kind}={target.endpoint.url if target.endpoint else None}"
            for kind, target in self._session.targets.items()
        )
        return f"{type(self).__name__}({places})"


_shared: SharedClients[UnifiedInferenceClient] = SharedClients()


def _copy(
    cls: type[UnifiedInferenceClient],
    config: ClientConfig,
    targets: dict[Kind, Target],
    transports: Transports,
) -> UnifiedInferenceClient:
    return cls(config, targets, transports=transports)


def _targets(config: ClientConfig) -> dict[Kind, Target]:
    if config.control_plane_url is None:
        return _detected(config)
    endpoint = Endpoint(config.control_plane_url, config.api_key)
    models = {Kind.LLM: config.default_llm_model, Kind.EMBEDDING: config.default_embedding_model}
    reason = "control_plane_url was given"
    return {
        kind: Target(kind, endpoint, model, "explicit", reason) for kind, model in models.items()
    }


def _detected(config: ClientConfig) -> dict[Kind, Target]:
    timing, pools = Timing(), Pools(Network())
    try:
        targets = SyncSender(pools, timing).run(detect(config, load_settings(), timing.clock))
    finally:
        pools.close()
    if all(target.endpoint is None for target in targets.values()):
        tried = dict.fromkeys(attempt for target in targets.values() for attempt in target.tried)
        raise no_backend("LLM or embedding", tuple(tried))
    for kind, target in targets.items():
        if target.endpoint is None:
            log.warning("no %s backend answered; requests of that kind will fail", kind)
        else:
            log.info("%s requests go to %s: %s", kind, target.endpoint.url, target.reason)
    return targets
