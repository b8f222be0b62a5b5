"""The control plane as an object: instances, scheduling and calls, without a port."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sage.errors import ConfigError, InferenceError, UnknownKeyError
from sage.inference.client.calls import Endpoint
from sage.inference.client.client import UnifiedInferenceClient
from sage.inference.client.config import ClientConfig
from sage.inference.client.result import InferenceResult
from sage.inference.client.target import Target
from sage.inference.client.transports import UnixSocket
from sage.inference.gateway.config import BackendInstanceConfig, UnifiedServerConfig
from sage.inference.gateway.limits import GatewayLimits
from sage.inference.gateway.mapping import from_mapping
from sage.inference.gateway.unified import UnifiedAPIServer
from sage.inference.scheduling.policy_types import SchedulingPolicyType
from sage.inference.scheduling.request import Kind

logger = logging.getLogger("sage.service")

T = TypeVar("T")

_TASKS = ("generate", "chat", "embed")
_URL = "http://control-plane/v1"


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a `ControlPlaneVLLMService` is made from.

    Attributes:
        scheduling_policy: a `SchedulingPolicyType` or the name of a registered policy.
        instances: the engines, of both kinds; ``instance_type`` is ``llm`` by default.
        request_timeout: seconds a request may take, waiting included.
        max_queued: requests of one model that may wait. None for 256 for each of its instances,
            and at least 1,024.
    """

    scheduling_policy: str = SchedulingPolicyType.ADAPTIVE
    instances: Sequence[BackendInstanceConfig] = ()
    request_timeout: float = 600.0
    max_queued: int | None = None

    def server(self) -> UnifiedServerConfig:
        """Return the gateway's configuration."""
        kinds = {kind: self._of(kind) for kind in Kind}
        return UnifiedServerConfig(
            scheduling_policy=self.scheduling_policy,
            llm_backends=kinds[Kind.LLM],
            embedding_backends=kinds[Kind.EMBEDDING],
            limits=GatewayLimits(request_timeout=self.request_timeout, max_queued=self.max_queued),
        )

    def _of(self, kind: Kind) -> list[BackendInstanceConfig]:
        return [item for item in self.instances if (item.instance_type or Kind.LLM) == kind.value]


@dataclass(slots=True)
class _Running:
    """What `setup` made."""

    server: UnifiedAPIServer
    client: UnifiedInferenceClient
    folder: Path = field(repr=False)


