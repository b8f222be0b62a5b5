"""What a gateway server is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from sage.config.ports import LOOPBACK, SagePorts
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.engines.spec import base_url
from sage.inference.gateway.breaker import BreakerRule
from sage.inference.gateway.cors import check_origins
from sage.inference.gateway.instances import CareRules
from sage.inference.gateway.keys import ApiKey, KeyRing
from sage.inference.gateway.limits import GatewayLimits
from sage.inference.gateway.policies import PROXY_POLICY, check_policy, effective_policy
from sage.inference.gateway.probe import ProbeRule
from sage.inference.gateway.target import parse_target
from sage.inference.gateway.telemetry import TelemetryRule
from sage.inference.gateway.terms import CLASSES
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.policy_types import SchedulingPolicyType
from sage.inference.scheduling.request import Kind
from sage.inference.scheduling.slo import SLO

_LISTS = ("llm_backends", "embedding_backends", "api_keys", "management_keys", "cors_origins")


@dataclass(frozen=True, slots=True)
class BackendInstanceConfig:
    """One engine behind the gateway, on this machine or elsewhere.

    Attributes:
        host: name or address; ``localhost`` is tried at each of its addresses.
        port: TCP port.
        model_name: the model it serves, as clients name it.
        instance_type: ``llm`` or ``embedding``; by default the list it stands in says which.
        max_concurrent_requests: requests it is given at once; the rest wait in the gateway.
        api_key: sent to it in place of the client's key.
        base_url: in place of host and port, ``https://host/prefix`` too; a ``/v1`` at its end is
            left out.
        instance_id: its name; by default made from type and address.
        coalesce: whether embedding requests that wait for it share calls, and those above its
            limits are cut into several; false passes each on as it came.
        max_inputs: inputs it takes in one embedding call; 2048 as OpenAI's.
        max_batch_tokens: tokens, by the gateway's estimate, of one embedding call.
        max_calls: embedding calls it is given at once, of requests that could share one; bulk
            has a quarter of them at most.
        max_tokens: tokens, prompts and answers together, it is given at once; None for no limit.
            For engines that fail when their KV cache is full, such as llama.cpp.
        max_request_tokens: its longest request, prompt and answer together, which is the most
            that a request counts with towards max_tokens.
        chunk_tokens: prompt tokens one of its steps carries (vLLM's max_num_batched_tokens); None
            is 8,192.
        priorities: whether it takes the request field ``priority`` and serves lower numbers first
            (vLLM with ``--scheduling-policy priority``); the gateway then writes the priority of
            requests that are not normal into their bodies.

    Raises:
        ConfigError: a value is missing or cannot be used; says which.
    """

    host: str = "localhost"
    port: int | None = None
    model_name: str = ""
    instance_type: str | None = None
    max_concurrent_requests: int = 256
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    instance_id: str | None = None
    coalesce: bool = True
    max_inputs: int = 2048
    max_batch_tokens: int = 8192
    max_calls: int = 16
    max_tokens: int | None = None
    max_request_tokens: int | None = None
    chunk_tokens: int | None = None
    priorities: bool = False

    def __post_init__(self) -> None:
        if not self.model_name:
            raise ConfigError(f"backend {self._where}: model_name is missing")
        if self.base_url is None and self.port is None:
            raise ConfigError(f"backend {self.model_name!r} needs a port, or a base_url")
        if self.port is not None and not 0 < self.port <= 65535:
            raise ConfigError(
                f"backend {self.model_name!r}: port must be from 1 to 65535, not {self.port}"
            )
        kinds = [kind.value for kind in Kind]
        if self.instance_type is not None and self.instance_type not in kinds:
            raise UnknownKeyError(self.instance_type, kinds, where="instance_type")
        limits = (
            "max_concurrent_requests",
            "max_inputs",
            "max_batch_tokens",
            "max_calls",
            "max_tokens",
            "max_request_tokens",
            "chunk_tokens",
        )
        for name in limits:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(
                    f"backend {self.model_name!r}: {name} must be at least 1, not {value}"
                )
        parse_target(self.url)

    @property
    def _where(self) -> str:
        return self.base_url or f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, without ``/v1``."""
        if self.base_url is not None:
            return self.base_url.rstrip("/").removesuffix("/v1")
        assert self.port is not None
        return base_url(self.host, self.port)

    def spec(self, kind: Kind) -> InstanceSpec:
        """Return it as the scheduler knows instances.

        Args:
            kind: of the list it stands in.

        Raises:
            ConfigError: its instance_type says otherwise.
        """
        if self.instance_type not in (None, kind.value):
            raise ConfigError(
                f"backend {self.model_name!r} has instance_type {self.instance_type!r} "
                f"but stands among the {kind.value} backends"
            )
        spec = InstanceSpec(
            self.instance_id or self._made_id(kind),
            kind,
            (self.model_name,),
            self.max_concurrent_requests,
            self.max_tokens,
            coalesce=self.coalesce,
            max_inputs=self.max_inputs,
            max_batch_tokens=self.max_batch_tokens,
            max_calls=self.max_calls,
            max_request_tokens=self.max_request_tokens,
        )
        return spec if self.chunk_tokens is None else replace(spec, chunk_tokens=self.chunk_tokens)

    def _made_id(self, kind: Kind) -> str:
        parts = urlsplit(self.url)
        address = f"{parts.netloc}{parts.path}".strip("/")
        made = "".join(c if c.isalnum() or c in "-." else "-" for c in f"{kind.value}-{address}")
        return made.encode("ascii", "replace").decode().replace("?", "-")[:200]


@dataclass(frozen=True, slots=True)
class UnifiedServerConfig:
    """A gateway server and its backends.

    Attributes:
        host: address to listen on; only this machine by default.
        port: TCP port; 0 for any free one.
        scheduling_policy: a `SchedulingPolicyType` or the name of a registered policy; with
            backends of both kinds ``slo_aware`` is ``hybrid_slo``.
        enable_control_plane: false makes a plain proxy: requests go round robin to the instances
            that are up, at once, whatever max_concurrent_requests and max_tokens say, and none
            waits, is ordered or shares a call. Probing, breakers and failover stay.
        llm_backends: the LLM engines.
        embedding_backends: the embedding engines.
        slo_classes: objectives of the requests that name none, by class: ``high`` and ``low`` by
            priority, else ``llm`` or ``embedding``.
        api_keys: keys clients must send, plain or as ``sha256:<hex>``, or each with a name and
            limits (see ApiKey); none means no key needed.
        management_keys: keys for ``/v1/management/``, good for requests too.
        limits: in time and size.
        probe: how the backends' health is asked for.
        breaker: when failing backends are left alone.
        slow_start: seconds over which a recovered backend gets its full share back.
        resend_share: requests that may be sent to a second backend, as a share of all.
        telemetry: how backends at work are asked for their load on ``/metrics``.
        shutdown_timeout: seconds that running requests get when the server stops.
        cors_origins: origins whose pages may use the gateway from a browser; ``*`` is any.
        access_log: file that gets a JSON line a request, or ``stderr``; none by default.
        tracing: true sends OpenTelemetry spans to the default collector, a URL to that one; needs
            the ``otel`` extra.

    Raises:
        ConfigError: a value cannot be used, or two backends have one id; says which.
        UnknownKeyError: no such policy.
    """

    host: str = LOOPBACK
    port: int = SagePorts.GATEWAY_DEFAULT
    scheduling_policy: str = SchedulingPolicyType.SLO_AWARE
    enable_control_plane: bool = True
    llm_backends: Sequence[BackendInstanceConfig] = ()
    embedding_backends: Sequence[BackendInstanceConfig] = ()
    slo_classes: Mapping[str, SLO] = field(default_factory=dict)
    api_keys: Sequence[str | ApiKey] = field(default=(), repr=False)
    management_keys: Sequence[str] = field(default=(), repr=False)
    limits: GatewayLimits = field(default_factory=GatewayLimits)
    probe: ProbeRule = field(default_factory=ProbeRule)
    breaker: BreakerRule = field(default_factory=BreakerRule)
    slow_start: float = 10.0
    resend_share: float = 0.2
    telemetry: TelemetryRule = field(default_factory=TelemetryRule)
    shutdown_timeout: int = 10
    cors_origins: Sequence[str] = ()
    access_log: str | None = None
    tracing: bool | str = False

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 everyone")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be from 0 to 65535, not {self.port}")
        if self.shutdown_timeout < 1:
            raise ConfigError(f"shutdown_timeout must be at least 1, not {self.shutdown_timeout}")
        for name in _LISTS:
            object.__setattr__(self, name, _frozen(name, getattr(self, name)))
        check_policy(self.scheduling_policy)
        for name in self.slo_classes:
            if name not in CLASSES:
                raise UnknownKeyError(name, CLASSES, where="slo_classes")
        check_origins(self.cors_origins)
        if self.access_log == "":
            raise ConfigError("access_log is empty; write a file's path, stderr, or leave it out")
        if isinstance(self.tracing, str) and not self.tracing.startswith(("http://", "https://")):
            raise ConfigError(
                f"tracing is {self.tracing!r}; it must be true, false or the collector's http URL"
            )
        self.care()
        self.key_ring()
        self._check_ids()

    def _check_ids(self) -> None:
        seen: dict[str, str] = {}
        for spec, backend in self.instances():
            if spec.id in seen:
                raise ConfigError(
                    f"two backends have the id {spec.id!r} ({seen[spec.id]} and {backend.url}); "
                    "give each an instance_id"
                )
            seen[spec.id] = backend.url

    def instances(self) -> list[tuple[InstanceSpec, BackendInstanceConfig]]:
        """Return the backends as the scheduler knows them, LLMs first."""
        listed = ((Kind.LLM, self.llm_backends), (Kind.EMBEDDING, self.embedding_backends))
        return [
            (self._unbounded(backend.spec(kind)), backend)
            for kind, backends in listed
            for backend in backends
        ]

    def _unbounded(self, spec: InstanceSpec) -> InstanceSpec:
        if self.enable_control_plane:
            return spec
        return replace(spec, max_requests=1_000_000, max_tokens=None, coalesce=False)

    def policy(self) -> str:
        """Return the name of the policy that the scheduler follows."""
        if not self.enable_control_plane:
            return PROXY_POLICY
        return effective_policy(self.scheduling_policy, (spec.kind for spec, _ in self.instances()))

    def care(self) -> CareRules:
        """Return how the instances are looked after."""
        return CareRules(
            self.breaker, self.probe, self.slow_start, self.resend_share, self.telemetry
        )

    def key_ring(self) -> KeyRing:
        """Return the keys, ready to check."""
        local = self.host in (LOOPBACK, "localhost", "::1") or self.host.startswith("127.")
        return KeyRing(self.api_keys, self.management_keys, remote=not local)


def _frozen(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes):
        raise ConfigError(f"{name} must be a list, not one {type(value).__name__}")
    return tuple(value)
