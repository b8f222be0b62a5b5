"""From what a user asks for to the engines that a cluster's nodes are asked to run."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from sage.config.paths import UserPaths
from sage.config.port_holders import check_host
from sage.config.ports import LOOPBACK
from sage.config.settings import Settings
from sage.errors import ResourceError
from sage.inference.engines.command import threads_in, unused_options
from sage.inference.engines.folders import engine_of_folder
from sage.inference.engines.kinds import EngineKind, parse_engine
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.plan import StackConfig, StackPlan, claim_gateway
from sage.inference.engines.remote.config import RemoteConfig
from sage.inference.engines.remote.order import EngineOrder, Need
from sage.inference.engines.remote.placement import Room, equal_share, misfit, most_on_a_node
from sage.inference.engines.remote.version import sage_version
from sage.inference.engines.resolve import ResolvedModel
from sage.inference.engines.spec import EngineSpec
from sage.inference.models import DEFAULTS, find, get
from sage.inference.scheduling.request import Kind

logger = logging.getLogger("sage.engines")

# Nothing is asked on it: the engine's own address takes its place before the gateway serves.
_NO_PORT = 1


@dataclass(frozen=True, slots=True)
class _Part:
    """The engines of one kind: their model as asked for, and what each takes."""

    model: ResolvedModel
    asked: str | None
    options: EngineOptions
    count: int


def plan_remote(
    config: StackConfig,
    remote: RemoteConfig,
    rooms: Sequence[Room],
    paths: UserPaths,
    settings: Settings,
) -> StackPlan:
    """Decide what each engine takes of a node, and check that all fit.

    Args:
        config: what was asked for.
        remote: of the cluster.
        rooms: what its nodes have free.
        paths: of this user, which name the stack.
        settings: for the gateway's port.

    Raises:
        ResourceError: not all fit, and waiting was not asked for; names what is needed and free.
        PortInUseError: the gateway's port is held.
        ConfigError: the engine is unknown, or nothing can listen on the gateway's address.
    """
    check_host(config.host)
    gateway_port = claim_gateway(config, settings, [])
    parts = _parts(config)
    share = equal_share(rooms, sum(part.count for part in parts))
    orders: list[EngineOrder] = []
    for part in parts:
        main = part.model.kind is Kind.LLM or not config.llm
        need = _need(part, remote, share, main=main)
        engines = most_on_a_node(rooms, need, part.count)
        orders += [
            EngineOrder(
                id=f"{part.model.kind.value}-{number}",
                kind=part.model.kind,
                model=part.asked,
                engine=part.model.engine,
                options=_with_threads(part, need),
                need=need,
                engines=engines,
                stack=_stack_name(paths),
                home=_home(),
                version=sage_version(),
            )
            for number in range(1, part.count + 1)
        ]
    short = misfit([order.need for order in orders], rooms)
    if short and not remote.cluster.wait:
        raise ResourceError(
            f"{short}; ask for less (--instances, --cpus, --gpus), add nodes, or --wait for them"
        )
    names = {part.model.kind: part.model.name for part in parts}
    engines_ = tuple(_provisional(order, names[order.kind]) for order in orders)
    return StackPlan(config.host, gateway_port, engines_, tuple(orders))


def _parts(config: StackConfig) -> list[_Part]:
    parts = []
    if config.llm:
        model = _guess(config.model, Kind.LLM, config.engine)
        parts.append(_Part(model, _travelling(config.model), config.options, config.instances))
    if config.embedding:
        engine = None if config.llm else config.engine
        model = _guess(config.embedding_model, Kind.EMBEDDING, engine)
        own = EngineOptions() if config.llm else config.options
        parts.append(_Part(model, _travelling(config.embedding_model), own, 1))
    main = parts[0]
    for flag in unused_options(main.model, main.options):
        logger.warning("%s has no use for %s; it is ignored", main.model.engine.value, flag)
    return parts


def _guess(asked: str | None, kind: Kind, engine: str | None) -> ResolvedModel:
    """Return name and engine of a model that need not be on this machine.

    The node is asked for that very engine, so that it takes what was reserved for it.
    """
    wanted = parse_engine(engine) if engine else None
    packaged = get(DEFAULTS[kind]) if asked is None else find(asked)
    if packaged is not None:
        return ResolvedModel(packaged.name, kind, wanted or packaged.engine)
    assert asked is not None
    path = Path(asked).expanduser()
    if path.suffix.lower() == ".gguf":
        return ResolvedModel(path.stem, kind, wanted or EngineKind.LLAMA_CPP)
    if path.is_dir():
        return ResolvedModel(path.name, kind, engine_of_folder(path, kind, wanted)[0])
    hub = EngineKind.VLLM if kind is Kind.LLM else EngineKind.SENTENCE_TRANSFORMERS
    name = path.name if path.is_absolute() else asked
    return ResolvedModel(name, kind, wanted or hub)


def _travelling(asked: str | None) -> str | None:
    """Return a model so that it means the same on a node: a path here as an absolute one."""
    if asked is None or find(asked) is not None or asked.startswith("~"):
        return asked
    path = Path(asked)
    return str(path.absolute()) if path.exists() else asked


def _need(part: _Part, remote: RemoteConfig, share: int, *, main: bool) -> Need:
    vllm = part.model.engine is EngineKind.VLLM
    gpus = remote.gpus if main and remote.gpus is not None else None
    if gpus is None:
        gpus = float(part.options.tensor_parallel_size or 1) if vllm else 0.0
    cpus = remote.cpus or threads_in(part.options.extra) or (1 if vllm else share)
    return Need(float(cpus), gpus)


def _with_threads(part: _Part, need: Need) -> EngineOptions:
    """Return the options with as many threads as CPUs were reserved."""
    options, engine = part.options, part.model.engine
    if engine is EngineKind.VLLM or threads_in(options.extra):
        return options
    threads = max(1, int(need.cpus))
    if engine is EngineKind.LLAMA_CPP:
        return replace(options, threads=threads)
    return replace(options, extra=("--threads", str(threads), *options.extra))


def _provisional(order: EngineOrder, name: str) -> EngineSpec:
    return EngineSpec(
        id=order.id,
        kind=order.kind,
        engine=order.engine,
        model=name,
        host=LOOPBACK,
        port=_NO_PORT,
        command=(),
    )


def _stack_name(paths: UserPaths) -> str:
    """Return a name that two users of a cluster do not share, the same after a restart."""
    text = f"{socket.gethostname()}\0{paths.state}"
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _home() -> frozenset[str]:
    families = (socket.AF_INET, socket.AF_INET6)
    return frozenset(
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in families
    )
