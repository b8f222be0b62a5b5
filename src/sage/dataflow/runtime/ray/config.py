"""Which Ray cluster a job runs on, and what it asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sage.cluster.config import RayConfig
from sage.dataflow.checks import check_seconds
from sage.dataflow.sizes import read_size


@dataclass(frozen=True, slots=True)
class RayJobConfig(RayConfig):
    """Settings of a job on Ray; the keys of ``config={"ray": {…}}``, beside those of `RayConfig`.

    Attributes:
        start_timeout: seconds until every actor must have a process, which others' jobs or the
            installation of ``runtime_env`` may hold up; with ``wait`` there is no limit.
        bytes_in_flight: bytes, or a text such as "64MB", that may be under way from one replica to
            another; a single record may be larger. All replicas together keep to half of the
            cluster's object store.
    """

    start_timeout: float = 120.0
    bytes_in_flight: int = 64_000_000

    def __post_init__(self) -> None:
        RayConfig.__post_init__(self)  # super() does not work in a class with slots
        check_seconds("start_timeout", self.start_timeout, above=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration that a mapping holds.

        Raises:
            UnknownKeyError: a key does not exist; names the nearest.
            ConfigError: a value is wrong.
        """
        if isinstance(values, Mapping) and "bytes_in_flight" in values:
            size = read_size("bytes_in_flight", values["bytes_in_flight"])
            values = {**values, "bytes_in_flight": size}
        # super() does not work in a class with slots
        return RayConfig.from_mapping.__func__(cls, values)  # type: ignore[attr-defined, no-any-return]
