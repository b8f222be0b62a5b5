"""What a user asks of a cluster that is to run engines."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage.cluster.config import RayConfig
from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """Engines on a Ray cluster.

    Attributes:
        cluster: which cluster, and whether to wait for room on it.
        cpus: CPUs of each engine; None is the ``--threads`` that it is given, 1 for vLLM, and else
            an equal share of what is free.
        gpus: GPUs of each LLM engine (without an LLM of the embedding engine); None is vLLM's
            ``--tensor-parallel-size`` or 1, and none for other engines.
    """

    cluster: RayConfig = field(default_factory=RayConfig)
    cpus: float | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.cpus is not None and not self.cpus > 0:
            raise ConfigError(f"--cpus must be above 0, not {self.cpus:g}")
        if self.gpus is not None and not self.gpus >= 0:
            raise ConfigError(f"--gpus must be at least 0, not {self.gpus:g}")
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(f"--gpus above 1 must be a whole number, not {self.gpus:g}")
