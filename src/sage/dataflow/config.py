"""How an environment runs its jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sage.dataflow.checkpoint.config import CheckpointConfig
from sage.dataflow.checks import check_count, check_seconds
from sage.dataflow.restart import NoRestart, RestartPolicy, read_restart
from sage.dataflow.sizes import read_size
from sage.dataflow.workers import Workers, read_workers
from sage.errors import UnknownKeyError


@dataclass(frozen=True, slots=True)
class EnvironmentConfig:
    """Settings of an environment; the keys of ``LocalEnvironment(config={…})``.

    Attributes:
        workers: "thread" (a thread for each replica of each stage), "process" (a process for each
            replica of the operators that transform records; sources, sinks and async operators stay
            in this one) or "inline" (everything in the thread that calls ``submit``, where
            cProfile and debuggers see it).
        parallelism: replicas of an operator that does not say.
        batch_size: most records that move at once; small steps are taken by themselves when
            records are slow, so this bounds memory, not latency.
        channel_capacity: records that may wait between two stages before the producer stops.
        checkpoint: the keys of `CheckpointConfig`, to have the job's state saved at intervals; None
            for no checkpoints.
        restart: what to do when the job fails: a strategy's name, or a dict with "strategy" and its
            settings; see `sage.dataflow.restart`. It starts from its last checkpoint, or, without
            checkpoints, from its beginning.
        grace: seconds that a job has to drain after SIGTERM before it is stopped at once.
        memory_limit: bytes, or a text such as "4GB", that the process and its worker processes may
            hold. Past it the sources are paused; when that does not help within 10 s, the job
            fails. None for no limit.
    """

    workers: Workers = Workers.THREAD
    parallelism: int = 1
    batch_size: int = 4096
    channel_capacity: int = 8192
    checkpoint: CheckpointConfig | None = None
    restart: RestartPolicy = field(default_factory=NoRestart)
    grace: float = 30.0
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("parallelism", "batch_size", "channel_capacity"):
            check_count(name, getattr(self, name))
        check_seconds("grace", self.grace)

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
                raise UnknownKeyError(key, known, where="LocalEnvironment config")
        if "workers" in values:
            values["workers"] = read_workers(values["workers"])
        if values.get("checkpoint") is not None:
            values["checkpoint"] = CheckpointConfig.from_mapping(values["checkpoint"])
        values["restart"] = read_restart(values.get("restart"))
        if values.get("memory_limit") is not None:
            values["memory_limit"] = read_size("memory_limit", values["memory_limit"])
        return cls(**values)
