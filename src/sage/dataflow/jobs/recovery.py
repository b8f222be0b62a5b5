"""Whether a job whose driver has died gets another one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.files.locate import is_url
from sage.dataflow.jobs.wire import Recovery
from sage.dataflow.restart import (
    Exponential,
    FailureRate,
    FixedDelay,
    NoRestart,
    RestartPolicy,
    read_restart,
)

# For a job with checkpoints that says nothing of restarts.
DEFAULT = FixedDelay(attempts=3, delay=1.0)

_NAMES: Mapping[type, str] = {
    NoRestart: "none",
    FixedDelay: "fixed_delay",
    Exponential: "exponential",
    FailureRate: "failure_rate",
}


def read_recovery(config: EnvironmentConfig, given: Mapping[str, Any]) -> Recovery:
    """Return what the manager has to know of a job's configuration.

    Args:
        config: as it was read.
        given: as the user wrote it. A policy of the user's own class stays with the driver.
    """
    folder = None if config.checkpoint is None else whole_path(config.checkpoint.dir)
    name = _NAMES.get(type(config.restart))
    if given.get("restart") is None or name is None:
        return Recovery(folder)
    values = {
        field.name: getattr(config.restart, field.name)
        for field in dataclasses.fields(config.restart)  # type: ignore[arg-type]  # all in _NAMES are
        if field.name != "uniform"
    }
    return Recovery(folder, {"strategy": name, **values})


def whole_path(folder: str | Path) -> str:
    """Return a folder's path from the root: the job may run in another folder. URLs stay."""
    text = os.fspath(folder)
    return text if is_url(text) else str(Path(text).absolute())


def recovery_policy(recovery: Recovery) -> RestartPolicy | None:
    """Return what says when the next driver starts; None for never, there being nothing to go by.

    Raises:
        ConfigError: the restart policy is wrong.
    """
    if recovery.restart is not None:
        return read_restart(recovery.restart)
    return None if recovery.checkpoints is None else DEFAULT
