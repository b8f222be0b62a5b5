"""config={"checkpoint": {…}}: what it may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sage.dataflow.checkpoint.config import CheckpointConfig
from sage.errors import ConfigError, UnknownKeyError


def test_defaults() -> None:
    """A folder is enough."""
    config = CheckpointConfig.from_mapping({"dir": "checkpoints"})
    assert config == CheckpointConfig(dir="checkpoints", interval=10.0, keep=3)


def test_all_keys() -> None:
    """A folder may be a path object or a URL, an interval a fraction of a second."""
    config = CheckpointConfig.from_mapping({"dir": Path("a"), "interval": 0.5, "keep": 1})
    assert (config.dir, config.interval, config.keep) == (Path("a"), 0.5, 1)
    assert CheckpointConfig("s3://bucket/job", interval=60).dir == "s3://bucket/job"


def test_an_unknown_key() -> None:
    """The error names the nearest."""
    with pytest.raises(
        UnknownKeyError, match="checkpoint config: unknown key 'intervall'; did you mean 'interval'"
    ):
        CheckpointConfig.from_mapping({"dir": "a", "intervall": 1})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, 'has no "dir"'),
        ("folder", "checkpoint is 'folder'; give a dict, as {\"dir\""),
        ({"dir": ""}, "checkpoint dir is ''"),
        ({"dir": None}, "checkpoint dir is None"),
        ({"dir": "a", "interval": 0}, "checkpoint interval is 0; give seconds above 0"),
        ({"dir": "a", "interval": -1.0}, "checkpoint interval is -1.0"),
        ({"dir": "a", "interval": float("nan")}, "checkpoint interval is nan"),
        ({"dir": "a", "interval": float("inf")}, "checkpoint interval is inf"),
        ({"dir": "a", "interval": "10"}, "checkpoint interval is '10'"),
        ({"dir": "a", "interval": True}, "checkpoint interval is True"),
        ({"dir": "a", "keep": 0}, "checkpoint keep is 0; give a whole number from 1"),
        ({"dir": "a", "keep": None}, "checkpoint keep is None"),
        ({"dir": "a", "keep": 2.0}, "checkpoint keep is 2.0"),
    ],
)
def test_wrong_values(config: Any, message: str) -> None:
    """The error has the key, the value and what to give."""
    with pytest.raises(ConfigError) as raised:
        CheckpointConfig.from_mapping(config)
    assert message in str(raised.value)
