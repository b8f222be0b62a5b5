"""Which Ray cluster, and how much of it must be there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sage.cluster.address import RayAddress, parse_address
from sage.errors import ConfigError, UnknownKeyError


@dataclass(frozen=True, slots=True)
class RayConfig:
    """The key ``ray`` of a configuration.

    Attributes:
        address: ``auto`` (the cluster that this machine belongs to), ``local`` (starts one on this
            machine that ends with the process), ``host:port``, or ``ray://host:port``.
        num_cpus: CPUs that the cluster must have; with ``local``, that it is started with. None
            asks for none, and starts ``local`` with the machine's.
        num_gpus: GPUs, likewise.
        wait: whether to wait, saying what for, while the cluster has less than is asked; otherwise
            that is an error.
        runtime_env: Ray's own, for the workers: ``pip``, ``working_dir``, ``env_vars``…
        dashboard: whether ``local`` starts Ray's dashboard (on the loopback address).
        object_store_memory: bytes of shared memory that ``local`` is started with for objects;
            None leaves it to Ray.

    Raises:
        ConfigError: a value is wrong; says which and what it may be.
    """

    address: str = "auto"
    num_cpus: float | None = None
    num_gpus: float | None = None
    wait: bool = False
    runtime_env: Mapping[str, Any] | None = None
    dashboard: bool = False
    object_store_memory: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.address, str):
            raise ConfigError(f"ray address must be text, not {self.address!r}")
        parse_address(self.address)
        for name in ("num_cpus", "num_gpus", "object_store_memory"):
            _check_amount(name, getattr(self, name))
        for name in ("wait", "dashboard"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"ray {name} is true or false, not {getattr(self, name)!r}")
        if self.runtime_env is not None and not isinstance(self.runtime_env, Mapping):
            raise ConfigError(f"ray runtime_env must be a mapping, not {self.runtime_env!r}")

    @property
    def where(self) -> RayAddress:
        """The address, taken apart."""
        return parse_address(self.address)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration that a mapping holds.

        Raises:
            UnknownKeyError: a key does not exist; names the nearest.
            ConfigError: a value is wrong.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"ray must be a mapping of keys to values, not {values!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise UnknownKeyError(str(key), known, where="ray")
        return cls(**values)


def _check_amount(name: str, value: object) -> None:
    if value is None:
        return
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 <= number < math.inf:
        raise ConfigError(f"ray {name} must be a number of at least 0, not {value!r}")
