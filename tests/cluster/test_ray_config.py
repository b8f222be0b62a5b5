"""The key `ray` of a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from sage.cluster.config import RayConfig
from sage.errors import ConfigError, UnknownKeyError


def test_the_tutorials_mapping_is_taken() -> None:
    """Address, CPUs and GPUs, as written there."""
    config = RayConfig.from_mapping(
        {"address": "ray://localhost:10001", "num_cpus": 32, "num_gpus": 4}
    )
    assert (config.where.port, config.num_cpus, config.num_gpus) == (10001, 32, 4)
    assert not config.wait


def test_an_unknown_key_names_the_nearest() -> None:
    """Nothing is ignored."""
    with pytest.raises(UnknownKeyError, match="'num_cpu'; did you mean 'num_cpus'"):
        RayConfig.from_mapping({"num_cpu": 1})


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"address": 7}, "ray address must be text, not 7"),
        ({"address": "nowhere"}, "'nowhere' is no address"),
        ({"num_cpus": -1}, "ray num_cpus must be a number of at least 0, not -1"),
        ({"num_cpus": True}, "not True"),
        ({"num_gpus": "4"}, "not '4'"),
        ({"num_gpus": float("inf")}, "not inf"),
        ({"wait": "yes"}, "ray wait is true or false, not 'yes'"),
        ({"runtime_env": ["pip"]}, "ray runtime_env must be a mapping"),
        ("auto", "ray must be a mapping of keys to values, not 'auto'"),
    ],
)
def test_a_wrong_value_is_named(values: Any, names: str) -> None:
    """With what it may be."""
    with pytest.raises(ConfigError, match=names):
        RayConfig.from_mapping(values)
