"""From what a user asks for to the engines that will run, and where."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import psutil

from sage.config.paths import UserPaths
from sage.config.port_holders import check_host, check_port
from sage.config.ports import LOOPBACK, SagePorts, can_bind
from sage.config.settings import Settings
from sage.errors import ConfigError
from sage.inference.engines.command import engine_spec, unused_options
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.remote.config import RemoteConfig
from sage.inference.engines.remote.order import EngineOrder
from sage.inference.engines.resolve import ResolvedModel, resolve_model
from sage.inference.engines.spec import EngineSpec
from sage.inference.gateway.config import BackendInstanceConfig, UnifiedServerConfig
from sage.inference.scheduling.request import Kind

logger = logging.getLogger("sage.engines")


@dataclass(frozen=True, slots=True)
class StackConfig:
    """A stack to run: LLM engines, an embedding engine, and the gateway before them.

    A port of None is the one in the settings, else the default of `SagePorts`; 0 is any free one.

    Attributes:
        model: the LLM, as ``--model`` takes it; None is the packaged default.
        embedding_model: the embedding model; None is the packaged default.
        llm: whether to run an LLM at all.
        embedding: whether to run an embedding model.
        instances: how many LLM engines.
        engine: the LLM's engine (without an LLM the embedding model's); None is the one that can
            run the model.
        host: address that everything listens on.
        gateway_port: the gateway's port.
        llm_port: the first LLM engine's port; further ones take the next free ports.
        embedding_port: the embedding engine's port.
        options: options of the LLM engines (without an LLM of the embedding engine).
        gateway: policy, keys, objectives, limits and rules of the gateway; its address and its
            backends are the stack's.
        remote: the Ray cluster that runs the engines; None runs them on this machine.
    """

    model: str | None = None
    embedding_model: str | None = None
    llm: bool = True
    embedding: bool = True
    instances: int = 1
    engine: str | None = None
    host: str = LOOPBACK
    gateway_port: int | None = None
    llm_port: int | None = None
    embedding_port: int | None = None
    options: EngineOptions = field(default_factory=EngineOptions)
    gateway: UnifiedServerConfig = field(default_factory=UnifiedServerConfig)
    remote: RemoteConfig | None = None

    def __post_init__(self) -> None:
        check_gateway(self.gateway)
        if self.instances < 1:
            raise ConfigError(f"--instances must be at least 1, not {self.instances}")
        if not self.llm and not self.embedding:
            raise ConfigError("nothing to serve: both the LLM and the embedding model are off")
        if not self.llm and (self.model or self.instances > 1 or self.llm_port):
            raise ConfigError(
                "--model, --instances and --port are for an LLM, which is switched off"
            )
        if self.embedding_model and not self.embedding:
            raise ConfigError("an embedding model is named, but embeddings are switched off")
        for flag, port in (
            ("--gateway-port", self.gateway_port),
            ("--port", self.llm_port),
            ("--embedding-port", self.embedding_port),
        ):
            if port is not None and not 0 <= port <= 65535:
                raise ConfigError(f"{flag} must be a port from 0 to 65535, not {port}")
        if self.remote is not None and (self.llm_port or self.embedding_port):
            raise ConfigError(
                "--port and --embedding-port are for engines on this machine; on a cluster each "
                "takes a free port of its node"
            )


def check_gateway(gateway: UnifiedServerConfig) -> None:
    """Raise ConfigError for a gateway that names what its stack settles."""
    if gateway.llm_backends or gateway.embedding_backends:
        raise ConfigError(
            "the gateway of a stack serves the stack's engines; for llm_backends and "
            "embedding_backends start a gateway of its own with `sage gateway start`"
        )
    usual = UnifiedServerConfig()
    if (gateway.host, gateway.port) != (usual.host, usual.port):
        raise ConfigError(
            "the address of a stack's gateway is given by --host and --gateway-port, "
            "not by host and port of its configuration"
        )


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What will run where; every port in it was free a moment ago.

    Attributes:
        host: the gateway's.
        gateway_port: its port.
        engines: the engines, LLMs first.
        orders: for engines on a cluster, what its nodes are asked to run; ``engines`` holds their
            addresses only once they have been placed.
    """

    host: str
    gateway_port: int
    engines: tuple[EngineSpec, ...]
    orders: tuple[EngineOrder, ...] = ()

    def server(self, gateway: UnifiedServerConfig) -> UnifiedServerConfig:
        """Return the gateway's configuration with the stack's address and engines in it."""
        check_gateway(gateway)
        of_kind = {
            kind: [_backend(spec) for spec in self.engines if spec.kind is kind] for kind in Kind
        }
        return replace(
            gateway,
            host=self.host,
            port=self.gateway_port,
            llm_backends=of_kind[Kind.LLM],
            embedding_backends=of_kind[Kind.EMBEDDING],
        )


def _backend(spec: EngineSpec) -> BackendInstanceConfig:
    return BackendInstanceConfig(
        model_name=spec.model,
        base_url=spec.url,
        instance_id=spec.id,
        max_concurrent_requests=spec.max_requests,
        max_tokens=spec.max_tokens,
        max_request_tokens=spec.max_request_tokens,
        chunk_tokens=spec.chunk_tokens,
        priorities=spec.priorities,
        # Our own embedding server joins waiting texts itself, over all its callers.
        coalesce=spec.engine not in (EngineKind.ONNX, EngineKind.SENTENCE_TRANSFORMERS),
    )


