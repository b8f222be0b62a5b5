"""Which Ray cluster a job runs on, and what it asks of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sage.dataflow.checks import check_amount, check_seconds
from sage.dataflow.sizes import read_size
from sage.errors import ConfigError, UnknownKeyError

AUTO = "auto"
LOCAL = "local"
CLIENT = "ray://"


@dataclass(frozen=True, slots=True)
class RayConfig:
    """Settings of a job on Ray; the keys of ``config={"ray": {…}}``.

    Attributes:
        address: "auto" (the cluster that this machine belongs to), "local" (starts Ray on this
            machine and stops it at the end), ``host:port`` (a cluster that this machine belongs
            to) or ``ray://host:port`` (any cluster, through its client server).
        num_cpus: CPU cores that the job wants the cluster to have; with "local", what it starts
            with. None asks for what the operators' ``cpus`` come to.
        num_gpus: GPUs, likewise.
        wait: wait for resources that the cluster lacks, with the reason in the log, instead of an
            error.
        start_timeout: seconds until every actor must have a process, which others' jobs or the
            installation of ``runtime_env`` may hold up; with ``wait`` there is no limit.
        bytes_in_flight: bytes, or a text such as "64MB", that may be under way from one replica to
            another, in the object store or outside; a single batch may be larger.
        runtime_env: Ray's own: packages, files and environment variables of the actors.
    """

    address: str = AUTO
    num_cpus: float | None = None
    num_gpus: float | None = None
    wait: bool = False
    start_timeout: float = 120.0
    bytes_in_flight: int = 64_000_000
    runtime_env: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_amount("num_cpus", self.num_cpus)
        check_amount("num_gpus", self.num_gpus)
        check_seconds("start_timeout", self.start_timeout, above=True)
        if not isinstance(self.wait, bool):
            raise ConfigError(f"wait is {self.wait!r}; give True or False")
        if not isinstance(self.runtime_env, Mapping):
            raise ConfigError(f"runtime_env is {self.runtime_env!r}; give Ray's dict of settings")
        _check_address(self.address)

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any] | None) -> Self:
        """Validate a user's mapping.

        Raises:
            UnknownKeyError: a key does not exist.
            ConfigError: a value is wrong.
        """
        values = dict(config or {})
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise UnknownKeyError(key, known, where="config of ray")
        if "bytes_in_flight" in values:
            values["bytes_in_flight"] = read_size("bytes_in_flight", values["bytes_in_flight"])
        return cls(**values)

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port of the address; None of "auto" and "local"."""
        if self.address in (AUTO, LOCAL):
            return None
        host, _, port = self.address.removeprefix(CLIENT).rpartition(":")
        return host.strip("[]"), int(port)


def _check_address(address: object) -> None:
    if address in (AUTO, LOCAL):
        return
    if isinstance(address, str):
        host, _, port = address.removeprefix(CLIENT).rpartition(":")
        if host and "/" not in host and port.isdigit() and 0 < int(port) < 65536:
            return
    raise ConfigError(
        f"address is {address!r}; give 'auto', 'local', 'host:port' or 'ray://host:port'"
    )
