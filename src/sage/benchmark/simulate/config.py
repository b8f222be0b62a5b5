"""How a simulated gateway and its engines are set up."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from sage.benchmark.simulate.embedding_engine import EmbeddingEngine
from sage.benchmark.simulate.engine_request import EngineModel
from sage.benchmark.simulate.llm_engine import LlmEngine
from sage.benchmark.simulate.profile import EmbeddingProfile, LlmProfile, Profile, load_profile
from sage.benchmark.trace_record import BLOCK_TOKENS
from sage.errors import ConfigError
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

CHAT_MODEL = "chat"
EMBEDDING_MODEL = "embedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """What is simulated.

    Attributes:
        profile: LLM engines' profile, by name or path; None for no such engines.
        engines: how many of them.
        embedding_profile: embedding engines' profile; None for none.
        embedding_engines: how many of them.
        policy: the scheduler's.
        network_ms: milliseconds one way, between client and gateway and between gateway and engine.
        max_requests: requests an LLM engine is given at once.
        max_queued: requests of a model that may wait at the gateway. None for 256 for each of its
            engines, and at least 1,024.
        max_model_len: in place of the profile's; 0 for as much as the KV cache holds.
        prefix_caching: in place of the profile's.
        hash_tokens: prompt tokens of one block id of the trace.

    Raises:
        ConfigError: a number out of range.
    """

    profile: str | None = "h100-vllm-qwen2.5-7b"
    engines: int = 4
    embedding_profile: str | None = None
    embedding_engines: int = 1
    policy: str = "fifo"
    network_ms: float = 0.2
    max_requests: int = 256
    max_queued: int | None = None
    max_model_len: int | None = None
    prefix_caching: bool | None = None
    hash_tokens: int = BLOCK_TOKENS

    def __post_init__(self) -> None:
        least = {"max_queued": 0, "network_ms": 0, "max_model_len": 0}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            floor = least.get(item.name, 1)
            if not (math.isfinite(value) and value >= floor):
                raise ConfigError(f"{item.name} is {value}; it must be at least {floor}")
        if self.profile is None and self.embedding_profile is None:
            raise ConfigError("there is nothing to simulate: name a profile")

    @property
    def lag(self) -> float:
        """Seconds that anything takes over one hop of the network."""
        return self.network_ms / 1000

    def describe(self) -> str:
        """Return what stands for a target in reports."""
        parts = []
        if self.profile is not None:
            parts.append(f"{self.engines} x {self.profile}")
        if self.embedding_profile is not None:
            parts.append(f"{self.embedding_engines} x {self.embedding_profile}")
        return f"simulated: {', '.join(parts)}"

    def build(self) -> dict[str, EngineModel]:
        """Return the engines by the ids they have at the scheduler.

        Raises:
            ConfigError: a profile cannot be read, or is of the other kind.
        """
        engines: dict[str, EngineModel] = {}
        llm, embedding = self.profiles()
        if llm is not None:
            for number in range(self.engines):
                spec = self._spec(f"llm-{number}", llm)
                engines[spec.id] = LlmEngine(llm, spec, lag=self.lag, hash_tokens=self.hash_tokens)
        if embedding is not None:
            for number in range(self.embedding_engines):
                spec = InstanceSpec(f"embedding-{number}", Kind.EMBEDDING, (EMBEDDING_MODEL,))
                engines[spec.id] = EmbeddingEngine(embedding, spec, lag=self.lag)
        return engines

    def profiles(self) -> tuple[LlmProfile | None, EmbeddingProfile | None]:
        """Return the engines' profiles as simulated; None for a kind that there is none of.

        Raises:
            ConfigError: a profile cannot be read, or is of the other kind.
        """
        llm = None if self.profile is None else self._llm_profile(self.profile)
        if self.embedding_profile is None:
            return llm, None
        return llm, self._embedding_profile(self.embedding_profile)

    def _spec(self, name: str, profile: LlmProfile) -> InstanceSpec:
        """Return what a gateway would be told of such an engine."""
        capacity = profile.capacity
        most, tokens = self.max_requests, None
        if not profile.preempts:
            most = min(most, capacity.max_num_seqs)
            tokens = capacity.num_gpu_blocks * capacity.block_size
        return InstanceSpec(
            name,
            Kind.LLM,
            (CHAT_MODEL,),
            most,
            tokens,
            chunk_tokens=capacity.max_num_batched_tokens,
            max_request_tokens=capacity.max_model_len,
            cache_tokens=capacity.num_gpu_blocks * capacity.block_size,
        )

    def _llm_profile(self, name: str) -> LlmProfile:
        profile = load_profile(name)
        if not isinstance(profile, LlmProfile):
            raise ConfigError(f"profile {name} is of an embedding engine; give it as such")
        capacity = profile.capacity
        if self.max_model_len is not None:
            longest = self.max_model_len or capacity.num_gpu_blocks * capacity.block_size
            profile = replace(profile, capacity=replace(capacity, max_model_len=longest))
        if self.prefix_caching is not None:
            profile = replace(profile, prefix_caching=self.prefix_caching)
        return profile

    def _embedding_profile(self, name: str) -> EmbeddingProfile:
        profile: Profile = load_profile(name)
        if not isinstance(profile, EmbeddingProfile):
            raise ConfigError(f"profile {name} is of an LLM engine, not of an embedding engine")
        return profile
