"""Profiles: what is packaged loads, and what is wrong with a file is said with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sage.benchmark.simulate.profile import (
    EmbeddingProfile,
    LlmProfile,
    load_profile,
    packaged_profiles,
)
from sage.errors import ConfigError, UnknownKeyError

_PARAMS = {"b0": 6.0, "b1": 0.01, "b2": 2e-5, "p0": 6.0, "c1": 0.02}
_GOOD: dict[str, Any] = {
    "meta": {"engine_args": {"max_model_len": 4096}},
    "a_prefill_ttft": {"rows": []},
    "f_capacity": {"num_gpu_blocks": 1000, "kv_memory_gib": 54.0},
    "step_model_for_a_simulator": {"params_ms": _PARAMS, "schedule": "as vLLM"},
}


def _write(folder: Path, data: object) -> str:
    path = folder / "p.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


@pytest.mark.parametrize("name", packaged_profiles())
def test_every_packaged_profile_loads(name: str) -> None:
    """By its name, as one kind or the other."""
    profile = load_profile(name)
    assert profile.name == name
    assert isinstance(profile, LlmProfile | EmbeddingProfile)


def test_the_h100_profile() -> None:
    """Its capacity and times are those measured."""
    profile = load_profile("h100-vllm-qwen2.5-7b")
    assert isinstance(profile, LlmProfile)
    assert profile.capacity.num_gpu_blocks * profile.capacity.block_size == 1_011_520
    assert (profile.times.b0, profile.times.c1, profile.times.floor) == (6.07, 0.02, 20.0)
    assert profile.asynchronous


def test_a_measured_file_needs_only_its_model_and_capacity(tmp_path: Path) -> None:
    """Measurements beside them are left alone; the longest request is the engine's argument."""
    profile = load_profile(_write(tmp_path, _GOOD))
    assert isinstance(profile, LlmProfile)
    assert profile.name == "p"
    assert profile.capacity.max_model_len == 4096
    assert profile.times.h_in == 0.0


def _changed(*path: str, value: object) -> dict[str, Any]:
    data = json.loads(json.dumps(_GOOD))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return dict(data)


_MODEL = ("step_model_for_a_simulator", "params_ms")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "not JSON"),
        ([1], "holds list"),
        ({}, "no object 'step_model_for_a_simulator'"),
        (_changed("step_model_for_a_simulator", value={}), "no object 'params_ms'"),
        (_changed(*_MODEL, "b0", value="six"), "params_ms: .*float"),
        (_changed(*_MODEL, "b0", value=0), "b0 is 0.*above 0"),
        (_changed(*_MODEL, "c2", value=-1), "c2 is -1.*at least 0"),
        (_changed(*_MODEL, "c3", value=1), "unknown key 'c3'"),
        (_changed("step_model_for_a_simulator", value={"params_ms": {"b0": 1}}), "params_ms: .*b1"),
        (_changed("f_capacity", value={}), "f_capacity: .*num_gpu_blocks"),
        (_changed("f_capacity", "num_gpu_blocks", value=0), "num_gpu_blocks is 0"),
        (_changed("f_capacity", "max_num_batched_tokens", value=256), "above max_num_seqs"),
        (_changed("kind", value="vision"), "kind: unknown key 'vision'"),
        (_changed("scheduling", value={"async": True}), "scheduling: unknown key 'async'"),
        (_changed("scheduling", value=3), "'scheduling' is not an object"),
        ({"kind": "embedding"}, "no object 'call_model'"),
        ({"kind": "embedding", "call_model": {"params_ms": {"call": 1}}}, "lacks 'token'"),
        (
            {"kind": "embedding", "call_model": {"params_ms": {"call": 1, "tok": 1}}},
            "unknown key 'tok'",
        ),
        (
            {"kind": "embedding", "call_model": {"params_ms": {"call": 1, "token": 0}}},
            "token_ms is 0",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, data: object, says: str) -> None:
    """With the part, the key and the value."""
    with pytest.raises(ConfigError, match=says):
        load_profile(_write(tmp_path, data))


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    """The path is named, or the nearest packaged one."""
    with pytest.raises(ConfigError, match=r"none\.json"):
        load_profile(str(tmp_path / "none.json"))
    with pytest.raises(UnknownKeyError, match=r"h100-vllm-qwen2\.5-7b"):
        load_profile("h100-vllm-qwen")