class ControlPlaneVLLMService:
    """Schedules requests over engines: the gateway and its core, called from Python.

    The engines are there already (``sage llm serve``, vLLM, a remote service); one that is not is
    taken in when it answers. The gateway listens on a Unix socket that only this user can enter.

    Args:
        config: a ServiceConfig, or a mapping with its keys.

    Raises:
        ConfigError: a value cannot be used; unknown keys are named with the nearest.
    """

    def __init__(self, config: ServiceConfig | Mapping[str, Any] | None = None) -> None:
        if not isinstance(config, ServiceConfig):
            config = from_mapping(ServiceConfig, config or {}, where="ControlPlaneVLLMService")
        self.config = config
        self._server_config = config.server()
        self._running: _Running | None = None

    def setup(self) -> None:
        """Start the control plane and look at each instance once; a second call does nothing.

        Raises:
            InferenceError: the gateway cannot start.
        """
        if self._running is not None:
            return
        folder = Path(tempfile.mkdtemp(prefix="sage-"))
        socket = str(folder / "gateway.sock")
        server = UnifiedAPIServer(self._server_config, uds=socket)
        try:
            server.start(block=False)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        client = UnifiedInferenceClient(
            ClientConfig(timeout=self.config.request_timeout),
            {kind: _target(kind) for kind in Kind},
            transports=UnixSocket(socket),
        )
        self._running = _Running(server, client, folder)
        logger.info("Registered %d instances", len(self.config.instances))

    def cleanup(self) -> None:
        """Answer what is under way, then stop; the engines go on. A second call does nothing."""
        running, self._running = self._running, None
        if running is None:
            return
        running.client.close()
        running.server.stop()
        shutil.rmtree(running.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.setup()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cleanup()

    # Requests

    def generate(
        self, prompt: str | Sequence[Mapping[str, Any]], model: str | None = None, **params: Any
    ) -> InferenceResult:
        """Complete a prompt, or answer a conversation.

        Args:
            prompt: a text, or messages as ``{"role": …, "content": …}``.
            model: default: the first LLM instance's.
            params: as ``UnifiedInferenceClient.chat`` takes them (``max_tokens``, …).

        Raises:
            InferenceError: it was not answered; see UnifiedInferenceClient.
        """
        client = self._setup_done().client
        model = model or self._default_model(Kind.LLM)
        if isinstance(prompt, str):
            return client.generate(prompt, model, return_result=True, **params)
        return client.chat(prompt, model, return_result=True, **params)

    def embed(
        self, texts: str | Sequence[str], model: str | None = None, **params: Any
    ) -> InferenceResult:
        """Return the vectors of texts, by the first embedding instance's model by default."""
        client = self._setup_done().client
        model = model or self._default_model(Kind.EMBEDDING)
        return client.embed(texts, model, return_result=True, **params)

    def process(self, payload: str | Mapping[str, Any]) -> InferenceResult:
        """Do what a record asks for, as a step of a pipeline.

        Args:
            payload: a prompt, or a mapping with ``prompt``, ``messages`` or ``texts``, and any
                parameters beside; ``task`` (generate, chat or embed) is told from these.

        Raises:
            ConfigError: it names no task, or none there is.
            InferenceError: it was not answered.
        """
        if isinstance(payload, str):
            return self.generate(payload)
        params = dict(payload)
        task = params.pop("task", None) or _task_of(params)
        if task not in _TASKS:
            raise UnknownKeyError(str(task), _TASKS, where="task")
        name = {"generate": "prompt", "chat": "messages", "embed": "texts"}[task]
        if name not in params:
            raise ConfigError(f"the task {task!r} needs {name!r}; the record has {list(payload)}")
        value = params.pop(name)
        return self.embed(value, **params) if task == "embed" else self.generate(value, **params)

    def _default_model(self, kind: Kind) -> str | None:
        return next(
            (spec.models[0] for spec, _ in self._server_config.instances() if spec.kind is kind),
            None,
        )

    # State

    def show_instances(self) -> list[dict[str, Any]]:
        """Return each instance with kind, models, address, health and counts."""
        gateway = self._setup_done().server.gateway
        instances: list[dict[str, Any]] = self._on_loop(_value(gateway.snapshot))["instances"]
        return instances

    def get_metrics(self) -> dict[str, Any]:
        """Return counts since `setup`, and latencies by model and class.

        total_requests = completed + failed + cancelled + rejected + open_requests.
        """
        gateway = self._setup_done().server.gateway
        snapshot = self._on_loop(_value(gateway.snapshot))
        counts = snapshot["requests"]
        return {
            "scheduling_policy": gateway.policy,
            "registered_instances": len(snapshot["instances"]),
            "healthy_instances": sum(item["up"] for item in snapshot["instances"]),
            "total_requests": counts["received"],
            "completed_requests": counts["done"],
            "failed_requests": counts["failed"],
            "cancelled_requests": counts["cancelled"],
            "rejected_requests": counts["rejected"],
            "open_requests": counts["open"],
            "queued_requests": counts["queued"],
            "series": self._on_loop(_value(gateway.metrics.summary)),
        }

    def health_check_all(self) -> dict[str, bool]:
        """Ask every instance how it is, now; return whether each is well, by id."""
        return self._on_loop(self._setup_done().server.gateway.look_at_all())

    def _setup_done(self) -> _Running:
        if self._running is None:
            raise InferenceError("the service is not set up; call setup() first")
        return self._running

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return self._setup_done().server.call(work)


async def _value(read: Any) -> Any:
    """Read the gateway's state on its own loop, where nothing changes meanwhile."""
    return read()


def _target(kind: Kind) -> Target:
    return Target(kind, Endpoint(_URL), None, "embedded", "the service's own control plane")


def _task_of(params: Mapping[str, Any]) -> str:
    for task, name in (("chat", "messages"), ("embed", "texts"), ("generate", "prompt")):
        if name in params:
            return task
    raise ConfigError(
        f"the record asks for nothing: give prompt, messages or texts, not {list(params)}"
    )
