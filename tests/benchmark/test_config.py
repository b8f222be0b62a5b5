"""Configurations are checked, and wrong keys answered with the nearest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sage.benchmark
from sage.benchmark import (
    ArrivalPattern,
    HybridBenchmarkConfig,
    HybridSLOConfig,
    LLMBenchmarkConfig,
    LLMSLOConfig,
    SchedulingPolicy,
    StrategyAdapter,
)
from sage.benchmark.config import config_from, load_config
from sage.benchmark.template import as_json, as_yaml
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.scheduling.policy_types import SchedulingPolicyType


def test_the_defaults_are_valid() -> None:
    """So are the values a user is likely to write in code."""
    LLMBenchmarkConfig().validate()
    HybridBenchmarkConfig().validate()
    HybridBenchmarkConfig(
        policies=(SchedulingPolicy.FIFO, SchedulingPolicy.HYBRID_SLO),
        arrival=ArrivalPattern.GAMMA,
        slo=HybridSLOConfig(llm=LLMSLOConfig(ttft_ms=None), embedding_ms=50),
    ).validate()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"requests": 0}, "requests is 0; it must be at least 1"),
        ({"requests": None}, "only a trace has an end"),
        ({"rate": -1.0}, "rate is -1.0"),
        ({"policies": ("fifo", "slo_awar")}, "'slo_aware'"),
        ({"policies": ("fifo", "fifo")}, "twice"),
        ({"prompt_tokens": "long"}, "prompt_tokens: 'long'"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"cut_start_s": float("nan")}, "cut_start_s is nan"),
        ({"priorities": ()}, "priorities is empty"),
        ({"llm_ratio": 1.5}, "llm_ratio is 1.5; it must be between 0 and 1"),
        ({"trace": "x"}, "mode llm"),
        ({"arrival": ArrivalPattern.CLOSED, "max_in_flight": 3}, "set users"),
        ({"slo": HybridSLOConfig(embedding_ms=0)}, "embedding_ms is 0"),
        ({"slo": HybridSLOConfig(llm=LLMSLOConfig(tpot_ms=-2))}, "tpot_ms is -2"),
    ],
)
def test_a_wrong_value_is_named(options: dict[str, Any], says: str) -> None:
    """With what it may be."""
    with pytest.raises(ConfigError, match=says):
        HybridBenchmarkConfig(**options).validate()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"request": 5}, "unknown key 'request'; did you mean 'requests'"),
        ({"llm_ratio": 0.5}, "unknown key 'llm_ratio'"),
        ({"mode": "hybird"}, "did you mean 'hybrid'"),
        ({"arrival": "poison"}, "did you mean 'poisson'"),
        ({"slo": {"ttft": 5}}, "slo: unknown key 'ttft'; did you mean 'ttft_ms'"),
        ({"requests": "many"}, r"Expected `int \| null`, got `str` - at `\$.requests`"),
    ],
)
def test_a_wrong_file_is_refused(data: dict[str, Any], says: str) -> None:
    """Unknown keys name the nearest, wrong types their place."""
    with pytest.raises(ConfigError, match=says):
        config_from(data, "bench.json")


@pytest.mark.parametrize("config", [LLMBenchmarkConfig(), HybridBenchmarkConfig(llm_ratio=0.2)])
def test_a_template_reads_back_as_it_was(
    tmp_path: Path, config: LLMBenchmarkConfig | HybridBenchmarkConfig
) -> None:
    """In both forms."""
    for name, text in (("a.json", as_json(config)), ("a.yaml", as_yaml(config))):
        path = tmp_path / name
        path.write_text(text)
        assert load_config(path) == config


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    """Its path is named."""
    path = tmp_path / "a.json"
    for text, says in (("{", "a.json"), (json.dumps([1]), "holds list")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=says):
            load_config(path)


def test_the_public_names_are_all_there() -> None:
    """The package exports what the tutorial imports, and says so."""
    for name in set(sage.benchmark.__all__) - {"SchedulingPolicy"}:
        assert getattr(sage.benchmark, name).__name__ == name
    assert dir(sage.benchmark) == sage.benchmark.__all__
    assert SchedulingPolicy is SchedulingPolicyType
    assert list(StrategyAdapter.list_policies())[: len(SchedulingPolicy)] == sorted(
        SchedulingPolicy
    )
    with pytest.raises(AttributeError, match="Nothing"):
        _ = sage.benchmark.Nothing


def test_an_unknown_policy_type_names_the_nearest() -> None:
    """Also through the configuration read from a file."""
    with pytest.raises(UnknownKeyError, match="'hybrid_slo'"):
        config_from({"mode": "hybrid", "policies": ["hybrid_sla"]}, "x")