def plan_stack(config: StackConfig, paths: UserPaths, settings: Settings) -> StackPlan:
    """Resolve the models and choose the ports.

    Raises:
        ModelError: a model is not here or damaged.
        PortInUseError: a port that was asked for is held; names the holder.
        ConfigError: two parts would share a port, or nothing can listen on the host.
    """
    options = config.options
    if options.vllm_python is None and settings.vllm_python:
        options = replace(options, vllm_python=settings.vllm_python)
    models = _models(config, paths, options)
    main = models.get(Kind.LLM) or models[Kind.EMBEDDING]
    for flag in unused_options(main, options):
        logger.warning("%s has no use for %s; it is ignored", main.engine.value, flag)
    if config.instances > 1 and options.threads is None:
        # Engines that each take every core stand in each other's way.
        options = replace(options, threads=max(1, _cores() // config.instances))
    check_host(config.host)
    taken: list[int] = []
    gateway_port = claim_gateway(config, settings, taken)
    llm_port = _llm_port(config, settings)
    embedding_port = _fixed(
        config.embedding_port, settings.embedding_port, SagePorts.EMBEDDING_DEFAULT
    )
    engines: list[EngineSpec] = []
    if Kind.EMBEDDING in models:
        port = _claim(embedding_port, config.host, "embeddings", "--embedding-port", taken)
        model = models[Kind.EMBEDDING]
        own = EngineOptions() if config.llm else options
        engines.append(engine_spec("embedding-1", model, config.host, port, own))
    if Kind.LLM in models:
        ports = _llm_ports(llm_port, config, taken)
        for number, port in enumerate(ports, 1):
            name = f"llm-{number}"
            model, share = models[Kind.LLM], config.instances
            engines.append(engine_spec(name, model, config.host, port, options, engines=share))
    engines.sort(key=lambda spec: spec.kind is not Kind.LLM)
    for note in dict.fromkeys(spec.note for spec in engines if spec.note):
        logger.warning("%s", note)
    return StackPlan(config.host, gateway_port, tuple(engines))


def _models(
    config: StackConfig, paths: UserPaths, options: EngineOptions
) -> dict[Kind, ResolvedModel]:
    external = frozenset({EngineKind.VLLM}) if options.vllm_python else frozenset()
    models = {}
    if config.llm:
        models[Kind.LLM] = resolve_model(
            config.model, Kind.LLM, engine=config.engine, paths=paths, external=external
        )
    if config.embedding:
        engine = None if config.llm else config.engine
        models[Kind.EMBEDDING] = resolve_model(
            config.embedding_model, Kind.EMBEDDING, engine=engine, paths=paths
        )
    if len(models) == 2 and models[Kind.LLM].name == models[Kind.EMBEDDING].name:
        raise ConfigError(
            f"the LLM and the embedding model would both be served as {models[Kind.LLM].name!r}; "
            "rename one of their folders"
        )
    return models


def _cores() -> int:
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


def _fixed(asked: int | None, setting: int | None, default: int) -> int:
    if asked is not None:
        return asked
    return setting if setting is not None else default


def claim_gateway(config: StackConfig, settings: Settings, taken: list[int]) -> int:
    """Return the gateway's port, which is free, and add it to those taken.

    Raises:
        PortInUseError: it is held; names the holder.
        ConfigError: this user may not listen on it.
    """
    port = _fixed(config.gateway_port, settings.gateway_port, SagePorts.GATEWAY_DEFAULT)
    return _claim(port, config.host, "the gateway", "--gateway-port", taken)


def _llm_port(config: StackConfig, settings: Settings) -> int:
    if config.llm_port is not None:
        return config.llm_port
    return settings.llm_port or SagePorts.get_recommended_llm_port()


def _claim(port: int, host: str, purpose: str, option: str, taken: list[int]) -> int:
    if port == 0:
        port = _any_free(host, taken)
    elif port in taken:
        raise ConfigError(f"port {port} is asked for twice; give {option} another one")
    else:
        check_port(port, host, purpose, option)
    taken.append(port)
    return port


def _llm_ports(first: int, config: StackConfig, taken: list[int]) -> list[int]:
    """The first port is fixed; each further engine takes the next one that is free."""
    ports = [_claim(first, config.host, "the LLM", "--port", taken)]
    free = _free_after(ports[0], config.host, taken)
    for number in range(2, config.instances + 1):
        port = _any_free(config.host, taken) if first == 0 else next(free)
        logger.info("llm-%d listens on port %d", number, port)
        taken.append(port)
        ports.append(port)
    return ports


def _free_after(port: int, host: str, taken: list[int]) -> Iterator[int]:
    for candidate in range(port + 1, 65536):
        if candidate not in taken and can_bind(candidate, host):
            yield candidate
    raise ConfigError(f"no free port is left above {port}; give --port a lower one")


def _any_free(host: str, taken: list[int]) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port
