"""What a client was asked to be."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage.errors import ConfigError
from sage.inference.client.calls import base_url


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The options of ``UnifiedInferenceClient.create``, validated; it documents each."""

    control_plane_url: str | None = None
    default_llm_model: str | None = None
    default_embedding_model: str | None = None
    prefer_local: bool = True
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    connect_timeout: float = 2.0
    retries: int = 2
    embedding_batch_size: int = 64
    embedding_concurrency: int = 8
    embedded: bool = False

    def __post_init__(self) -> None:
        if self.control_plane_url is not None:
            object.__setattr__(self, "control_plane_url", base_url(self.control_plane_url))
        if self.embedded and (self.control_plane_url is not None or self.api_key is not None):
            raise ConfigError(
                "embedded=True runs the engines in this process; "
                "leave control_plane_url and api_key out"
            )
        for name in ("timeout", "connect_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; give a finite number of seconds above 0"
                )
        for name in ("embedding_batch_size", "embedding_concurrency"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give 1 or more")
        if self.retries < 0:
            raise ConfigError(f"retries is {self.retries}; give 0 or more")
