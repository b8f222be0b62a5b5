"""How a job takes checkpoints."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sage.dataflow.checks import check_count, check_seconds
from sage.errors import ConfigError, UnknownKeyError, shorten


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """The keys of ``config={"checkpoint": {…}}``.

    Attributes:
        dir: the folder that checkpoints are written to, of this job alone: a path, or a URL where
            fsspec is installed. It is made if it is not there.
        interval: seconds from one checkpoint to the next.
        keep: how many checkpoints are kept, the newest ones.
    """

    dir: str | Path
    interval: float = 10.0
    keep: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.dir, (str, os.PathLike)) or not os.fspath(self.dir):
            raise ConfigError(f"checkpoint dir is {self.dir!r}; give the path of a folder")
        check_seconds("checkpoint interval", self.interval, above=True)
        if self.keep is None:
            raise ConfigError("checkpoint keep is None; give a whole number from 1")
        check_count("checkpoint keep", self.keep)

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Self:
        """Validate a user's mapping.

        Raises:
            UnknownKeyError: a key does not exist.
            ConfigError: ``dir`` is missing, or a value is wrong.
        """
        if not isinstance(config, Mapping):
            raise ConfigError(f'checkpoint is {shorten(config)}; give a dict, as {{"dir": "…"}}')
        known = [field.name for field in dataclasses.fields(cls)]
        for key in config:
            if key not in known:
                raise UnknownKeyError(str(key), known, where="checkpoint config")
        if "dir" not in config:
            raise ConfigError('checkpoint config has no "dir"; give the folder to write to')
        return cls(**config)
